"""Attention over the paged KV of a step, sequence by sequence and in place, for CPUs.

A step packs rows of many sequences: whole prompts, ends of prompts, single tokens. Where the keys
of each lie is worked out once for all layers, as parts: rows that look at the same stretch of KV.
Sequences that share a beginning, as questions about one picture do, look at it together. What a
row saw in several parts is merged by the weights that the softmax would have given them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

#: Places that several sequences must have in common to look at them together, and that must follow
#: each other to be looked at where they are. Shorter stretches cost more calls than they save.
STRETCH = 128

Where = slice | torch.Tensor


@dataclass(frozen=True)
class Reader:
    """One sequence's share of a step.

    Attributes:
        first: Its first row in the step.
        rows: How many rows it has.
        places: Where its keys lie in the KV, int64 [past + rows]; its own are the last.
    """

    first: int
    rows: int
    places: torch.Tensor

    @property
    def past(self) -> int:
        """Keys before its own."""
        return len(self.places) - self.rows


@dataclass(frozen=True)
class Part:
    """Rows that look at the same places.

    Attributes:
        rows: Rows of the step.
        places: Of the KV.
        causal: Whether the places are the rows' own, of which each sees those up to its own.
        more: Whether the rows have seen something before, which this is merged with.
    """

    rows: Where
    places: Where
    causal: bool = False
    more: bool = False


def plan(readers: Sequence[Reader]) -> list[Part]:
    """Return the parts of a step, in the order in which they are to be looked at."""
    parts = []
    for group, common in _groups(readers):
        if common:
            rows = [row for one in group for row in range(one.first, one.first + one.rows)]
            shared = group[0].places[:common]
            parts += _unmasked(_rows(rows), shared, more=False)
        for one in group:
            parts += _own(one, common)
    return parts


def attend(
    parts: Sequence[Part],
    queries: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    scale: float,
) -> torch.Tensor:
    """Return what each row sees.

    Args:
        parts: From `plan`.
        queries: [rows, heads, head].
        keys: A layer's, [places, heads, head].
        values: The same.
        scale: Of the scores.

    Returns:
        [rows, heads * head].
    """
    seen = torch.empty(queries.shape, dtype=queries.dtype)
    weights = torch.empty(queries.shape[:2], dtype=queries.dtype)
    for part in parts:
        query, key, value = (
            tensor.transpose(0, 1).unsqueeze(0)
            for tensor in (queries[part.rows], keys[part.places], values[part.places])
        )
        out, weight = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            query, key, value, is_causal=part.causal, scale=scale
        )
        out, weight = out[0].transpose(0, 1), weight[0].transpose(0, 1)
        if part.more:
            before = weights[part.rows]
            out = seen[part.rows].lerp(out, torch.sigmoid(weight - before).unsqueeze(-1))
            weight = torch.logaddexp(before, weight)
        seen[part.rows] = out
        weights[part.rows] = weight
    return seen.flatten(1)


def _groups(readers: Sequence[Reader]) -> list[tuple[list[Reader], int]]:
    """Put sequences together that share a beginning; return each group's common length."""
    groups: list[tuple[list[Reader], int]] = []
    for one in readers:
        for index, (group, common) in enumerate(groups):
            lead = group[0]
            most = min(one.past, common or lead.past)
            found = _alike(one.places[:most], lead.places[:most])
            if found >= STRETCH and 2 * found >= most:
                groups[index] = ([*group, one], found)
                break
        else:
            groups.append(([one], 0))
    return groups


def _alike(one: torch.Tensor, other: torch.Tensor) -> int:
    """Return how many places two sequences have in common from their beginnings."""
    different = (one != other).nonzero()
    return len(one) if len(different) == 0 else int(different[0])


def _own(one: Reader, common: int) -> list[Part]:
    """Return what one sequence looks at by itself behind what it shares."""
    rows = slice(one.first, one.first + one.rows)
    if one.rows == 1:  # it sees everything, itself included
        return _unmasked(rows, one.places[common:], more=common > 0)
    before = _unmasked(rows, one.places[common : one.past], more=common > 0)
    own = _places(one.places[one.past :])
    return [*before, Part(rows, own, causal=True, more=one.past > 0)]


def _unmasked(rows: Where, places: torch.Tensor, *, more: bool) -> list[Part]:
    """Return parts for places that the rows see all of: long stretches, then all the rest."""
    if len(places) == 0:
        return []
    breaks = ((places[1:] - places[:-1]) != 1).nonzero().flatten() + 1
    stretches = torch.tensor_split(places, breaks.tolist())
    long = [stretch for stretch in stretches if len(stretch) >= STRETCH]
    rest = [stretch for stretch in stretches if len(stretch) < STRETCH]
    wheres = [*map(_places, long), *([_places(torch.cat(rest))] if rest else [])]
    return [Part(rows, where, more=more or i > 0) for i, where in enumerate(wheres)]


def _places(places: torch.Tensor) -> Where:
    """Return places as a slice where they follow each other, so that nothing is copied."""
    first, last = int(places[0]), int(places[-1])
    if last - first + 1 == len(places) and bool((places[1:] > places[:-1]).all()):
        return slice(first, last + 1)
    return places


def _rows(rows: list[int]) -> Where:
    if rows[-1] - rows[0] + 1 == len(rows):
        return slice(rows[0], rows[-1] + 1)
    return torch.tensor(rows)
