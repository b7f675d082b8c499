"""Training of the embedded model, from drawn scenes to the files that are shipped.

``python -m recipes.tiny_llava.tiny --out DIR --minutes N`` runs all stages in order. Tuning of real
weights on a user's conversations is :mod:`llava_tools.finetune`; the recipe takes only its plot and
its saving of files from there.
"""
