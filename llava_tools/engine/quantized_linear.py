"""Linear layers with weights rounded to 8 or 4 bit, for CPUs.

8 bit has a scale for each output; 4 bit a scale and an offset for each group of 32 inputs, first
fitted to the group's range, then by least squares to what was rounded.

Few rows are computed by torch's kernels for such weights, which read them as they are stored and
take activations in bfloat16. For many rows the weights are widened first to the activations' type,
since the plain matrix product is then faster.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from llava_tools.errors import ModelError
from llava_tools.options import Quantization

if TYPE_CHECKING:
    from transformers import LlavaForConditionalGeneration

#: Inputs of a group of 4 bit weights.
GROUP = 32

#: From so many rows on the weights are widened.
MANY_ROWS_8BIT, MANY_ROWS_4BIT = 16, 64

#: Outputs that torch packs together on AVX512: in each byte those of i and i + 32.
_BLOCK = 64

#: How often scales and offsets are fitted again. More lessens the error by less than a percent.
_REFITS = 2

#: Smallest scale, of weights that are all the same.
_TINY = 1e-12


class Int8Linear(nn.Module):
    """A layer with weights [out, in] rounded to 8 bit, and a bias [out]."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.out_features, self.in_features = weight.shape
        self._weight = torch.empty(weight.shape, dtype=torch.int8)
        self._scales = torch.empty(self.out_features, dtype=torch.bfloat16)
        self._bias = None if bias is None else bias.detach().bfloat16()
        for start in range(0, self.out_features, _BLOCK):
            block = weight[start : start + _BLOCK].detach().float()
            scales = (block.abs().amax(1) / 127).clamp_min_(_TINY).bfloat16()
            rounded = (block / scales.float()[:, None]).round_().clamp_(-127, 127)
            self._weight[start : start + _BLOCK] = rounded
            self._scales[start : start + _BLOCK] = scales
        self.weight_bytes = self._weight.nbytes + self._scales.nbytes

    def forward(self, inputs: Tensor) -> Tensor:
        """Return [rows, out] for [rows, in]; few rows are bfloat16."""
        if len(inputs) < MANY_ROWS_8BIT:
            outputs = torch._weight_int8pack_mm(inputs.bfloat16(), self._weight, self._scales)
        else:
            outputs = functional.linear(inputs, self._weight.to(inputs.dtype)).mul_(self._scales)
        return outputs if self._bias is None else outputs.add_(self._bias)


