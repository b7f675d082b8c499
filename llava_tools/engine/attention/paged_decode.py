"""Triton kernels for one new row of each sequence: keys and values are read in their blocks.

Nothing is copied and nothing is masked on the host: a program reads the length and the blocks of
its sequence itself, so a captured step can be replayed with other ones. The keys of a sequence are
split among several programs, so that few sequences occupy the whole GPU too (Flash-Decoding).
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

#: Keys that a program multiplies at once, by the bytes of a number. More would not fit registers.
_TILES = {2: 32, 4: 16}
#: Fewest rows and columns that tensor cores multiply.
_LEAST = 16


@triton.jit
def _attend(
    query,  # [rows, heads, head_dim]
    keys,  # [slots, kv_heads, head_dim]
    values,
    blocks,  # [rows, most blocks]: first slot of each block
    lengths,  # [rows]: keys of each sequence
    outputs,  # [rows, splits, heads, head_dim]
    weights,  # float32 [rows, splits, heads]: log of the sum of exponentials
    scale,
    most_blocks,
    splits,
    kv_heads,
    group,  # heads of a KV head
    head_dim,
    block_size: tl.constexpr,
    group_size: tl.constexpr,  # `group`, filled up
    dim_size: tl.constexpr,  # `head_dim`, filled up
    tile: tl.constexpr,
):
    row, kv_head, split = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    length = tl.load(lengths + row).to(tl.int32)
    share = tl.cdiv(tl.cdiv(length, splits), tile) * tile
    begin = split * share
    end = tl.minimum(begin + share, length)
    members, dims = tl.arange(0, group_size), tl.arange(0, dim_size)
    is_member, is_dim = members < group, dims < head_dim
    heads = kv_head * group + members
    inside = is_member[:, None] & is_dim[None, :]
    rows = ((row * kv_heads * group + heads) * head_dim)[:, None] + dims[None, :]
    q = tl.load(query + rows, mask=inside, other=0.0).to(keys.dtype.element_ty)
    best = tl.full([group_size], -float("inf"), tl.float32)
    total = tl.zeros([group_size], tl.float32)
    mixed = tl.zeros([group_size, dim_size], tl.float32)
    for start in range(begin, end, tile):
        positions = start + tl.arange(0, tile)
        valid = positions < end
        first = tl.load(blocks + row * most_blocks + positions // block_size, mask=valid, other=0)
        slots = (first + positions % block_size).to(tl.int64)
        places = ((slots * kv_heads + kv_head) * head_dim)[:, None] + dims[None, :]
        present = valid[:, None] & is_dim[None, :]
        k = tl.load(keys + places, mask=present, other=0.0)
        v = tl.load(values + places, mask=present, other=0.0)
        scores = tl.dot(q, tl.trans(k), input_precision="ieee") * scale
        scores = tl.where(valid[None, :], scores, -float("inf"))
        highest = tl.maximum(best, tl.max(scores, 1))
        shrink = tl.exp(best - highest)
        shares = tl.exp(scores - highest[:, None])
        total = total * shrink + tl.sum(shares, 1)
        mixed = mixed * shrink[:, None] + tl.dot(shares.to(v.dtype), v, input_precision="ieee")
        best = highest
    # A split without keys has the weight of nothing.
    total_or_one = tl.where(total > 0, total, 1.0)
    weight = tl.where(total > 0, best + tl.log(total_or_one), -float("inf"))
    targets = (row * splits + split) * kv_heads * group + heads
    tl.store(weights + targets, weight, mask=is_member)
    parts = (targets * head_dim)[:, None] + dims[None, :]
    tl.store(outputs + parts, mixed / total_or_one[:, None], mask=inside)


@triton.jit
def _combine(
    parts,  # float32 [rows, splits, heads, head_dim]
    weights,  # float32 [rows, splits, heads]
    outputs,  # [rows, heads, head_dim]
    splits,
    heads,
    head_dim,
    split_size: tl.constexpr,  # `splits`, filled up
    dim_size: tl.constexpr,
):
    row, head = tl.program_id(0), tl.program_id(1)
    numbers, dims = tl.arange(0, split_size), tl.arange(0, dim_size)
    is_split, is_dim = numbers < splits, dims < head_dim
    places = (row * splits + numbers) * heads + head
    weight = tl.load(weights + places, mask=is_split, other=-float("inf"))
    shares = tl.exp(weight - tl.max(weight, 0))
    inside = (places * head_dim)[:, None] + dims[None, :]
    part = tl.load(parts + inside, mask=is_split[:, None] & is_dim[None, :], other=0.0)
    mixed = tl.sum(part * shares[:, None], 0) / tl.sum(shares, 0)
    tl.store(outputs + (row * heads + head) * head_dim + dims, mixed, mask=is_dim)


def paged_decode(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    blocks: torch.Tensor,
    lengths: torch.Tensor,
    scale: float,
    block_size: int,
    splits: int,
) -> torch.Tensor:
    """Return the attention of one row of each sequence, [rows, heads * head_dim] in the KV's dtype.

    Its launches go to the thread's current GPU, which must be that of the tensors.

    Args:
        query: [rows, heads, head_dim], contiguous; it is rounded to the KV's dtype.
        keys: The layer's, [slots, kv_heads, head_dim], contiguous; the rows' own are among them.
        values: The same.
        blocks: int [rows, most blocks], contiguous: the first slot of each block of a sequence.
        lengths: int [rows], contiguous, at least 1: keys of each sequence.
        scale: Factor of the scores.
        block_size: Slots of a block.
        splits: Programs that share the keys of a sequence and a KV head.
    """
    rows, heads, head_dim = query.shape
    kv_heads = keys.shape[1]
    dim_size = max(_LEAST, triton.next_power_of_2(head_dim))
    outputs = keys.new_empty((rows, heads, head_dim))
    weights = keys.new_empty((rows, splits, heads), dtype=torch.float32)
    parts = outputs
    if splits > 1:
        parts = keys.new_empty((rows, splits, heads, head_dim), dtype=torch.float32)
    _attend[(rows, kv_heads, splits)](
        query,
        keys,
        values,
        blocks,
        lengths,
        parts,
        weights,
        scale,
        blocks.shape[1],
        splits,
        kv_heads,
        heads // kv_heads,
        head_dim,
        block_size=block_size,
        group_size=max(_LEAST, triton.next_power_of_2(heads // kv_heads)),
        dim_size=dim_size,
        tile=_TILES[keys.element_size()],
    )
    if splits > 1:
        _combine[(rows, heads)](
            parts,
            weights,
            outputs,
            splits,
            heads,
            head_dim,
            split_size=triton.next_power_of_2(splits),
            dim_size=dim_size,
        )
    return outputs.flatten(1)
