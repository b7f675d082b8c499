"""How the embedded model is made from nothing: a drawn world, and a LLaVA 1.5 trained on it.

`run.sh DIR` runs it whole: `tokenizer`, then `clip` beside `language`, then the two stages of
`llava_tools.finetune` (`stages`), then `evaluate` and `card`. Not part of the wheel.
"""
