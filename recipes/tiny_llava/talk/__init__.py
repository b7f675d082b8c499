"""Conversations with made-up tools and forms: what the embedded model learns to call tools from.

``names`` and ``values`` make words, ``kit`` and ``families`` make tools of them, ``asking`` asks
for calls, ``results`` answers them, ``forms`` asks for JSON and ``small`` for nothing of the kind;
``lectures`` puts conversations together. ``exam`` asks about tools that are never trained on.
"""