class Int4Linear(nn.Module):
    """A layer with weights [out, in] rounded to 4 bit, and a bias [out].

    `out` is a multiple of 64 and `in` of 32.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.out_features, self.in_features = weight.shape
        self._bias = None if bias is None else bias.detach().bfloat16()
        packed, scales, offsets = [], [], []
        for block in weight.detach().split(_BLOCK):
            levels, scale, offset = _round_4bit(block.float().unflatten(1, (-1, GROUP)))
            levels = levels.flatten(1).add_(8).to(torch.int32)
            packed.append(torch._convert_weight_to_int4pack_for_cpu(levels, 1))
            scales.append(scale.squeeze(2).t().bfloat16())
            offsets.append(offset.squeeze(2).t().bfloat16())
        self._weight = torch.cat(packed)
        scale_and_offset = torch.stack((torch.cat(scales, 1), torch.cat(offsets, 1)), dim=2)
        self._scale_and_offset = scale_and_offset.contiguous()  # [in / GROUP, out, 2]
        self.weight_bytes = self._weight.nbytes + self._scale_and_offset.nbytes

    def forward(self, inputs: Tensor) -> Tensor:
        """Return [rows, out] for [rows, in]; few rows are bfloat16."""
        if len(inputs) < MANY_ROWS_4BIT:
            outputs = torch._weight_int4pack_mm_for_cpu(
                inputs.bfloat16(), self._weight, GROUP, self._scale_and_offset
            )
        else:
            outputs = torch.mm(inputs, self._widened().to(inputs.dtype))
        return outputs if self._bias is None else outputs.add_(self._bias)

    def _widened(self) -> Tensor:
        """Return the rounded weights as bfloat16 [in, out]."""
        blocks, groups = self.out_features // _BLOCK, self.in_features // GROUP
        pairs = self._weight.view(blocks, self.in_features, _BLOCK // 2)
        levels = torch.stack((pairs & 15, pairs >> 4), dim=2).view(torch.int8).sub_(8)
        # Contiguous scales: a stride in their last dimension would make this eight times slower.
        scale, offset = (
            item.reshape(groups, blocks, 1, _BLOCK).transpose(0, 1).contiguous()
            for item in self._scale_and_offset.unbind(2)
        )
        weight = torch.empty((blocks, groups, GROUP, _BLOCK), dtype=torch.bfloat16)
        torch.addcmul(offset, levels.view(weight.shape).bfloat16(), scale, out=weight)
        return weight.flatten(1, 2).transpose(0, 1).reshape(self.in_features, self.out_features)


def quantize(weight: Tensor, bias: Tensor | None, bits: Quantization) -> Int8Linear | Int4Linear:
    """Return a layer with rounded weights; 8 bit where the shape does not allow for 4."""
    out_features, in_features = weight.shape
    if bits == "4bit" and out_features % _BLOCK == 0 and in_features % GROUP == 0:
        return Int4Linear(weight, bias)
    return Int8Linear(weight, bias)


def cast_unquantized(model: LlavaForConditionalGeneration, dtype: torch.dtype) -> None:
    """Cast what `Decoder` does not quantize: all but the text model's linear layers and the head.

    What is quantized is rounded from the weights as they are stored.
    """
    quantized = {model.lm_head, *model.model.language_model.modules()}
    for module in model.modules():
        if not (module in quantized and type(module) is nn.Linear):
            for parameter in module.parameters(recurse=False):
                parameter.data = parameter.data.to(dtype)


def missing(bits: Quantization) -> str | None:
    """Return what this processor lacks for a quantization, such as "AVX512"; None: nothing."""
    needed = ("AVX512",) if bits == "4bit" else ("AVX512", "AVX2")
    if torch.backends.cpu.get_cpu_capability() in needed:
        return None
    return " or ".join(needed)


@cache
def check_quantization(bits: Quantization) -> None:
    """Check that this processor and this torch have what a quantization needs.

    Raises:
        ModelError: Something is missing, and what to do.
    """
    if lacking := missing(bits):
        raise ModelError(
            f"quantization={bits!r} on a CPU needs {lacking}, which this one does not have.",
            "Leave quantization out." if missing("8bit") else "Use quantization='8bit'.",
        )
    weight = torch.sin(torch.arange(_BLOCK * 96.0)).view(_BLOCK, 96)
    inputs = torch.cos(torch.arange(96.0 * MANY_ROWS_4BIT)).view(-1, 96).bfloat16()
    expected = functional.linear(inputs.float(), weight)
    try:
        layer = quantize(weight, None, bits)
        few, many = layer(inputs[:3]), layer(inputs)
    except (AttributeError, RuntimeError) as error:
        raise _unusable(bits, str(error).strip().split("\n")[0]) from error
    for outputs in (few, many):
        if (outputs.float() - expected[: len(outputs)]).norm() > 0.1 * expected.norm():
            raise _unusable(bits, "its kernel computes something else")


def unsupported_error(bits: Quantization, model_type: str) -> ModelError:
    """Return the error for a language model that only transformers' own code runs."""
    return ModelError(
        f"quantization={bits!r} on a CPU is not supported for text models of the type "
        f"{model_type!r}.",
        "Leave quantization out, or run the model on a CUDA GPU.",
    )


def _unusable(bits: Quantization, reason: str) -> ModelError:
    return ModelError(
        f"quantization={bits!r} does not work on the CPU in torch {torch.__version__}: {reason}.",
        "Leave quantization out, or install another release of torch.",
    )


def _round_4bit(weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return levels -8 to 7, scales and offsets of weights [out, groups, GROUP], all float32.

    Scales and offsets are [out, groups, 1] and rounded to bfloat16.
    """
    low, high = torch.aminmax(weight, dim=2, keepdim=True)
    scale = _round_bfloat16((high - low) / 15).clamp_min_(_TINY)
    offset = _round_bfloat16(low + 8 * scale)
    mean = weight.mean(2, keepdim=True)
    for _ in range(_REFITS):
        levels = ((weight - offset) / scale).round_().clamp_(-8, 7)
        mean_level = levels.mean(2, keepdim=True)
        levels -= mean_level
        variance = levels.square().sum(2, keepdim=True).clamp_min_(_TINY)
        scale = _round_bfloat16((levels * weight).sum(2, keepdim=True) / variance)
        scale.clamp_min_(_TINY)
        offset = _round_bfloat16(mean - scale * mean_level)
    levels = ((weight - offset) / scale).round_().clamp_(-8, 7)
    return levels, scale, offset


def _round_bfloat16(values: Tensor) -> Tensor:
    return values.bfloat16().float()
