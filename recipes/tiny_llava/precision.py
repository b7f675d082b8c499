"""Matrices in bfloat16 where the processor has units for them; everything else stays float32.

A processor with such units (AVX-512 BF16 or AMX) multiplies bfloat16 about three times as fast as
float32, one without them sixty times as slowly. Weights, optimisers' states, norms and losses are
float32 either way.
"""

from __future__ import annotations

import torch


def quick_type() -> torch.dtype:
    """The type in which this processor multiplies matrices fastest: bfloat16 or float32."""
    able = torch.cpu.get_capabilities()
    units = able.get("avx512_bf16", False) or able.get("amx_bf16", False)
    return torch.bfloat16 if units else torch.float32


def quick(kind: torch.dtype | None = None) -> torch.autocast:
    """A context in which matrices are multiplied in ``kind``, by default :func:`quick_type`'s."""
    kind = kind or quick_type()
    return torch.autocast("cpu", torch.bfloat16, enabled=kind == torch.bfloat16)
