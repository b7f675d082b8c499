"""Llama's forward pass over the paged KV, for CPUs, where overhead beside the arithmetic counts.

It computes what `LlamaModel` computes, but joins linear layers that share an input, reads keys in
place, and drops rows from which no token is picked once their keys and values are written.
The arguments come from transformers' continuous batching, whose attention this replaces;
`continuous_batching.kv_layout` reads most of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn
from torch.nn.functional import rms_norm
from transformers import LlamaForCausalLM, LlavaForConditionalGeneration, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPast
from transformers.models.llama.modeling_llama import LlamaDecoderLayer, LlamaModel

from llava_tools.engine.continuous_batching import kv_layout
from llava_tools.engine.cpu.attention import BatchSequence, Index, Part, attend, index_of, parts_of
from llava_tools.engine.cpu.linear import joined, pack

#: Name of the attention in the configuration. Continuous batching makes masks for names it knows.
ATTENTION = "llava_tools"


@dataclass(frozen=True)
class _StepInputs:
    """What all layers share in a step.

    Attributes:
        rotations: Rotary angles of the rows as complex numbers, [rows, 1, head / 2].
        write: Slots that the rows' keys are written to.
        parts: What the rows attend to.
        output_rows: Rows that a next token is picked for.
        output_parts: What the output rows attend to, with rows numbered within `output_rows`.
        cache: transformers' paged KV.
    """

    rotations: torch.Tensor
    write: Index
    parts: list[Part]
    output_rows: torch.Tensor
    output_parts: list[Part]
    cache: Any


class PagedLayer(nn.Module):
    """Replaces one decoder layer, whose linear layers are used up.

    The last layer returns the output rows only.
    """

    def __init__(self, layer: LlamaDecoderLayer, *, last: bool) -> None:
        super().__init__()
        attention: Any = layer.self_attn
        mlp: Any = layer.mlp
        self.index: int = attention.layer_idx
        self.head: int = attention.head_dim
        self.heads = attention.q_proj.out_features // self.head
        self.scale: float = attention.scaling
        query = _interleaved(attention.q_proj, self.head)
        key = _interleaved(attention.k_proj, self.head)
        self.output_query = joined([query]) if last else None
        self.qkv = joined([*([] if last else [query]), key, attention.v_proj])
        self.out = joined([attention.o_proj])
        self.gate_up = joined([mlp.gate_proj, mlp.up_proj])
        self.down = joined([mlp.down_proj])
        self.attention_norm = layer.input_layernorm
        self.mlp_norm = layer.post_attention_layernorm
        self.activation: Callable[[torch.Tensor], torch.Tensor] = mlp.act_fn

    def forward(self, hidden: torch.Tensor, step: _StepInputs) -> torch.Tensor:
        """Return [rows, width], or from the last layer [output rows, width], for [rows, width]."""
        keys, values = kv_layout.keys_and_values(step.cache, self.index)
        normed = _norm(self.attention_norm, hidden)
        qkv = self.qkv(normed).unflatten(1, (-1, self.head))
        rotated = _rotated(qkv[:, : -self.heads], step.rotations)
        keys[step.write] = rotated[:, -self.heads :]
        values[step.write] = qkv[:, -self.heads :]
        query, parts = rotated[:, : self.heads], step.parts
        if self.output_query is not None:
            hidden, parts = hidden[step.output_rows], step.output_parts
            if len(hidden) == 0:
                return hidden
            query = self.output_query(normed[step.output_rows]).unflatten(1, (-1, self.head))
            query = _rotated(query, step.rotations[step.output_rows])
        hidden = hidden + self.out(attend(parts, query, keys, values, self.scale))
        gate, up = self.gate_up(_norm(self.mlp_norm, hidden)).chunk(2, dim=1)
        return hidden.add_(self.down(self.activation(gate).mul_(up)))


class PagedLlama(nn.Module):
    """Replaces the `LlamaModel` of a `LlamaForCausalLM`, whose layers are used up."""

    def __init__(self, model: LlamaModel) -> None:
        super().__init__()
        self.config = model.config
        self.embed_tokens = model.embed_tokens
        self.rotary_emb = model.rotary_emb
        self.norm = model.norm
        last = len(model.layers) - 1

        def convert(index: int) -> PagedLayer:
            layer = PagedLayer(cast(LlamaDecoderLayer, model.layers[index]), last=index == last)
            model.layers[index] = nn.Identity()  # frees its weights before the next are copied
            return layer

        # Packing one of the 7B's layers takes seconds, on one thread and without Python's lock.
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            self.layers = nn.ModuleList(pool.map(convert, range(last + 1)))

    @torch.inference_mode()
    def forward(self, **batch: Any) -> BaseModelOutputWithPast:
        """Return hidden states [1, rows, width], zero in all but the output rows.

        For `batch` see `kv_layout.sequences_of`.
        """
        hidden = self.embed_tokens(batch["input_ids"])[0]
        step = self._step_inputs(hidden, batch)
        for layer in self.layers:
            hidden = layer(hidden, step)
        outputs = hidden.new_zeros((1, batch["input_ids"].shape[1], hidden.shape[1]))
        outputs[0, step.output_rows] = _norm(self.norm, hidden)
        return BaseModelOutputWithPast(last_hidden_state=outputs)

    def _step_inputs(self, hidden: torch.Tensor, batch: Mapping[str, Any]) -> _StepInputs:
        cache, (write,) = batch["cache"], batch["write_index"]
        sequences, size = kv_layout.sequences_of(batch), kv_layout.block_size(cache)
        logits_rows = set(batch["logits_indices"].tolist())  # padded with zeros
        ending = [item for item in sequences if item.first + item.rows - 1 in logits_rows]
        outputs = [
            BatchSequence(row, 1, item.length - 1, item.blocks) for row, item in enumerate(ending)
        ]
        cos, sin = self.rotary_emb(hidden, batch["position_ids"])
        half = cos.shape[-1] // 2
        return _StepInputs(
            rotations=torch.complex(cos[0, :, None, :half], sin[0, :, None, :half]),
            write=index_of(write),
            parts=parts_of(sequences, size),
            output_rows=torch.tensor(
                [item.first + item.rows - 1 for item in ending], dtype=torch.long
            ),
            output_parts=parts_of(outputs, size),
            cache=cache,
        )


def is_supported(decoder: PreTrainedModel) -> bool:
    """Whether `PagedLlama` can replace a decoder's model."""
    config: Any = decoder.config
    return (
        isinstance(decoder, LlamaForCausalLM)
        and decoder.device.type == "cpu"
        and decoder.dtype == torch.float32
        and config.num_key_value_heads == config.num_attention_heads
    )


