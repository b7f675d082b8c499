"""Attention on GPUs: new rows of answers by a kernel that reads blocks, prompts by SDPA.

A prompt's keys are read where they lie if its blocks follow each other, else gathered for each
layer, which costs little beside its matrices. It has never been run on a GPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.attention.bias import CausalBias, causal_lower_right
from torch.nn.functional import scaled_dot_product_attention

from llava_tools.engine.attention import SequenceRows
from llava_tools.engine.upload import upload

#: Programs of the decoding kernel that a GPU should have at least; an H100 has 132 processors.
_PROGRAMS = 264

#: Programs that share the keys of a sequence and a KV head at most.
_MAX_SPLITS = 16


class DecodeKernel(Protocol):
    """`paged_decode`, or what computes the same."""

    def __call__(
        self,
        query: Tensor,
        keys: Tensor,
        values: Tensor,
        blocks: Tensor,
        lengths: Tensor,
        scale: float,
        block_size: int,
        splits: int,
    ) -> Tensor:
        """See `paged_decode.paged_decode`."""


@dataclass(frozen=True)
class DecodeRows:
    """The single rows of a step.

    Attributes:
        rows: long [sequences], their places in the step; None if it has no others.
        blocks: long [sequences, most blocks]: first slots.
        lengths: long [sequences].
        block_size: Slots of a block.
    """

    rows: Tensor | None
    blocks: Tensor
    lengths: Tensor
    block_size: int


@dataclass(frozen=True)
class PromptRows:
    """Several rows of one sequence.

    Attributes:
        rows: Their places in the step.
        slots: Of the sequence's keys up to the last row's, long [keys] or a slice.
        mask: Lets each row attend to the keys up to its own.
    """

    rows: slice
    slots: Tensor | slice
    mask: CausalBias


@dataclass(frozen=True)
class CudaPlan:
    """What the rows of a step attend to."""

    decode: DecodeRows | None
    prompts: Sequence[PromptRows]


class CudaAttention:
    """The attention plug for GPUs.

    Args:
        device: Of the tensors.
        kernel: Computes single rows.
        reads_blocks: Whether `kernel` reads keys and values in their blocks, however many blocks
            `DecodeRows` has beyond a sequence's length.
    """

    def __init__(self, device: torch.device, kernel: DecodeKernel, *, reads_blocks: bool) -> None:
        self._device = device
        self._kernel = kernel
        self.reads_blocks = reads_blocks

    def plan(self, sequences: Sequence[SequenceRows], block_size: int) -> CudaPlan:
        """See `Attention.plan`."""
        single = [item for item in sequences if item.rows == 1]
        prompts = [item for item in sequences if item.rows > 1]
        most = max((len(item.blocks) for item in single), default=0)
        table = [slot for i in single for slot in (*i.blocks, *[0] * (most - len(i.blocks)))]
        lengths = [item.length for item in single]
        scattered = [_scattered_slots(item, block_size) for item in prompts]
        lists = [[item.first for item in single], lengths, table, *scattered]
        rows, counts, blocks, *slots = upload(lists, self._device)
        decode = None
        if single:
            places = rows if prompts else None
            decode = DecodeRows(places, blocks.view(-1, most), counts, block_size)
        return CudaPlan(
            decode,
            [
                PromptRows(
                    slice(item.first, item.first + item.rows),
                    keys if len(keys) else slice(item.blocks[0], item.blocks[0] + item.length),
                    causal_lower_right(item.rows, item.length),
                )
                for item, keys in zip(prompts, slots, strict=True)
            ],
        )

    def __call__(
        self, plan: CudaPlan, query: Tensor, keys: Tensor, values: Tensor, scale: float
    ) -> Tensor:
        """See `Attention.__call__`. The outputs are in the KV's dtype."""
        if not plan.prompts:
            assert plan.decode is not None
            return self._decode(plan.decode, query, keys, values, scale)
        outputs = torch.empty(query.shape, dtype=keys.dtype, device=query.device).flatten(1)
        for item in plan.prompts:
            key, value = _taken(keys, item.slots), _taken(values, item.slots)
            outputs[item.rows] = _prompt(query[item.rows], key, value, item.mask, scale)
        if plan.decode is not None:
            rows = plan.decode.rows
            assert rows is not None
            single = self._decode(plan.decode, query.index_select(0, rows), keys, values, scale)
            outputs.index_copy_(0, rows, single)
        return outputs

    def _decode(
        self, plan: DecodeRows, query: Tensor, keys: Tensor, values: Tensor, scale: float
    ) -> Tensor:
        splits = max(1, min(_MAX_SPLITS, _PROGRAMS // (len(query) * keys.shape[1])))
        return self._kernel(
            query.contiguous(),
            keys,
            values,
            plan.blocks,
            plan.lengths,
            scale,
            plan.block_size,
            splits,
        )


def _scattered_slots(item: SequenceRows, block_size: int) -> list[int]:
    """Return the slots of a sequence's keys; none if they follow each other."""
    blocks = item.blocks[: -(-item.length // block_size)]
    if all(slot == blocks[0] + i * block_size for i, slot in enumerate(blocks)):
        return []
    return [slot + i for slot in blocks for i in range(block_size)][: item.length]


def _taken(cache: Tensor, slots: Tensor | slice) -> Tensor:
    return cache[slots] if isinstance(slots, slice) else cache.index_select(0, slots)


def _prompt(query: Tensor, keys: Tensor, values: Tensor, mask: CausalBias, scale: float) -> Tensor:
    """Return the attention of a sequence's last rows, each to the keys up to its own."""
    group = query.shape[1] // keys.shape[1]
    grouped = group > 1 and _has_grouped_heads(keys)
    if group > 1 and not grouped:
        keys, values = (item.repeat_interleave(group, 1) for item in (keys, values))
    q, k, v = (item.transpose(0, 1)[None] for item in (query.to(keys.dtype), keys, values))
    out = scaled_dot_product_attention(q, k, v, mask, scale=scale, enable_gqa=grouped)
    return out[0].transpose(0, 1).flatten(1)


def _has_grouped_heads(keys: Tensor) -> bool:
    """Whether SDPA's kernel takes fewer KV heads than heads: Flash-Attention does.

    The others expect as many, or fall back to plain products that fill memory with all scores.
    """
    if keys.device.type != "cuda" or keys.dtype == torch.float32 or keys.shape[2] > 256:
        return False
    return torch.cuda.get_device_capability(keys.device) >= (8, 0)


def decode_in_torch(
    query: Tensor,
    keys: Tensor,
    values: Tensor,
    blocks: Tensor,
    lengths: Tensor,
    scale: float,
    block_size: int,
    splits: int,
) -> Tensor:
    """`paged_decode` in plain torch, for devices without Triton: gathers and masks the keys."""
    slots = (blocks.unsqueeze(2) + torch.arange(block_size, device=blocks.device)).flatten(1)
    mask = torch.arange(slots.shape[1], device=blocks.device) < lengths.unsqueeze(1)
    rows, heads, head_dim = query.shape
    # Heads of one KV head are rows that attend to the same keys.
    out = scaled_dot_product_attention(
        query.to(keys.dtype).view(rows, keys.shape[1], -1, head_dim),
        keys[slots].transpose(1, 2),
        values[slots].transpose(1, 2),
        attn_mask=mask[:, None, None],
        scale=scale,
    )
    return out.reshape(rows, heads * head_dim)


def make_cuda_attention(device: torch.device) -> CudaAttention:
    """Return the attention for a GPU, or for another device without an attention of its own."""
    if device.type != "cuda":
        return CudaAttention(device, decode_in_torch, reads_blocks=False)
    from llava_tools.engine.triton_check import has_triton

    # cuDNN builds a plan for every length of the keys, at 0.4 s each. This holds for the process:
    # `sdpa_kernel` changes the same setting, and two threads would restore each other's.
    torch.backends.cuda.enable_cudnn_sdp(False)
    if not has_triton(device):
        return CudaAttention(device, decode_in_torch, reads_blocks=False)
    from llava_tools.engine.attention.paged_decode import paged_decode

    return CudaAttention(device, paged_decode, reads_blocks=True)
