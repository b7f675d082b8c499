"""Linear layers whose weights stay in 16 bit while all arithmetic is float32, for CPUs.

To decode a token every weight is read once, and reading them is what takes the time. FBGEMM, which
comes with torch, holds them as float16 in the order in which its kernels want them and widens them
in registers: half of float32's bytes, and nothing to rearrange at each call. Results are float32's
but for the order of sums, since only weights that float16 holds are taken.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

#: Relative error of a layer's weights up to which float16 is said to hold them. What was stored as
#: float16 loses nothing, bfloat16 only bits of its smallest numbers; float32 lies 300 times higher.
_EXACT = 2.0**-20


class PackedLinear(nn.Module):
    """Linear layers that read the same input, as one.

    Args:
        weight: [out, in], held by float16.
        bias: [out], or None.
    """

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
    """Return one layer that does what linear layers of the same input do, their outputs in a row.

    It is packed if the machine can and the weights allow it. The given layers are not needed any
    more.
    """
    linear = [layer for layer in layers if isinstance(layer, nn.Linear)]
    weight = torch.cat([layer.weight.detach() for layer in linear])
    biases = [layer.bias.detach() for layer in linear if layer.bias is not None]
    bias = torch.cat(biases) if biases else None
    if available() and held_by_float16(weight):
        return PackedLinear(weight, bias)
    if len(linear) == 1:
        return linear[0]
    with torch.device("meta"):
        one = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    one.weight = nn.Parameter(weight, requires_grad=False)
    if bias is not None:
        one.bias = nn.Parameter(bias, requires_grad=False)
    return one


def pack(module: nn.Module) -> None:
    """Replace each linear layer inside a module by its packed one, where that is possible."""
    for name, child in list(module.named_children()):
        if isinstance(child, nn.Linear):
            setattr(module, name, joined([child]))
        else:
            pack(child)


def available() -> bool:
    """Whether this machine's torch multiplies by float16 weights in float32."""
    return (
        torch.backends.quantized.engine in ("x86", "fbgemm")
        and torch.backends.cpu.get_cpu_capability() != "DEFAULT"
    )


def held_by_float16(weight: torch.Tensor) -> bool:
    """Whether a weight, rounded to float16, stays what it is."""
    exact = weight.float()
    return bool((exact.half().float() - exact).norm() <= _EXACT * exact.norm())
