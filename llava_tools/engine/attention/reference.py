"""Attention by matrix products over keys and values that stay where they are, for CPUs.

`plan` sorts the sequences of a step into parts. Several rows of a sequence, a prompt or a piece of
one, are computed in tiles, which keeps the scores small and skips what lies in the future. Single
rows, each the newest token of an answer, are computed in groups: those with a common prefix, such
as questions about one image, attend to it together.

Scores are float32: keys in 16 bit are widened, since scores that are rounded to 16 bit would be off
by much where they are large. Single rows widen the values too, which is faster than a product in 16
bit, for which they would be reordered; prompts multiply values and weights in the KV's dtype. Heads
that share a KV head are folded into rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from llava_tools.engine.attention import SequenceRows

#: Shortest prefix that single rows attend to where it lies, in slots. For shorter ones the
#: additional calls cost more than they save.
MIN_PREFIX = 128

#: Longest sequence whose keys are copied beside those of others, which makes one call of many.
_MAX_TAIL = 256

#: Rows of a tile. Fewer make more calls; more compute more scores only to mask them.
TILE = 64

Index = slice | Tensor


@dataclass(frozen=True)
class Prompt:
    """Successive rows of one sequence.

    Attributes:
        rows: Their places in the step.
        slots: Of the sequence's keys; the last ones are the rows' own.
        mask: float32 [TILE, TILE], -inf where a column lies in the future of a row.
    """

    rows: slice
    slots: Index
    mask: Tensor

    def attend(self, query: Tensor, keys: Tensor, values: Tensor, scale: float) -> Tensor:
        """Return the outputs [rows, heads, head_dim] of the rows whose queries these are."""
        key, value = _taken(keys, self.slots), _taken(values, self.slots)
        return _tiled(query, key, value, scale, self.mask)


@dataclass(frozen=True)
class Group:
    """Single rows, each of another sequence.

    Attributes:
        rows: Their places in the step.
        prefix: Slots of keys that all of them attend to; None if there are none.
        tails: long [rows, most keys], slots of the other keys of each; None if there are none.
        mask: float32 [rows, 1, most keys], -inf where a row of `tails` is filled up.
    """

    rows: Index
    prefix: Index | None
    tails: Tensor | None = None
    mask: Tensor | None = None

    def attend(self, query: Tensor, keys: Tensor, values: Tensor, scale: float) -> Tensor:
        """Return the outputs [rows, heads, head_dim] of the rows whose queries these are."""
        rows, (kv_heads, head_dim) = len(query), keys.shape[1:]
        grouped = query.float().view(rows, kv_heads, -1, head_dim).transpose(0, 1)
        group = grouped.shape[2]
        folded = grouped.reshape(kv_heads, rows * group, head_dim)
        scores: list[Tensor] = []
        if self.prefix is not None:
            key = _taken(keys, self.prefix).float().permute(1, 2, 0)
            scores.append(_scores(folded, key, scale))
        if self.tails is not None:
            # Places in [slots * kv_heads, head_dim], so that the keys of a head are contiguous.
            places = self.tails * kv_heads + torch.arange(kv_heads)[:, None, None]
            each = folded.reshape(kv_heads * rows, group, head_dim)
            tails = _scores(each, _gathered(keys, places).transpose(1, 2), scale)
            tails = tails.view(kv_heads, rows, group, -1)
            if self.mask is not None:
                tails += self.mask
            scores.append(tails.view(kv_heads, rows * group, -1))
        weights = torch.softmax(scores[0] if len(scores) == 1 else torch.cat(scores, -1), dim=-1)
        outputs: list[Tensor] = []
        if self.prefix is not None:
            value = _taken(values, self.prefix).float().transpose(0, 1)
            outputs.append(torch.bmm(weights[..., : value.shape[1]], value))
        if self.tails is not None:
            value = _gathered(values, places)
            each = weights[..., -value.shape[1] :].view(kv_heads * rows, group, -1)
            outputs.append(torch.bmm(each, value).view(folded.shape))
        mixed = outputs[0] if len(outputs) == 1 else outputs[0].add_(outputs[1])
        mixed = mixed.view(kv_heads, rows, group, head_dim).transpose(0, 1)
        return mixed.to(values.dtype).reshape(rows, kv_heads * group, head_dim)


class ReferenceAttention:
    """The attention plug for CPUs, which the others are tested against."""

    def plan(self, sequences: Sequence[SequenceRows], block_size: int) -> list[Prompt | Group]:
        """See `Attention.plan`."""
        mask = torch.full((TILE, TILE), -torch.inf).triu_(1)
        parts: list[Prompt | Group] = []
        for item in sequences:
            if item.rows > 1:
                rows = slice(item.first, item.first + item.rows)
                parts.append(Prompt(rows, _slots(item, 0, item.length, block_size), mask))
        short: list[SequenceRows] = []
        single = [item for item in sequences if item.rows == 1]
        for group, shared in _sharing(single, block_size):
            if len(group) == 1:
                shared = _contiguous(group[0], block_size)
            if shared >= MIN_PREFIX:
                parts.append(_group(group, shared, block_size))
            elif group[0].length > _MAX_TAIL:
                parts.append(_group(group, group[0].length, block_size))
            else:
                short += group
        if short:
            parts.append(_group(short, 0, block_size))
        return parts

    def __call__(
        self,
        plan: Sequence[Prompt | Group],
        query: Tensor,
        keys: Tensor,
        values: Tensor,
        scale: float,
    ) -> Tensor:
        """See `Attention.__call__`."""
        if len(plan) == 1:  # it has all rows, in their order
            return plan[0].attend(query, keys, values, scale).flatten(1)
        outputs = torch.empty(query.shape, dtype=values.dtype)
        for part in plan:
            outputs[part.rows] = part.attend(query[part.rows], keys, values, scale)
        return outputs.flatten(1)


def _tiled(query: Tensor, keys: Tensor, values: Tensor, scale: float, mask: Tensor) -> Tensor:
    """Return the attention's output of successive rows of one sequence, [rows, heads, head_dim].

    Args:
        query: [rows, heads, head_dim].
        keys: [keys, kv_heads, head_dim].
        values: The same.
        scale: Factor of the scores.
        mask: See `Prompt`. The last keys are the rows' own.
    """
    rows, (count, kv_heads, head_dim) = len(query), keys.shape
    grouped = query.float().view(rows, kv_heads, -1, head_dim).permute(1, 2, 0, 3)
    key, value = keys.float().permute(1, 2, 0), values.transpose(0, 1).contiguous()
    group = grouped.shape[1]
    outputs = torch.empty((rows, kv_heads, group, head_dim), dtype=values.dtype)
    for start in range(0, rows, TILE):
        stop = min(start + TILE, rows)
        size, visible = stop - start, count - rows + stop
        tile = grouped[:, :, start:stop].reshape(kv_heads, group * size, head_dim)
        scores = _scores(tile, key[:, :, :visible], scale)
        own = scores.view(kv_heads, group, size, visible)[..., visible - size :]
        own.add_(mask[:size, :size])
        weights = torch.softmax(scores, dim=-1).to(values.dtype)
        mixed = torch.bmm(weights, value[:, :visible])
        outputs[start:stop] = mixed.view(kv_heads, group, size, head_dim).permute(2, 0, 1, 3)
    return outputs.flatten(1, 2)


def _scores(query: Tensor, key: Tensor, scale: float) -> Tensor:
    """Return the products of [heads, rows, head_dim] and [heads, head_dim, keys], scaled."""
    return torch.baddbmm(query.new_empty(()), query, key, beta=0, alpha=scale)  # in one pass


def _group(items: Sequence[SequenceRows], shared: int, block_size: int) -> Group:
    """Return the group of sequences whose first `shared` keys are the same."""
    first = items[0].first
    rows: Index = slice(first, first + len(items))
    if items[-1].first != first + len(items) - 1:
        rows = torch.tensor([item.first for item in items])
    prefix = _slots(items[0], 0, shared, block_size) if shared else None
    counts = [item.length - shared for item in items]
    if max(counts) == 0:
        return Group(rows, prefix)
    tails = torch.zeros((len(items), max(counts)), dtype=torch.long)
    for row, item, count in zip(tails, items, counts, strict=True):
        row[:count] = _slot_numbers(item, shared, item.length, block_size)
    if min(counts) == max(counts):
        return Group(rows, prefix, tails)
    missing = torch.arange(max(counts)) >= torch.tensor(counts)[:, None, None]
    return Group(rows, prefix, tails, torch.zeros(missing.shape).masked_fill_(missing, -torch.inf))


def _sharing(
    sequences: Sequence[SequenceRows], block_size: int
) -> list[tuple[list[SequenceRows], int]]:
    """Sort sequences into groups with a common prefix; return each with the prefix's length.

    A prefix counts that is as long as `MIN_PREFIX` and half of what each computed before.
    """
    groups: list[tuple[list[SequenceRows], int]] = []
    for item in sequences:
        for index, (group, shared) in enumerate(groups):
            other = group[0]
            most = min(item.past, shared or other.past)
            end = most // block_size
            blocks = next((i for i in range(end) if item.blocks[i] != other.blocks[i]), end)
            common = blocks * block_size
            if common >= MIN_PREFIX and 2 * common >= max(item.past, other.past):
                groups[index] = ([*group, item], common)
                break
        else:
            groups.append(([item], 0))
    return groups


def _contiguous(item: SequenceRows, block_size: int) -> int:
    """Return how many keys follow each other from the first one on."""
    for index, block in enumerate(item.blocks):
        if block != item.blocks[0] + index * block_size:
            return min(index * block_size, item.length)
    return item.length


def _slots(item: SequenceRows, begin: int, end: int, block_size: int) -> Index:
    """Return the slots of keys `begin` to `end`, as a slice if they are contiguous."""
    if _contiguous(item, block_size) >= end:
        return slice(item.blocks[0] + begin, item.blocks[0] + end)
    return _slot_numbers(item, begin, end, block_size)


def _slot_numbers(item: SequenceRows, begin: int, end: int, block_size: int) -> Tensor:
    """Return the slots of keys `begin` to `end`, long [keys]."""
    first = begin // block_size
    blocks = torch.tensor(item.blocks[first : -(-end // block_size)])
    slots = (blocks[:, None] + torch.arange(block_size)).flatten()
    return slots[begin - first * block_size : end - first * block_size]


def _taken(cache: Tensor, slots: Index) -> Tensor:
    """Return keys or values [keys, kv_heads, head_dim] of slots, in place if they are a slice."""
    return cache[slots] if isinstance(slots, slice) else cache.index_select(0, slots)


def _gathered(cache: Tensor, places: Tensor) -> Tensor:
    """Return keys or values as float32 [kv_heads * rows, keys, head_dim].

    `places` are those of `cache` as [slots * kv_heads, head_dim], long [kv_heads, rows, keys].
    """
    gathered = cache.flatten(0, 1).index_select(0, places.flatten()).float()
    return gathered.view(-1, places.shape[2], cache.shape[2])
