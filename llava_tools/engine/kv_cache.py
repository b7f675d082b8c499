"""The keys and values of all sequences, and how many fit into memory.

Each layer has a region of its own, so that the keys of a sequence whose blocks follow each other
are contiguous and attention reads them in place.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from llava_tools.engine.blocks import BLOCK_SIZE
from llava_tools.engine.device import free_bytes, kv_error


@dataclass(frozen=True)
class KVShape:
    """What a decoder writes for each token: keys and values [kv_heads, head_dim] in each layer."""

    layers: int
    kv_heads: int
    head_dim: int
    dtype: torch.dtype

    @property
    def token_bytes(self) -> int:
        """Bytes of a token."""
        return 2 * self.layers * self.kv_heads * self.head_dim * self.dtype.itemsize


class KVCache:
    """Memory for the keys and values of `blocks` blocks.

    Attributes:
        shape: Of a token's keys and values.
        blocks: Number of blocks.
        keys: For each layer, [slots, kv_heads, head_dim]. A block has BLOCK_SIZE slots.
        values: The same.
        spare_slot: The first slot of a further block, for rows that fill a step up.
    """

    def __init__(self, shape: KVShape, blocks: int, device: torch.device) -> None:
        self.shape = shape
        self.blocks = blocks
        self.spare_slot = blocks * BLOCK_SIZE
        size = (shape.layers, (blocks + 1) * BLOCK_SIZE, shape.kv_heads, shape.head_dim)
        # Zeros and not garbage: masked keys are multiplied by 0, which leaves NaN and infinity.
        self.keys = list(torch.zeros(size, dtype=shape.dtype, device=device))
        self.values = list(torch.zeros(size, dtype=shape.dtype, device=device))


@dataclass(frozen=True)
class MemoryBudget:
    """How much memory and work the batch may take.

    Attributes:
        step_tokens: Tokens computed in one step at most; more delays the other requests.
        kv_tokens: KV tokens at most if memory is plentiful (twice the context if that is more).
        kv_share: Share of the free memory that the KV may take at most.
    """

    step_tokens: int
    kv_tokens: int
    kv_share: float


CPU_BUDGET = MemoryBudget(step_tokens=1024, kv_tokens=16_384, kv_share=0.25)


def blocks_that_fit(shape: KVShape, context_length: int, device: torch.device) -> int:
    """Return how many blocks the KV gets in the host's memory: a full context at least.

    Raises:
        ModelError: The KV of a single request does not fit into memory.
    """
    budget, free = CPU_BUDGET, free_bytes(device)
    blocks = math.ceil(context_length / BLOCK_SIZE) + 1
    if blocks * BLOCK_SIZE * shape.token_bytes > free:
        raise kv_error(context_length, shape.token_bytes, free)
    tokens = min(
        free * budget.kv_share / shape.token_bytes, max(budget.kv_tokens, 2 * context_length)
    )
    return max(blocks, int(tokens) // BLOCK_SIZE)
