"""Lays out the KV of continuous batching by layers, so that attention can read it in place.

In transformers' layout a block holds its pages of all layers in a row. The keys of one layer are
then contiguous within a page only, and every step copies all of them. Here each layer has a region
of its own and the lowest free blocks are taken first, so that a sequence's keys are mostly
contiguous. Wherever transformers lists every slot of a sequence's keys, this layout lists the first
slot of each block.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from llava_tools.engine.cpu.attention import BatchSequence


def lay_out_by_layers(cache: Any) -> None:
    """Rearrange an empty `PagedAttentionCache` of full attention."""
    (allocator,) = cache.cache_allocators.values()
    pool, size, layers = cache.pool, allocator.tokens_per_page, len(allocator.layer_indices)
    free_sectors = pool.try_to_free_sectors

    def block_starts(request_id: str, past: int, rows: int) -> list[int]:
        count = -(-(past + rows) // size)
        return [block * size for block in allocator.block_table[request_id][:count]]

    def free_and_sort() -> None:
        free_sectors()
        pool.free_sectors.sort(reverse=True)  # they are popped from the end

    shape = (layers, 2, -1, allocator.num_key_value_heads, allocator.head_dim)
    regions = allocator.cache_tensor.view(shape)
    allocator._kv_token_views = {
        layer: (regions[i, 0], regions[i, 1]) for i, layer in enumerate(allocator.layer_indices)
    }
    allocator.block_physical_stride = size
    allocator.get_read_indices = block_starts
    allocator.write_trash_index = size * allocator.blocks_per_sector
    pool.try_to_free_sectors = free_and_sort  # runs before each step


def keys_and_values(cache: Any, layer: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return all keys and values of a layer, [slots, heads, head] each."""
    keys, values = cache.layer_to_allocator[layer]._kv_token_views[layer]
    return keys, values


def block_size(cache: Any) -> int:
    """Return the slots of a block in one layer."""
    (allocator,) = cache.cache_allocators.values()
    return int(allocator.tokens_per_page)


def sequences_of(batch: Mapping[str, Any]) -> list[BatchSequence]:
    """Return the sequences of a step.

    Args:
        batch: The arguments that continuous batching passes to a model without attention masks.
            `cu_seq_lens_q` and `cu_seq_lens_k` hold where the rows and keys of each sequence begin,
            and the end. `read_index` lists the first slot of each block, one sequence after
            another. If no sequence has a past it is empty; the blocks then follow from
            `write_index`, the slots that the rows' keys are written to.
    """
    (write,), (read,) = batch["write_index"], batch["read_index"]
    (key_starts,) = batch["cu_seq_lens_k"].values()
    rows, keys = batch["cu_seq_lens_q"].tolist(), key_starts.tolist()
    blocks, size = read.tolist(), block_size(batch["cache"])
    sequences = []
    begin = 0
    for i in range(len(rows) - 1):
        count, length = rows[i + 1] - rows[i], keys[i + 1] - keys[i]
        if blocks:
            end = begin + -(-length // size)
            sequence_blocks, begin = blocks[begin:end], end
        else:
            sequence_blocks = write[rows[i] : rows[i + 1] : size].tolist()
        sequences.append(BatchSequence(rows[i], count, length - count, sequence_blocks))
    return sequences
