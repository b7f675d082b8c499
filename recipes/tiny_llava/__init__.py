"""Training of the embedded model, from drawn scenes to the files that are shipped.

``llava-tools train tiny --out DIR --minutes N`` runs all stages in order. ``adapt`` tunes real
weights on a user's conversations instead, and shares nothing with them but a saved file's safety.
"""
