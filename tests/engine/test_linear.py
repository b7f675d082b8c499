"""Packed and quantized linear layers against plain ones."""

from __future__ import annotations

import logging

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from llava_tools.engine import linear
from llava_tools.engine.linear import (
    BFloat16Linear,
    ConcatenatedLinear,
    Float16Linear,
    fits_float16,
    is_usable,
    join,
    pack,
)
from llava_tools.engine.quantized_linear import (
    GROUP,
    MANY_ROWS_4BIT,
    Int4Linear,
    Int8Linear,
    check_quantization,
    quantize,
)
from llava_tools.errors import ModelError
from llava_tools.options import Quantization

needs_float16 = pytest.mark.skipif(
    not is_usable(Float16Linear), reason="this torch has no FBGEMM for this CPU"
)
needs_bfloat16 = pytest.mark.skipif(
    not is_usable(BFloat16Linear), reason="this CPU does not multiply bfloat16"
)
needs_avx512 = pytest.mark.skipif(
    torch.backends.cpu.get_cpu_capability() != "AVX512", reason="this CPU has no AVX512"
)


def _layer(in_features: int, out: int, dtype: torch.dtype, *, bias: bool = False) -> nn.Linear:
    """A float32 layer whose numbers are those of a narrower dtype."""
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
    layer = join(layers)
    assert torch.allclose(layer(inputs), expected, atol=1e-5)
    packed = is_usable(Float16Linear) and dtype != torch.float32
    assert isinstance(layer, Float16Linear) is packed


