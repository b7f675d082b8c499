"""Packed linear layers against plain ones."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from llava_tools.engine.cpu.linear import PackedLinear, available, fits_float16, joined, pack


def _layer(in_features: int, out: int, dtype: torch.dtype, *, bias: bool = False) -> nn.Linear:
    layer = nn.Linear(in_features, out, bias=bias)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(parameter.to(dtype))
    return layer


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rows", [1, 7])
@torch.no_grad()
def test_joined_layers_compute_the_same(dtype: torch.dtype, bias: bool, rows: int) -> None:
    torch.manual_seed(rows)
    layers = [_layer(48, out, dtype, bias=bias) for out in (32, 5, 64)]
    inputs = torch.randn(2, rows, 48)
    expected = torch.cat([layer(inputs) for layer in layers], dim=-1)
    layer = joined(layers)
    assert torch.allclose(layer(inputs), expected, atol=1e-5)
    assert isinstance(layer, PackedLinear) is (available() and dtype != torch.float32)


def test_only_weights_that_fit_float16_are_packed() -> None:
    weight = torch.randn(64, 64)
    assert not fits_float16(weight)
    assert fits_float16(weight.half())
    assert fits_float16(weight.bfloat16())
    assert not fits_float16(weight.bfloat16() * 2.0**17), "too large"
    assert not fits_float16(weight.bfloat16() * 2.0**-24), "too small"


@pytest.mark.skipif(not available(), reason="this torch has no FBGEMM for this CPU")
def test_nested_layers_are_packed() -> None:
    inner = nn.Sequential(_layer(8, 8, torch.float16, bias=True), nn.GELU())
    whole = nn.Sequential(nn.LayerNorm(8), inner, nn.Linear(8, 8))
    inputs = torch.randn(3, 8)
    with torch.no_grad():
        expected = whole(inputs)
        pack(whole)
        assert torch.allclose(whole(inputs), expected, atol=1e-5)
    assert isinstance(inner[0], PackedLinear)
    assert isinstance(whole[2], nn.Linear), "its weights are float32"
