"""Attention over the paged KV of a step, sequence by sequence and in place, for CPUs.

A step packs rows of many sequences: whole prompts, ends of prompts, single tokens. Where the keys
of each lie is worked out once for all layers, as parts: rows that look at the same places.
Sequences that share a beginning, as questions about one image do, look at it together. What a row
saw in several parts is merged by the weights that one softmax over all would have given them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
        past: Keys before those of its rows.
        pages: Where the pages of its keys begin.
    """

    first: int
    rows: int
    past: int
    pages: Sequence[int]

    @property
    def end(self) -> int:
        """Keys in all."""
        return self.past + self.rows


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


def plan(readers: Sequence[Reader], page: int) -> list[Part]:
    """Return the parts of a step, in the order in which they are to be looked at.

    Args:
        readers: The sequences; their own rows' keys are in the KV by then.
        page: Places of a page.
    """
    parts: list[Part] = []
    for group, shared in _groups(readers, page):
        if shared:
            rows = [row for one in group for row in range(one.first, one.first + one.rows)]
            parts += _unmasked(_rows(rows), group[0], 0, shared, page)
        for one in group:
            own = slice(one.first, one.first + one.rows)
            if one.rows == 1:  # it sees everything, itself included
                parts += _unmasked(own, one, shared, one.end, page)
            else:
                parts += _unmasked(own, one, shared, one.past, page)
                places = _where(list(_stretches(one, one.past, one.end, page)))
                parts.append(Part(own, places, causal=True, more=one.past > 0))
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
        # What scaled_dot_product_attention runs, which keeps the weights to itself.
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


def run(places: torch.Tensor) -> Where:
    """Return ascending places as a slice where they follow each other, to look none of them up."""
    first, last = int(places[0]), int(places[-1])
    if last - first + 1 == len(places) and bool((places[1:] > places[:-1]).all()):
        return slice(first, last + 1)
    return places


def _groups(readers: Sequence[Reader], page: int) -> list[tuple[list[Reader], int]]:
    """Put sequences together that share a beginning; return each group's common places."""
    groups: list[tuple[list[Reader], int]] = []
    for one in readers:
        for index, (group, shared) in enumerate(groups):
            most = min(one.past, shared or group[0].past)
            common = _common(one.pages, group[0].pages, most // page) * page
            if common >= STRETCH and 2 * common >= most:
                groups[index] = ([*group, one], common)
                break
        else:
            groups.append(([one], 0))
    return groups


def _common(one: Sequence[int], other: Sequence[int], most: int) -> int:
    """Return how many pages two sequences begin with together, at most `most`."""
    for index in range(most):
        if one[index] != other[index]:
            return index
    return most


def _unmasked(rows: Where, one: Reader, begin: int, end: int, page: int) -> Iterator[Part]:
    """Yield parts for keys that the rows see all of: long stretches, then all the rest."""
    rest = []
    more = begin > 0
    for stretch in _stretches(one, begin, end, page):
        if stretch.stop - stretch.start < STRETCH:
            rest.append(stretch)
        else:
            yield Part(rows, stretch, more=more)
            more = True
    if rest:
        yield Part(rows, _where(rest), more=more)


def _stretches(one: Reader, begin: int, end: int, page: int) -> Iterator[slice]:
    """Yield the places of keys `begin` to `end` of a sequence, as few slices as they allow."""
    start = stop = -1
    for index in range(begin // page, -(-end // page)):
        first = one.pages[index] + max(begin - index * page, 0)
        last = one.pages[index] + min(end - index * page, page)
        if first != stop:
            if stop > start:
                yield slice(start, stop)
            start = first
        stop = last
    if stop > start:
        yield slice(start, stop)


def _where(stretches: Sequence[slice]) -> Where:
    """Return stretches as one."""
    if len(stretches) == 1:
        return stretches[0]
    return torch.cat([torch.arange(one.start, one.stop) for one in stretches])


def _rows(rows: list[int]) -> Where:
    if rows[-1] - rows[0] + 1 == len(rows):
        return slice(rows[0], rows[-1] + 1)
    return torch.tensor(rows)
