"""A Triton kernel for one new row of each sequence: reads keys and values in their blocks.

Nothing is copied and nothing is masked on the host: a program reads the length and the blocks of
its sequence itself, so a captured step can be replayed with other ones. The keys of a sequence are
split among several programs, so that few sequences occupy the whole GPU too (Flash-Decoding).
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl


@triton.jit
def _decode(
    query,  # [rows, heads, head_dim]
    keys,  # [slots, kv_heads, head_dim]
    values,
    blocks,  # int32 [rows, most blocks]: first slot of each block
    lengths,  # int32 [rows]: keys of each sequence
    outputs,  # float32 [rows, splits, heads, head_dim]
    weights,  # float32 [rows, splits, heads]: log of the sum of exponentials
    scale,
    most_blocks,
    splits,
    kv_heads,
    group,  # heads of a KV head
    head_dim,
    group_size: tl.constexpr,  # the next power of 2
    dim_size: tl.constexpr,  # the next power of 2
    block: tl.constexpr,
):
    row, kv_head, split = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    length = tl.load(lengths + row)
    count = tl.cdiv(length, block)
    share = tl.cdiv(count, splits)
    begin, end = split * share, tl.minimum(split * share + share, count)
    heads, dims = tl.arange(0, group_size), tl.arange(0, dim_size)
    is_head, is_dim = heads < group, dims < head_dim
    inside = is_head[:, None] & is_dim[None, :]
    heads += kv_head * group
    places = ((row * kv_heads * group + heads) * head_dim)[:, None] + dims[None, :]
    q = tl.load(query + places, mask=inside, other=0.0).to(tl.float32) * scale
    best = tl.full([group_size], -float("inf"), tl.float32)
    total = tl.zeros([group_size], tl.float32)
    mixed = tl.zeros([group_size, dim_size], tl.float32)
    for index in range(begin, end):
        first = tl.load(blocks + row * most_blocks + index).to(tl.int64)
        offsets = tl.arange(0, block)
        valid = index * block + offsets < length
        slots = ((first + offsets) * kv_heads + kv_head) * head_dim
        places = slots[:, None] + dims[None, :]
        present = valid[:, None] & is_dim[None, :]
        k = tl.load(keys + places, mask=present, other=0.0).to(tl.float32)
        v = tl.load(values + places, mask=present, other=0.0).to(tl.float32)
        scores = tl.sum(q[:, None, :] * k[None, :, :], 2)
        scores = tl.where(valid[None, :], scores, -float("inf"))
        highest = tl.maximum(best, tl.max(scores, 1))
        shrink = tl.exp(best - highest)
        shares = tl.exp(scores - highest[:, None])
        total = total * shrink + tl.sum(shares, 1)
        mixed = mixed * shrink[:, None] + tl.sum(shares[:, :, None] * v[None, :, :], 1)
        best = highest
    # A split without keys has the weight of nothing.
    total_or_one = tl.where(total > 0, total, 1.0)
    weight = tl.where(total > 0, best + tl.log(total_or_one), -float("inf"))
    place = (row * splits + split) * kv_heads * group + heads
    tl.store(weights + place, weight, mask=is_head)
    places = place[:, None] * head_dim + dims[None, :]
    tl.store(outputs + places, mixed / total_or_one[:, None], mask=inside)


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
    """Return the attention of one row of each sequence, [rows, heads * head_dim].

    Args:
        query: [rows, heads, head_dim], contiguous.
        keys: The layer's, [slots, kv_heads, head_dim], contiguous; the rows' own are among them.
        values: The same.
        blocks: int32 [rows, most blocks], the first slot of each block of a sequence.
        lengths: int32 [rows], at least 1: keys of each sequence.
        scale: Factor of the scores.
        block_size: Slots of a block, a power of 2.
        splits: Programs that share the keys of a sequence and a KV head.
    """
    rows, heads, head_dim = query.shape
    kv_heads = keys.shape[1]
    outputs = query.new_empty((rows, splits, heads, head_dim), dtype=torch.float32)
    weights = query.new_empty((rows, splits, heads), dtype=torch.float32)
    _decode[(rows, kv_heads, splits)](
        query,
        keys,
        values,
        blocks,
        lengths,
        outputs,
        weights,
        scale,
        blocks.shape[1],
        splits,
        kv_heads,
        heads // kv_heads,
        head_dim,
        group_size=triton.next_power_of_2(heads // kv_heads),
        dim_size=triton.next_power_of_2(head_dim),
        block=block_size,
    )
    shares = weights.softmax(dim=1).unsqueeze(3)
    return (outputs * shares).sum(dim=1).to(query.dtype).flatten(1)
