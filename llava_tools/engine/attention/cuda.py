"""Attention on CUDA: new rows of answers by a kernel that reads blocks, prompts by SDPA.

A prompt's keys are gathered for each layer, which costs little beside its matrices. cuDNN is left
out: it builds a plan for every length of the keys, at 0.4 s each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.attention.bias import causal_lower_right
from torch.nn.functional import scaled_dot_product_attention

from llava_tools.engine.attention import SequenceRows

#: Programs of the decoding kernel that a GPU should have at least; an H100 has 132 processors.
_PROGRAMS = 264
_BACKENDS = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]


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
        blocks: int32 [sequences, most blocks]: first slots.
        lengths: int32 [sequences].
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
        slots: long [keys], of the sequence's keys up to the last row's.
    """

    rows: slice
    slots: Tensor


@dataclass(frozen=True)
class CudaPlan:
    """What the rows of a step attend to."""

    decode: DecodeRows | None
    prompts: Sequence[PromptRows]


class CudaAttention:
    """The attention plug for CUDA.

    Args:
        device: Of the tensors.
        kernel: Computes single rows.
    """

    def __init__(self, device: torch.device, kernel: DecodeKernel) -> None:
        self._device = device
        self._kernel = kernel

    def plan(self, sequences: Sequence[SequenceRows], block_size: int) -> CudaPlan:
        """See `Attention.plan`."""
        single = [item for item in sequences if item.rows == 1]
        prompts = [
            PromptRows(slice(item.first, item.first + item.rows), self._slots(item, block_size))
            for item in sequences
            if item.rows > 1
        ]
        if not single:
            return CudaPlan(None, prompts)
        most = max(len(item.blocks) for item in single)
        table = [[*item.blocks, *[0] * (most - len(item.blocks))] for item in single]
        rows = self._tensor([item.first for item in single], torch.long) if prompts else None
        lengths = self._tensor([item.past + 1 for item in single], torch.int32)
        decode = DecodeRows(rows, self._tensor(table, torch.int32), lengths, block_size)
        return CudaPlan(decode, prompts)

    def __call__(
        self, plan: CudaPlan, query: Tensor, keys: Tensor, values: Tensor, scale: float
    ) -> Tensor:
        """See `Attention.__call__`."""
        if not plan.prompts:
            assert plan.decode is not None
            return self._decode(plan.decode, query, keys, values, scale)
        outputs = torch.empty_like(query).flatten(1)
        for item in plan.prompts:
            outputs[item.rows] = _prompt(
                query[item.rows], keys[item.slots], values[item.slots], scale
            )
        if plan.decode is not None:
            rows = plan.decode.rows
            outputs[rows] = self._decode(plan.decode, query[rows], keys, values, scale)
        return outputs

    def _decode(
        self, plan: DecodeRows, query: Tensor, keys: Tensor, values: Tensor, scale: float
    ) -> Tensor:
        splits = max(1, min(16, _PROGRAMS // (len(query) * keys.shape[1])))
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

    def _slots(self, item: SequenceRows, block_size: int) -> Tensor:
        first = self._tensor(list(item.blocks), torch.long).unsqueeze(1)
        slots = (first + torch.arange(block_size, device=self._device)).flatten()
        return slots[: item.past + item.rows]

    def _tensor(self, values: list[int] | list[list[int]], dtype: torch.dtype) -> Tensor:
        tensor = torch.tensor(values, dtype=dtype)
        if self._device.type == "cuda":
            tensor = tensor.pin_memory()
        return tensor.to(self._device, non_blocking=True)


def _prompt(query: Tensor, keys: Tensor, values: Tensor, scale: float) -> Tensor:
    """Return the attention of a sequence's last rows, each to the keys up to its own."""
    q, k, v = (tensor.transpose(0, 1).unsqueeze(0) for tensor in (query, keys, values))
    with sdpa_kernel(_BACKENDS):
        out = scaled_dot_product_attention(
            q,
            k,
            v,
            attn_mask=causal_lower_right(len(query), len(keys)),
            scale=scale,
            enable_gqa=q.shape[1] != k.shape[1],
        )
    return out[0].transpose(0, 1).flatten(1)


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
    slots = (blocks.long().unsqueeze(2) + torch.arange(block_size, device=blocks.device)).flatten(1)
    mask = torch.arange(slots.shape[1], device=blocks.device) < lengths.unsqueeze(1)
    with sdpa_kernel(_BACKENDS):
        out = scaled_dot_product_attention(
            query.unsqueeze(2),
            keys[slots].transpose(1, 2),
            values[slots].transpose(1, 2),
            attn_mask=mask[:, None, None],
            scale=scale,
            enable_gqa=query.shape[1] != keys.shape[1],
        )
    return out.flatten(1)


def make_cuda_attention(device: torch.device) -> CudaAttention:
    """Return the attention for a GPU, or for another device without an attention of its own."""
    kernel: Callable[..., Tensor] = decode_in_torch
    if device.type == "cuda" and find_spec("triton") is not None:  # Windows has none
        from llava_tools.engine.attention.paged_decode import paged_decode

        kernel = paged_decode
    return CudaAttention(device, kernel)
