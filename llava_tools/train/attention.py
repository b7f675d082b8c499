"""Attention over packed conversations that computes only what is looked at.

A row is a part that its branches share, and branches that see that part and themselves (see
:mod:`~llava_tools.train.packing`). Most pairs of a row's tokens see nothing of each other; under a
dense mask all are computed. Here each branch is computed by itself, against the shared part and its
own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface

_NAME = "branched"


@contextmanager
def branching(language_model: Any) -> Iterator[None]:
    """Let a Llama attend by :func:`branched` meanwhile; it has to be called with ``lengths``."""
    AttentionInterface.register(_NAME, _interface)
    config = language_model.config
    before = config._attn_implementation
    config._attn_implementation = _NAME
    try:
        yield
    finally:
        config._attn_implementation = before


def branched(query: Tensor, key: Tensor, value: Tensor, lengths: Sequence[Sequence[int]]) -> Tensor:
    """Causal attention of rows of branches, as by a dense mask of who sees whom.

    Args:
        query: (rows, heads, length, size), as are ``key`` and ``value``.
        key: Of every token.
        value: Of every token.
        lengths: Of each row, how long its shared part is and how long each branch is, in order.
            What is left of the row is padding, of which zeros come out.

    Returns:
        (rows, heads, length, size) of ``value``'s type.
    """
    rows = []
    for asks, asked, told, parts in zip(query, key, value, lengths, strict=True):
        sizes = [*parts, asks.shape[1] - sum(parts)]
        ours, keys, values = (one.split(sizes, dim=1) for one in (asks, asked, told))
        found = [_look(ours[0], keys[0], values[0])]
        for branch in range(1, len(parts)):
            seen = torch.cat([keys[0], keys[branch]], dim=1)
            brought = torch.cat([values[0], values[branch]], dim=1)
            found.append(_look(ours[branch], seen, brought))
        rows.append(torch.cat([*found, torch.zeros_like(ours[-1])], dim=1))
    return torch.stack(rows)


def _look(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention of the last tokens to all up to themselves, (heads, tokens, size)."""
    asks, told = query.shape[1], key.shape[1]
    later = torch.ones(asks, told, dtype=torch.bool).triu(told - asks + 1)
    scores = (query @ key.transpose(1, 2)) * query.shape[-1] ** -0.5
    weights = scores.masked_fill(later, float("-inf")).softmax(dim=-1, dtype=torch.float32)
    found: Tensor = weights.to(value.dtype) @ value
    return found


def _interface(
    module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Any, **told: Any
) -> tuple[Tensor, None]:
    """What transformers calls: attention's outputs, (rows, length, heads, size), and no weights."""
    kind = value.dtype
    found = branched(query.to(kind), key.to(kind), value, told["lengths"])
    return found.transpose(1, 2).contiguous(), None