def replace(model: LlavaForConditionalGeneration, decoder: PreTrainedModel) -> None:
    """Replace the language model that a LLaVA and its decoder share by a `PagedLlama`.

    The linear layers of the vision tower and the projector are packed as well.
    """
    llava, causal = cast(Any, model), cast(Any, decoder)
    llava.model.language_model = causal.model = PagedLlama(causal.model)
    llava.lm_head = causal.lm_head = joined([causal.lm_head])
    causal.config._attn_implementation = ATTENTION
    pack(llava.model.vision_tower)
    pack(llava.model.multi_modal_projector)


def _interleaved(layer: nn.Linear, head: int) -> nn.Linear:
    """Reorder a layer's outputs so that each pair that is rotated as a complex number is adjacent.

    Queries and keys are both reordered, so their products do not change.
    """
    order = torch.arange(layer.out_features).view(-1, 2, head // 2).transpose(1, 2).flatten()
    layer.weight = nn.Parameter(layer.weight.detach()[order], requires_grad=False)
    if layer.bias is not None:
        layer.bias = nn.Parameter(layer.bias.detach()[order], requires_grad=False)
    return layer


def _rotated(heads: torch.Tensor, rotations: torch.Tensor) -> torch.Tensor:
    """Return queries or keys, [rows, heads, head], rotated to their positions."""
    pairs = torch.view_as_complex(heads.unflatten(2, (-1, 2)))
    return torch.view_as_real(pairs * rotations).flatten(2)


def _norm(norm: nn.Module, hidden: torch.Tensor) -> torch.Tensor:
    weight = cast(torch.Tensor, norm.weight)
    return rms_norm(hidden, weight.shape, weight, cast(float, norm.variance_epsilon))
