"""Training of the embedded model, from drawn scenes to the files that are shipped.

``python -m llava_tools.train.tiny --out DIR --minutes N`` runs all stages in order.
"""
