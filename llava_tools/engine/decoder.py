"""The language model over the KV: embeddings of a step's rows to the logits of its output rows.

It computes what transformers' Llama, Mistral, Qwen2 and Phi-3 compute, with fewer operations:
linear layers of the same input are joined, queries and keys are rotated together, and the last
layer computes the output rows only. Sums from layer to layer, norms and rotations are float32 in
any dtype of the weights. Nothing here waits for the device or depends on a tensor's values.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from llava_tools.engine.attention.variants import VariantAttention
from llava_tools.engine.device import free_bytes
from llava_tools.engine.kv_cache import KVShape
from llava_tools.engine.linear import join, pack
from llava_tools.engine.step_inputs import StepInputs
from llava_tools.options import Quantization

if TYPE_CHECKING:
    from transformers import LlavaForConditionalGeneration

    from llava_tools.engine.attention import Attention
    from llava_tools.engine.transformers_decoder import TransformersDecoder

#: `model_type` of the language models whose forward pass is written here.
MODEL_TYPES = ("llama", "mistral", "phi3", "qwen2")

#: Kinds of rotary embedding whose angles depend on the position alone.
ROPE_TYPES = ("default", "linear", "llama3", "yarn")


class Norm(nn.Module):
    """RMSNorm of float32 [rows, hidden], returned in the dtype of its weights.

    Args:
        norm: transformers' norm.
        device: Where its weights are put; None: where they are.
    """

    def __init__(self, norm: Any, device: torch.device | None = None) -> None:
        super().__init__()
        self.dtype: torch.dtype = norm.weight.dtype
        self.eps = float(norm.variance_epsilon)
        weight = norm.weight.detach().to(device, torch.float32)
        self.weight = nn.Parameter(weight, requires_grad=False)

    def forward(self, hidden: Tensor) -> Tensor:
        """Return [rows, hidden] for [rows, hidden]."""
        normed = functional.rms_norm(hidden, self.weight.shape, self.weight, self.eps)
        return normed.to(self.dtype)


class DecoderLayer(nn.Module):
    """One layer; the linear layers of transformers' are used up.

    Args:
        layer: transformers' decoder layer.
        shape: What it writes to the KV.
        rotary_dim: How many dimensions of a head are rotated.
        last: Whether it returns the output rows only.
        quantization: Bits of its weights.
        device: Where its weights are put.
    """

    def __init__(
        self,
        layer: Any,
        shape: KVShape,
        rotary_dim: int,
        *,
        last: bool,
        quantization: Quantization | None,
        device: torch.device,
    ) -> None:
        super().__init__()
        attention, mlp = layer.self_attn, layer.mlp
        self.index: int = attention.layer_idx
        self.scale: float = attention.scaling
        self.window: int | None = None
        self.kv_heads, self.head_dim = shape.kv_heads, shape.head_dim
        heads = attention.o_proj.in_features // self.head_dim
        rotated = _pair_order(heads + self.kv_heads, self.head_dim, rotary_dim)
        queries = heads * self.head_dim
        self.values = self.kv_heads * self.head_dim
        values = len(rotated) + torch.arange(self.values)
        rows = torch.cat([rotated, values]).to(attention.o_proj.weight.device)
        if hasattr(attention, "qkv_proj"):
            qkv, gate_up = [attention.qkv_proj], [mlp.gate_up_proj]
            self.activation: Callable[[Tensor], Tensor] = mlp.activation_fn
        else:
            qkv = [attention.q_proj, attention.k_proj, attention.v_proj]
            gate_up = [mlp.gate_proj, mlp.up_proj]
            self.activation = mlp.act_fn
        self.output_query = join(qkv, rows[:queries], quantization, device) if last else None
        self.qkv = join(qkv, rows[queries:] if last else rows, quantization, device)
        self.out = join([attention.o_proj], None, quantization, device)
        self.gate_up = join(gate_up, None, quantization, device)
        self.down = join([mlp.down_proj], None, quantization, device)
        self.attention_norm = Norm(layer.input_layernorm, device)
        self.mlp_norm = Norm(layer.post_attention_layernorm, device)

    def forward(
        self, hidden: Tensor, rotations: Tensor, step: StepInputs, attention: Attention
    ) -> Tensor:
        """Return float32 [rows, hidden], from the last layer [outputs, hidden].

        Args:
            hidden: float32 [rows, hidden].
            rotations: Of the rows' positions, complex [rows, 1, head_dim / 2].
            step: The step.
            attention: The plug that made its plans.
        """
        keys, values = step.cache.keys[self.index], step.cache.values[self.index]
        normed = self.attention_norm(hidden)
        qkv = self.qkv(normed)
        rotated = _rotate(qkv[:, : -self.values], rotations)
        _write(keys, step.write, rotated[:, -self.kv_heads :])
        _write(values, step.write, qkv[:, -self.values :].view(-1, self.kv_heads, self.head_dim))
        query, plan = rotated[:, : -self.kv_heads], step.plan
        if self.output_query is not None:
            rows, plan = step.output_rows, step.output_plan
            hidden = hidden.index_select(0, rows)
            if len(rows) == 0:
                return hidden
            query = _rotate(
                self.output_query(normed.index_select(0, rows)), rotations.index_select(0, rows)
            )
        variant = {} if self.window is None else {"window": self.window}
        attended = attention(plan, query, keys, values, self.scale, **variant)
        # Widened first, since a sum of two types takes ten times as long.
        hidden = hidden + self.out(attended).float()
        gate, up = self.gate_up(self.mlp_norm(hidden)).chunk(2, dim=1)
        return hidden.add_(self.down(self.activation(gate).mul_(up)).float())


class Decoder(nn.Module):
    """The language model of a LLaVA, whose layers are used up.

    Args:
        model: The LLaVA.
        attention: The attention plug.
        quantization: Bits of its weights on a CPU. The head has 8 bit then.

    Attributes:
        attention: Makes the plans of its steps.
        kv_shape: What it writes for each token.
    """

    def __init__(
        self,
        model: LlavaForConditionalGeneration,
        attention: Attention,
        quantization: Quantization | None = None,
    ) -> None:
        super().__init__()
        text = cast(Any, model.model.language_model)
        config = text.config
        head_dim: int = text.layers[0].self_attn.head_dim
        shape = KVShape(len(text.layers), config.num_key_value_heads, head_dim, text.dtype)
        self.kv_shape = shape
        frequencies = text.rotary_emb.inv_freq.detach().float()
        unrotated = head_dim // 2 - len(frequencies)
        self.frequencies = functional.pad(frequencies, (0, unrotated))
        magnitudes = torch.full_like(frequencies, text.rotary_emb.attention_scaling)
        self.magnitudes = functional.pad(magnitudes, (0, unrotated), value=1.0)
        windows = _windows(config)
        self.attention = VariantAttention(attention) if any(windows) else attention
        last = len(windows) - 1
        device: torch.device = text.device
        layer_class, is_scarce = _layer_class(config, device), _is_memory_scarce(text)

        def convert(index: int) -> DecoderLayer:
            if is_scarce:
                text.layers[index].to("cpu")
            layer = layer_class(
                text.layers[index],
                shape,
                2 * len(frequencies),
                last=index == last,
                quantization=quantization,
                device=device,
            )
            layer.window = windows[index]
            text.layers[index] = nn.Identity()  # frees its weights before the next are copied
            return layer

        if device.type == "cpu":
            # Packing one of the 7B's layers takes seconds, on one thread and without Python's lock.
            with ThreadPoolExecutor(torch.get_num_threads()) as pool:
                self.layers = nn.ModuleList(pool.map(convert, range(last + 1)))
        else:  # one by one: copies of several at once would not fit into small GPUs
            self.layers = nn.ModuleList(map(convert, range(last + 1)))
        self.norm = Norm(text.norm)
        self.head: nn.Module = model.lm_head
        if device.type == "cpu":
            self.head = join([model.lm_head], None, None if quantization is None else "8bit")
            model.lm_head = cast(Any, self.head)

    def forward(self, embeddings: Tensor, step: StepInputs) -> Tensor:
        """Return logits [outputs, vocab_size] for embeddings [rows, hidden]."""
        angles = step.positions.unsqueeze(1) * self.frequencies
        rotations = torch.polar(self.magnitudes.expand_as(angles), angles).unsqueeze(1)
        hidden = embeddings.float()
        for layer in self.layers:
            hidden = layer(hidden, rotations, step, self.attention)
        logits: Tensor = self.head(self.norm(hidden))
        return logits


def make_decoder(
    model: LlavaForConditionalGeneration,
    attention: Attention,
    quantization: Quantization | None = None,
) -> Decoder | TransformersDecoder:
    """Return the language model of a LLaVA, whose layers are used up.

    On a CPU its vision tower and projector are packed as well; they are never quantized.

    Args:
        model: The LLaVA.
        attention: The attention plug.
        quantization: Bits of the language model's weights on a CPU; None: they are kept.

    Raises:
        ModelError: The language model is of a kind that cannot be run.
    """
    if model.device.type == "cpu":
        pack(model.model.vision_tower)
        pack(model.model.multi_modal_projector)
    if is_supported(model.config.text_config):
        return Decoder(model, attention, quantization)
    from llava_tools.engine.transformers_decoder import TransformersDecoder

    return TransformersDecoder(model, attention, quantization)


def is_supported(config: Any) -> bool:
    """Whether `Decoder` computes the language model with this configuration."""
    return (
        config.model_type in MODEL_TYPES
        and config.rope_parameters.get("rope_type", "default") in ROPE_TYPES
    )


def _layer_class(config: Any, device: torch.device) -> type[DecoderLayer]:
    """Return the class of the layers: on a GPU with Triton their small operations are fused."""
    if device.type == "cuda" and config.hidden_act == "silu":
        from llava_tools.engine.triton_check import has_triton

        if has_triton(device):
            from llava_tools.engine.fused_layer import FusedLayer

            return FusedLayer
    return DecoderLayer


def _is_memory_scarce(text: Any) -> bool:
    """Whether layers are joined on the host, so that their new weights take the old ones' place.

    On the GPU itself it is faster, and leaves gaps of a quarter of the weights at most.
    """
    if text.device.type != "cuda" or type(text.layers[0].self_attn.o_proj) is not nn.Linear:
        return False
    weights: int = sum(item.nbytes for item in text.parameters())
    return free_bytes(text.device) < weights // 2


def _windows(config: Any) -> list[int | None]:
    """Return the sliding window of each layer; Llama has none, whatever its configuration says."""
    window = None if config.model_type == "llama" else getattr(config, "sliding_window", None)
    types = getattr(config, "layer_types", None) or ["sliding_attention"] * config.num_hidden_layers
    return [window if kind == "sliding_attention" else None for kind in types]


def _pair_order(heads: int, head_dim: int, rotary_dim: int) -> Tensor:
    """Return the order of heads' dimensions in which those rotated together are adjacent.

    Queries and keys have the same order, so their products do not change.
    """
    pairs = torch.arange(rotary_dim).view(2, -1).t().flatten()
    order = torch.cat([pairs, torch.arange(rotary_dim, head_dim)])
    return (torch.arange(heads)[:, None] * head_dim + order).flatten()


def _rotate(heads: Tensor, rotations: Tensor) -> Tensor:
    """Rotate queries or keys [rows, heads * head_dim]; return float32 [rows, heads, head_dim].

    They are used up.
    """
    pairs = heads.float().view(len(heads), -1, rotations.shape[2], 2)
    return torch.view_as_real(torch.view_as_complex(pairs).mul_(rotations)).flatten(2)


def _write(cache: Tensor, slots: Tensor | slice, rows: Tensor) -> None:
    """Write keys or values [rows, kv_heads, head_dim] to slots of a layer's cache."""
    # A slice is copied to, which rounds on the way; an index does not.
    cache[slots] = rows if isinstance(slots, slice) else rows.to(cache.dtype)
