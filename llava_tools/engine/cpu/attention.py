"""Attention over the paged KV of a step, sequence by sequence and in place, for CPUs.

A step packs rows of many sequences: whole prompts, ends of prompts, single tokens. Once for all
layers, `parts_of` groups them into parts: rows that attend to the same slots. Sequences with a
common prefix, such as questions about one image, attend to it together. `attend` merges a row's
outputs from several parts with the weights that one softmax over all keys would give.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

#: Shortest shared prefix that is attended to jointly, and shortest contiguous run that is read in
#: place, in slots. For shorter ones the additional calls cost more than they save.
MIN_SLOTS = 128

Index = slice | torch.Tensor


@dataclass(frozen=True)
class BatchSequence:
    """One sequence's share of a step.

    Attributes:
        first: Its first row in the step.
        rows: How many rows it has.
        past: Keys before those of its rows.
        blocks: The first slot of each of its KV blocks.
    """

    first: int
    rows: int
    past: int
    blocks: Sequence[int]

    @property
    def length(self) -> int:
        """All of its keys."""
        return self.past + self.rows


@dataclass(frozen=True)
class Part:
    """Rows that attend to the same slots.

    Attributes:
        rows: Rows of the step.
        slots: Slots of the KV.
        causal: Whether the slots hold the rows' own keys; each row then sees the slots up to
            its own.
        merge: Whether earlier parts have these rows too; this part's outputs are then merged with
            theirs.
    """

    rows: Index
    slots: Index
    causal: bool = False
    merge: bool = False


def parts_of(sequences: Sequence[BatchSequence], block_size: int) -> list[Part]:
    """Return the parts of a step in the order in which `attend` takes them.

    The rows' own keys and values must be in the KV before `attend` is called. `block_size` is in
    slots.
    """
    parts: list[Part] = []
    for group, shared in _groups(sequences, block_size):
        if shared:
            rows = [row for item in group for row in range(item.first, item.first + item.rows)]
            parts += _unmasked(index_of(torch.tensor(rows)), group[0], 0, shared, block_size)
        for item in group:
            item_rows = slice(item.first, item.first + item.rows)
            end = item.length if item.rows == 1 else item.past  # a single row sees its own key too
            parts += _unmasked(item_rows, item, shared, end, block_size)
            if item.rows > 1:
                runs = list(_contiguous(item, item.past, item.length, block_size))
                parts.append(Part(item_rows, _joined(runs), causal=True, merge=item.past > 0))
    return parts


def attend(
    parts: Sequence[Part],
    queries: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    scale: float,
) -> torch.Tensor:
    """Return the attention's output of each row, [rows, heads * head].

    Takes the parts of `parts_of`, queries [rows, heads, head], one layer's keys and values
    [slots, heads, head], and the scale of the scores.
    """
    outputs = torch.empty(queries.shape, dtype=queries.dtype)
    weights = torch.empty(queries.shape[:2], dtype=queries.dtype)
    for part in parts:
        query, key, value = (
            tensor.transpose(0, 1).unsqueeze(0)
            for tensor in (queries[part.rows], keys[part.slots], values[part.slots])
        )
        # The operation behind scaled_dot_product_attention, which does not return the weights.
        out, weight = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            query, key, value, is_causal=part.causal, scale=scale
        )
        out, weight = out[0].transpose(0, 1), weight[0].transpose(0, 1)
        if part.merge:
            before = weights[part.rows]
            out = outputs[part.rows].lerp(out, torch.sigmoid(weight - before).unsqueeze(-1))
            weight = torch.logaddexp(before, weight)
        outputs[part.rows] = out
        weights[part.rows] = weight
    return outputs.flatten(1)


def index_of(places: torch.Tensor) -> Index:
    """Return rows or slots as a slice if they are contiguous, which avoids a lookup."""
    first, last = int(places[0]), int(places[-1])
    if last - first + 1 == len(places) and bool((places[1:] > places[:-1]).all()):
        return slice(first, last + 1)
    return places


def _groups(
    sequences: Sequence[BatchSequence], block_size: int
) -> list[tuple[list[BatchSequence], int]]:
    """Group sequences with a common prefix; return each group with the prefix's length."""
    groups: list[tuple[list[BatchSequence], int]] = []
    for item in sequences:
        for index, (group, shared) in enumerate(groups):
            other = group[0]
            most = min(item.past, shared or other.past)
            end = most // block_size
            blocks = next((i for i in range(end) if item.blocks[i] != other.blocks[i]), end)
            common = blocks * block_size
            if common >= MIN_SLOTS and 2 * common >= most:
                groups[index] = ([*group, item], common)
                break
        else:
            groups.append(([item], 0))
    return groups


def _unmasked(
    rows: Index, sequence: BatchSequence, begin: int, end: int, block_size: int
) -> Iterator[Part]:
    """Yield parts for keys that all rows see: one for each long contiguous run, one for others."""
    rest = []
    merge = begin > 0
    for run in _contiguous(sequence, begin, end, block_size):
        if run.stop - run.start < MIN_SLOTS:
            rest.append(run)
        else:
            yield Part(rows, run, merge=merge)
            merge = True
    if rest:
        yield Part(rows, _joined(rest), merge=merge)


def _contiguous(sequence: BatchSequence, begin: int, end: int, block_size: int) -> Iterator[slice]:
    """Yield the slots of a sequence's keys `begin` to `end` in as few slices as possible."""
    start = stop = -1
    for index in range(begin // block_size, -(-end // block_size)):
        first = sequence.blocks[index] + max(begin - index * block_size, 0)
        last = sequence.blocks[index] + min(end - index * block_size, block_size)
        if first != stop:
            if stop > start:
                yield slice(start, stop)
            start = first
        stop = last
    if stop > start:
        yield slice(start, stop)


def _joined(runs: Sequence[slice]) -> Index:
    """Return slices as one index."""
    if len(runs) == 1:
        return runs[0]
    return torch.cat([torch.arange(run.start, run.stop) for run in runs])
