"""LLaVA 1.5's original layout, as its authors published it, to the llava-hf layout.

`config` checks config.json and writes the one of the llava-hf layout, `tokenizer` adds the tokens
of that layout, `weights` renames the weights, `lora` adds those of a LoRA to its base model's, and
`convert` does all of it from folder to folder.
"""