@needs_bfloat16
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rows", [1, 3, 20, 130])
@torch.no_grad()
def test_packed_bfloat16_equals_plain_bit_for_bit(bias: bool, rows: int) -> None:
    torch.manual_seed(rows)
    plain = nn.Linear(96, 160, bias=bias).bfloat16()
    inputs = torch.randn(rows, 96).bfloat16()
    expected = plain(inputs)
    layer = join([plain])
    assert isinstance(layer, BFloat16Linear)
    assert torch.equal(layer(inputs), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.no_grad()
def test_rows_pick_and_order_the_outputs(dtype: torch.dtype) -> None:
    layers = [nn.Linear(32, 8, bias=bias).to(dtype) for bias in (True, False)]
    inputs, rows = torch.randn(3, 32).to(dtype), torch.tensor([9, 2, 15, 0])
    expected = torch.cat([layer(inputs) for layer in layers], dim=-1)[:, rows]
    assert torch.allclose(join(layers, rows)(inputs), expected, atol=1e-2)


@torch.no_grad()
def test_layers_of_other_kinds_stay_and_their_outputs_are_joined() -> None:
    class ForeignLinear(nn.Linear):
        """As bitsandbytes has them: a subclass with weights of its own layout."""

    layers = [ForeignLinear(16, 8), ForeignLinear(16, 4)]
    inputs, rows = torch.randn(2, 16), torch.tensor([11, 0, 1])
    expected = torch.cat([layer(inputs) for layer in layers], dim=-1)
    layer = join(layers)
    assert isinstance(layer, ConcatenatedLinear)
    assert torch.equal(layer(inputs), expected)
    assert torch.equal(join(layers, rows)(inputs), expected[:, rows])
    assert join(layers[:1]) is layers[0]


def test_only_weights_that_fit_float16_are_packed() -> None:
    weight = torch.randn(64, 64)
    assert not fits_float16(weight)
    assert fits_float16(weight.half())
    assert fits_float16(weight.bfloat16())
    assert not fits_float16(weight.bfloat16() * 2.0**17), "too large"
    assert not fits_float16(weight.bfloat16() * 2.0**-24), "too small"


@needs_float16
def test_nested_layers_are_packed() -> None:
    inner = nn.Sequential(_layer(8, 8, torch.float16, bias=True), nn.GELU())
    whole = nn.Sequential(nn.LayerNorm(8), inner, nn.Linear(8, 8))
    inputs = torch.randn(3, 8)
    with torch.no_grad():
        expected = whole(inputs)
        pack(whole)
        assert torch.allclose(whole(inputs), expected, atol=1e-5)
    assert isinstance(inner[0], Float16Linear)
    assert isinstance(whole[2], nn.Linear), "its weights are float32"


@needs_bfloat16
@pytest.mark.parametrize("fault", ["missing", "wrong"])
def test_kernel_that_fails_is_logged_and_not_used(
    fault: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def forward(self: BFloat16Linear, inputs: Tensor) -> Tensor:
        if fault == "missing":
            raise RuntimeError("no such operator")
        return torch.zeros(*inputs.shape[:-1], self.out_features, dtype=inputs.dtype)

    monkeypatch.setattr(BFloat16Linear, "forward", forward)
    is_usable.cache_clear()
    try:
        with caplog.at_level(logging.WARNING, logger=linear.__name__):
            layer = join([nn.Linear(32, 32).bfloat16()])
    finally:
        is_usable.cache_clear()
    assert type(layer) is nn.Linear
    (record,) = caplog.records
    assert "BFloat16Linear" in record.getMessage()


@needs_avx512
@pytest.mark.parametrize(("bits", "error"), [("8bit", 0.009), ("4bit", 0.078)])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("rows", [1, 5, 40, 150])
@torch.no_grad()
def test_quantized_layers_differ_by_rounding(
    bits: Quantization, error: float, dtype: torch.dtype, rows: int
) -> None:
    torch.manual_seed(0)
    plain = nn.Linear(512, 320).bfloat16()
    nn.init.normal_(plain.weight, 0.01)  # groups have an offset
    inputs = torch.randn(rows, 512).bfloat16()
    expected = plain.float()(inputs.float())
    outputs = quantize(plain.weight.to(dtype), plain.bias.to(dtype), bits)(inputs.to(dtype))
    assert (outputs.float() - expected).norm() < error * (expected - plain.bias).norm()


@needs_avx512
@torch.no_grad()
def test_fitted_rounding_has_a_smaller_error_than_the_range_gives() -> None:
    torch.manual_seed(0)
    weight = torch.randn(256, 1024)
    layer = Int4Linear(weight, None)
    rounded = layer(torch.diag(torch.ones(1024)).bfloat16()).float().t()
    groups = weight.unflatten(1, (-1, GROUP))
    low, high = groups.aminmax(dim=2, keepdim=True)
    scale = (high - low) / 15
    plain = (((groups - low) / scale).round() * scale + low).flatten(1)
    assert (rounded - weight).norm() < 0.95 * (plain - weight).norm()


@needs_avx512
@pytest.mark.parametrize("value", [0.0, 0.25, -1.5])
@torch.no_grad()
def test_constant_weights_are_kept(value: float) -> None:
    layer = Int4Linear(torch.full((64, 64), value), None)
    for rows in (1, MANY_ROWS_4BIT):
        outputs = layer(torch.ones(rows, 64).bfloat16())
        assert torch.equal(outputs, torch.full((rows, 64), value * 64).bfloat16())


@needs_avx512
@pytest.mark.parametrize("shape", [(100, 64), (64, 48)])
def test_shapes_that_4_bit_does_not_take_get_8(shape: tuple[int, int]) -> None:
    assert isinstance(quantize(torch.randn(shape), None, "4bit"), Int8Linear)


@needs_avx512
@pytest.mark.parametrize("bits", ["4bit", "8bit"])
def test_quantization_is_checked_before_it_is_used(bits: Quantization) -> None:
    check_quantization.cache_clear()
    check_quantization(bits)


@pytest.mark.parametrize(
    ("capability", "bits", "hint"),
    [("AVX2", "4bit", "Use quantization='8bit'."), ("DEFAULT", "8bit", "Leave quantization out.")],
)
def test_processor_without_what_quantization_needs_is_an_error(
    capability: str, bits: Quantization, hint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    check_quantization.cache_clear()
    with pytest.raises(ModelError, match="needs AVX512") as caught:
        check_quantization(bits)
    assert caught.value.hint == hint


@needs_avx512
def test_quantization_whose_kernel_is_wrong_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(inputs: Tensor, weight: Tensor, group: int, scales: Tensor) -> Tensor:
        return functional.linear(inputs, torch.ones(weight.shape[0], inputs.shape[1]).bfloat16())

    monkeypatch.setattr(torch, "_weight_int4pack_mm_for_cpu", wrong)
    check_quantization.cache_clear()
    with pytest.raises(ModelError, match="does not work on the CPU in torch"):
        check_quantization("4bit")
    check_quantization.cache_clear()
