"""Triton kernels for what lies between a decoder layer's matrices and its attention.

On a GPU a small operation takes as long as its launch, and a decoder layer has some twenty of them
beside its matrices. Fused they are five, and intermediate results stay in registers.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

#: Gated values that a program computes.
_COLUMNS = 1024


@triton.jit
def _normalize(
    hidden,  # float32 [rows, size]
    update,  # [rows, size]; unused without `has_update`
    weight,  # float32 [size]
    summed,  # float32 [rows, size]; unused without `has_update`
    normed,  # [rows, size]
    size,
    eps,
    has_update: tl.constexpr,
    filled_size: tl.constexpr,
):
    columns = tl.arange(0, filled_size)
    inside = columns < size
    places = tl.program_id(0) * size + columns
    row = tl.load(hidden + places, mask=inside, other=0.0)
    if has_update:
        row += tl.load(update + places, mask=inside, other=0.0).to(tl.float32)
        tl.store(summed + places, row, mask=inside)
    factor = tl.rsqrt(tl.sum(row * row, 0) / size + eps)
    tl.store(normed + places, row * factor * tl.load(weight + columns, mask=inside), mask=inside)


@triton.jit
def _rotate(
    projected,  # [rows, (heads + 2 * kv_heads) * head_dim]: queries, keys, values
    rotations,  # float32 [rows, head_dim / 2, 2]: cosines and sines
    query,  # [rows, heads, head_dim]
    keys,  # [slots, kv_heads, head_dim]
    values,
    slots,  # [rows]
    heads,
    kv_heads,
    half,  # head_dim / 2
    filled_half: tl.constexpr,
):
    row, head = tl.program_id(0), tl.program_id(1)
    pairs = tl.arange(0, filled_half)
    inside = pairs < half
    source = projected + (row * (heads + 2 * kv_heads) + head) * 2 * half
    first = tl.load(source + 2 * pairs, mask=inside).to(tl.float32)
    second = tl.load(source + 2 * pairs + 1, mask=inside).to(tl.float32)
    if head < heads + kv_heads:
        angles = rotations + (row * half + pairs) * 2
        cosine, sine = tl.load(angles, mask=inside), tl.load(angles + 1, mask=inside)
        first, second = first * cosine - second * sine, first * sine + second * cosine
    if head < heads:
        target = query + (row * heads + head) * 2 * half
        tl.store(target + 2 * pairs, first, mask=inside)
        tl.store(target + 2 * pairs + 1, second, mask=inside)
    else:
        slot = tl.load(slots + row).to(tl.int64)
        places = (slot * kv_heads + (head - heads) % kv_heads) * 2 * half + 2 * pairs
        if head < heads + kv_heads:
            tl.store(keys + places, first, mask=inside)
            tl.store(keys + places + 1, second, mask=inside)
        else:
            tl.store(values + places, first, mask=inside)
            tl.store(values + places + 1, second, mask=inside)


@triton.jit
def _gate(
    gate_up,  # [rows, 2 * size]: gates, then values
    outputs,  # [rows, size]
    size,
    columns: tl.constexpr,
):
    row = tl.program_id(0)
    places = tl.program_id(1) * columns + tl.arange(0, columns)
    inside = places < size
    gate = tl.load(gate_up + row * 2 * size + places, mask=inside, other=0.0).to(tl.float32)
    up = tl.load(gate_up + row * 2 * size + size + places, mask=inside, other=0.0).to(tl.float32)
    tl.store(outputs + row * size + places, gate * tl.sigmoid(gate) * up, mask=inside)


def normalize(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    eps: float,
    dtype: torch.dtype,
    update: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the sum of `hidden` and `update`, float32 [rows, size], and its RMSNorm in `dtype`.

    Args:
        hidden: float32 [rows, size], contiguous.
        weight: Of the norm, float32 [size].
        eps: Of the norm.
        dtype: Of the normed rows.
        update: [rows, size], contiguous; None adds nothing.
    """
    rows, size = hidden.shape
    normed = torch.empty_like(hidden, dtype=dtype)
    summed = hidden if update is None else torch.empty_like(hidden)
    if rows:
        _normalize[(rows,)](
            hidden,
            hidden if update is None else update,
            weight,
            summed,
            normed,
            size,
            eps,
            has_update=update is not None,
            filled_size=triton.next_power_of_2(size),
            num_warps=8,
        )
    return summed, normed


def rotate(
    projected: torch.Tensor,
    rotations: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    slots: torch.Tensor | None,
) -> torch.Tensor:
    """Return the rotated queries [rows, heads, head_dim] of a layer; write keys and values.

    Args:
        projected: [rows, heads * head_dim], and if there are slots as many columns more as the rows
            have keys and values; contiguous. Pairs of dimensions that are rotated are adjacent.
        rotations: complex64 [rows, 1, head_dim / 2].
        keys: The layer's, [slots, kv_heads, head_dim].
        values: The same.
        slots: long [rows], to which the rows' keys, rotated, and values are written; None if
            `projected` has queries only.
    """
    rows, half = len(projected), rotations.shape[2]
    kv_heads = 0 if slots is None else keys.shape[1]
    heads = projected.shape[1] // (2 * half) - 2 * kv_heads
    query = keys.new_empty((rows, heads, 2 * half))
    if rows:
        _rotate[(rows, heads + 2 * kv_heads)](
            projected,
            torch.view_as_real(rotations),
            query,
            keys,
            values,
            query if slots is None else slots,
            heads,
            kv_heads,
            half,
            filled_half=triton.next_power_of_2(half),
            num_warps=1,
        )
    return query


def gate(gate_up: torch.Tensor) -> torch.Tensor:
    """Return values [rows, size] times the SiLU of their gates, both in `gate_up` [rows, 2 * size].

    Args:
        gate_up: Gates, then values; contiguous.
    """
    rows, size = len(gate_up), gate_up.shape[1] // 2
    outputs = gate_up.new_empty((rows, size))
    if rows:
        grid = (rows, triton.cdiv(size, _COLUMNS))
        _gate[grid](gate_up, outputs, size, columns=_COLUMNS)
    return outputs
