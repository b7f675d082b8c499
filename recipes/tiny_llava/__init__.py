"""How the embedded model is made from nothing: a drawn world, and a LLaVA 1.5 trained on it.

`run.sh DIR` runs it whole: `tokenizer`, then `clip` beside `language`; the two stages of
`llava_tools.finetune` on what `records` draws; `export`; calibration on what `labelled` draws,
beside `evaluate`; and `card`. Not part of the wheel.
"""
