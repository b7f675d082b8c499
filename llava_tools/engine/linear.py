"""Linear layers whose weights are packed once for the kernels of the processor.

To decode a token every weight is read once, and reading takes most of the time. On CPUs, kernels
read weights in an order of their own, into which a plain layer brings them at each call. Here that
is done when the model is loaded:

- bfloat16, where the processor multiplies it, by oneDNN; results are those of `F.linear`;
- float32 that float16 represents, elsewhere, by FBGEMM as float16, which it widens in registers:
  half of the bytes, and results differ by the order of sums only;
- 8 and 4 bit by `quantized_linear`.

torch does not document these kernels. Each is tried before its first use; one that fails is logged
and not used. Layers on other devices, and those of bitsandbytes, stay as they are.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cache
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from llava_tools.engine.device import computes_bfloat16
from llava_tools.engine.quantized_linear import quantize
from llava_tools.options import Quantization

_log = logging.getLogger(__name__)

#: Largest relative error with which float16 counts as representing a layer's weights. Weights
#: stored as float16 lose nothing, bfloat16 only bits of its smallest numbers; the error of float32
#: weights is 300 times larger.
_MAX_ERROR = 2.0**-20


class BFloat16Linear(nn.Module):
    """A layer packed by oneDNN: bfloat16 weights [out, in] and bias [out]."""

    dtype = torch.bfloat16

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.out_features, self.in_features = weight.shape
        self._packed = torch.ops.mkldnn._reorder_linear_weight(weight.detach())
        self._bias = None if bias is None else bias.detach().contiguous()
        self._linear = torch.ops.mkldnn._linear_pointwise.default
        self.weight_bytes = 2 * self.out_features * self.in_features

    def forward(self, inputs: Tensor) -> Tensor:
        """Return [..., out] for bfloat16 [..., in]."""
        outputs: Tensor = self._linear(inputs, self._packed, self._bias, "none", [], "")
        return outputs


class Float16Linear(nn.Module):
    """A layer packed by FBGEMM: weights [out, in] that float16 represents, and a bias [out]."""

    dtype = torch.float32

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.out_features, self.in_features = weight.shape
        self._packed = torch.ops.quantized.linear_prepack_fp16(
            weight.detach().float(), None if bias is None else bias.detach().float()
        )
        self._linear = torch.ops.quantized.linear_dynamic_fp16.default
        self.weight_bytes = 2 * self.out_features * self.in_features

    def forward(self, inputs: Tensor) -> Tensor:
        """Return [..., out] for float32 [..., in]."""
        outputs: Tensor = self._linear(inputs, self._packed)
        return outputs


class ConcatenatedLinear(nn.Module):
    """Layers whose weights stay as they are; `rows` are picked from their joint outputs."""

    def __init__(self, layers: Sequence[nn.Module], rows: Tensor | None) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.register_buffer("rows", rows, persistent=False)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return [..., out] for [..., in]."""
        outputs = torch.cat([layer(inputs) for layer in self.layers], dim=-1)
        return outputs if self.rows is None else outputs[..., cast(Tensor, self.rows)]


def join(
    layers: Sequence[nn.Module],
    rows: Tensor | None = None,
    quantization: Quantization | None = None,
    device: torch.device | None = None,
) -> nn.Module:
    """Return one layer that computes linear layers of the same input, packed where possible.

    Its weights have memory of their own.

    Args:
        layers: Used up.
        rows: long [out], which of their concatenated outputs it has, in its order; None: all.
        quantization: Bits that weights on a CPU are rounded to; None: they are kept.
        device: Where its weights are put; None: where they are.
    """
    linear = [layer for layer in layers if type(layer) is nn.Linear]
    if len(linear) < len(layers):  # of bitsandbytes
        if len(layers) == 1 and rows is None:
            return layers[0]
        return ConcatenatedLinear(layers, rows)
    weight = torch.cat([layer.weight.detach() for layer in linear])
    bias = None
    if any(layer.bias is not None for layer in linear):
        biases = [weight.new_zeros(layer.out_features) for layer in linear]
        for layer, item in zip(linear, biases, strict=True):
            if layer.bias is not None:
                item.copy_(layer.bias.detach())
        bias = torch.cat(biases)
    if rows is not None:
        weight, bias = weight[rows], None if bias is None else bias[rows]
    if device is not None:
        weight, bias = weight.to(device), None if bias is None else bias.to(device)
    return _packed(weight, bias, quantization)


def pack(module: nn.Module) -> None:
    """Replace each linear layer inside a module by a packed one where that is possible."""
    for name, child in list(module.named_children()):
        if type(child) is nn.Linear:
            setattr(module, name, join([child]))
        else:
            pack(child)


@cache
def is_usable(kind: type[BFloat16Linear | Float16Linear]) -> bool:
    """Whether this processor and this torch have a kernel, and it computes what it should."""
    if kind is BFloat16Linear:
        if not computes_bfloat16():
            return False
    elif (
        torch.backends.quantized.engine not in ("x86", "fbgemm")
        or torch.backends.cpu.get_cpu_capability() == "DEFAULT"
    ):
        return False
    weight = torch.sin(torch.arange(96.0 * 64)).view(96, 64).bfloat16().to(kind.dtype)
    inputs, bias = weight[:3], weight[:, 0]
    try:
        outputs = kind(weight, bias)(inputs)
    except (AttributeError, RuntimeError) as error:
        _log.warning("torch %s lacks the kernel of %s: %s", torch.__version__, kind.__name__, error)
        return False
    expected = functional.linear(inputs.float(), weight.float(), bias.float())
    if not torch.allclose(outputs.float(), expected, rtol=2**-7, atol=2**-7):
        _log.warning("The kernel of %s is wrong in torch %s.", kind.__name__, torch.__version__)
        return False
    return True


def fits_float16(weight: Tensor) -> bool:
    """Whether float16 represents a weight."""
    exact = weight.float()
    return bool((exact.half().float() - exact).norm() <= _MAX_ERROR * exact.norm())


def _packed(weight: Tensor, bias: Tensor | None, quantization: Quantization | None) -> nn.Module:
    """Return a layer with weights [out, in] and a bias [out] in its fastest form."""
    if weight.device.type == "cpu":
        if quantization is not None:
            return quantize(weight, bias, quantization)
        if weight.dtype == torch.bfloat16 and is_usable(BFloat16Linear):
            return BFloat16Linear(weight, bias)
        if weight.dtype == torch.float32 and is_usable(Float16Linear) and fits_float16(weight):
            return Float16Linear(weight, bias)
    with torch.device("meta"):
        layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    layer.weight = nn.Parameter(weight, requires_grad=False)
    if bias is not None:
        layer.bias = nn.Parameter(bias, requires_grad=False)
    return layer
