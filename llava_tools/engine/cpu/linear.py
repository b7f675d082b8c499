"""Linear layers with weights in 16 bit and arithmetic in float32, for CPUs.

To decode a token every weight is read once, and reading takes most of the time. FBGEMM, which comes
with torch, holds weights as float16 in the order that its kernels read, and widens them in
registers: half of float32's bytes, and nothing to rearrange at each call. Only weights that float16
represents are packed, so results differ from float32's by the order of sums only.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

#: Largest relative error with which float16 counts as representing a layer's weights. Weights
#: stored as float16 lose nothing, bfloat16 only bits of its smallest numbers; the error of float32
#: weights is 300 times larger.
_MAX_ERROR = 2.0**-20


class PackedLinear(nn.Module):
    """A linear layer with packed weights: [out, in], which float16 represents, and a bias [out]."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        super().__init__()
        self.out_features, self.in_features = weight.shape
        self._packed = torch.ops.quantized.linear_prepack_fp16(
            weight.detach().float(), None if bias is None else bias.detach().float()
        )

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return [..., out] for float32 [..., in]."""
        outputs: torch.Tensor = torch.ops.quantized.linear_dynamic_fp16(inputs, self._packed)
        return outputs


def joined(layers: Sequence[nn.Module]) -> nn.Module:
    """Return one layer that concatenates the outputs of linear layers of the same input.

    It is packed if the machine and the weights allow it. The layers are used up.
    """
    linear = [layer for layer in layers if isinstance(layer, nn.Linear)]
    weight = torch.cat([layer.weight.detach() for layer in linear])
    biases = [layer.bias.detach() for layer in linear if layer.bias is not None]
    bias = torch.cat(biases) if biases else None
    if available() and fits_float16(weight):
        return PackedLinear(weight, bias)
    if len(linear) == 1:
        return linear[0]
    with torch.device("meta"):
        layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    layer.weight = nn.Parameter(weight, requires_grad=False)
    if bias is not None:
        layer.bias = nn.Parameter(bias, requires_grad=False)
    return layer


def pack(module: nn.Module) -> None:
    """Replace each linear layer inside a module by a packed one where that is possible."""
    for name, child in list(module.named_children()):
        if isinstance(child, nn.Linear):
            setattr(module, name, joined([child]))
        else:
            pack(child)


def available() -> bool:
    """Whether this machine's torch has the kernels."""
    return (
        torch.backends.quantized.engine in ("x86", "fbgemm")
        and torch.backends.cpu.get_cpu_capability() != "DEFAULT"
    )


def fits_float16(weight: torch.Tensor) -> bool:
    """Whether float16 represents a weight."""
    exact = weight.float()
    return bool((exact.half().float() - exact).norm() <= _MAX_ERROR * exact.norm())
