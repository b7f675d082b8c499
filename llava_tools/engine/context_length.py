"""How long the sequences of a language model can be."""

from __future__ import annotations

from typing import Any


def longest_context(text: Any) -> int:
    """Return how many tokens the language model with a configuration can be run with.

    Rotary embeddings of the type `longrope` have other angles for all positions once a position of
    the step is beyond the original context: keys in the KV would be wrong, and sequences depend on
    each other. `dynamic` ones begin beyond `max_position_embeddings`.
    """
    parameters = getattr(text, "rope_parameters", None) or {}
    originals = [
        int(item["original_max_position_embeddings"])
        for item in (parameters, *parameters.values())
        if isinstance(item, dict) and item.get("rope_type") == "longrope"
    ]
    return min([int(text.max_position_embeddings), *originals])
