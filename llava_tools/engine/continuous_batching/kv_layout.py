"""The KV of continuous batching, laid out so that attention can read it where it lies.

transformers keeps a block's pages of all layers together. A layer's keys then never follow each
other for longer than a page, and every step copies all of them. Here each layer has a stretch of
its own and blocks are given out from the lowest on, so that a sequence's keys mostly lie in a row.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


def lay_out_by_layers(cache: Any) -> None:
    """Rearrange a `PagedAttentionCache` of full attention that holds nothing yet."""
    (allocator,) = cache.cache_allocators.values()
    page, layers = allocator.tokens_per_page, len(allocator.layer_indices)
    shape = (layers, 2, -1, allocator.num_key_value_heads, allocator.head_dim)
    rows = allocator.cache_tensor.view(shape)
    allocator._kv_token_views = {
        layer: (rows[i, 0], rows[i, 1]) for i, layer in enumerate(allocator.layer_indices)
    }
    allocator.block_physical_stride = page
    allocator.get_read_indices = _pages_instead_of_places(allocator)
    allocator.write_trash_index = page * allocator.blocks_per_sector
    pool = cache.pool
    pool.try_to_free_sectors = _lowest_first(pool, pool.try_to_free_sectors)


def keys_and_values(cache: Any, layer: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return all places of a layer, [places, heads, head] each."""
    allocator = cache.layer_to_allocator[layer]
    keys, values = allocator._kv_token_views[layer]
    return keys, values


def page_size(cache: Any) -> int:
    """Return the places of a page."""
    (allocator,) = cache.cache_allocators.values()
    return int(allocator.tokens_per_page)


def _pages_instead_of_places(allocator: Any) -> Callable[[str, int, int], list[int]]:
    """Return what lists a sequence's keys: where its pages begin, not every one of its places."""

    def pages(request_id: str, past: int, rows: int) -> list[int]:
        page = allocator.tokens_per_page
        count = -(-(past + rows) // page)
        return [block * page for block in allocator.block_table[request_id][:count]]

    return pages


def _lowest_first(pool: Any, free: Callable[[], None]) -> Callable[[], None]:
    """Return `free`, which runs before each step, such that the lowest sector is taken next."""

    def free_and_sort() -> None:
        free()
        pool.free_sectors.sort(reverse=True)  # they are popped from the end

    return free_and_sort
