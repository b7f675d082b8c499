"""Attention over packed conversations that computes only what is looked at.

A row is a part that its branches share, and branches that see that part and themselves (see
:mod:`~recipes.tiny_llava.packing`). Most pairs of a row's tokens see nothing of each other; under a
dense mask all are computed. Here each branch is computed by itself, against the shared part and its
own.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def branched(query: Tensor, key: Tensor, value: Tensor, lengths: Sequence[Sequence[int]]) -> Tensor:
    """Causal attention of rows of branches, as by a dense mask of who sees whom.

    Args:
        query: Rows behind each other without padding, (tokens, heads, size), as are ``key`` and
            ``value``.
        key: Of every token.
        value: Of every token.
        lengths: Of each row, how long its shared part is and how long each branch is, in order.

    Returns:
        (tokens, heads, size) of ``value``'s type.
    """
    flat = [length for row in lengths for length in row]
    query = query * query.shape[-1] ** -0.5
    parts = [one.transpose(0, 1).split(flat, dim=1) for one in (query, key, value)]
    found: list[Tensor] = []
    for row in lengths:
        start = len(found)
        for at in range(start, start + len(row)):
            ours, keys, values = (one[at] for one in parts)
            if at > start:
                keys = torch.cat([parts[1][start], keys], dim=1)
                values = torch.cat([parts[2][start], values], dim=1)
            found.append(_look(ours, keys, values))
    return torch.cat(found, dim=1).transpose(0, 1)


def _look(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention of the last tokens to all up to themselves, (heads, tokens, size)."""
    asks, told = query.shape[1], key.shape[1]
    later = query.new_full((asks, told), float("-inf")).triu(told - asks + 1)
    scores = torch.baddbmm(later.expand(len(query), -1, -1), query, key.transpose(1, 2))
    found: Tensor = scores.softmax(dim=-1) @ value
    return found
