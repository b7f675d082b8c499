"""Llama's forward over the paged KV, for CPUs, where what surrounds the arithmetic counts as well.

What `LlamaModel` computes, with linear layers of the same input joined, attention where the keys
lie, and rows that lead to no token left out as soon as their keys and values are known.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn
from torch.nn.functional import rms_norm
from transformers import LlamaForCausalLM, LlavaForConditionalGeneration, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPast
from transformers.models.llama.modeling_llama import LlamaDecoderLayer, LlamaModel

from llava_tools.engine.attention import Part, Reader, attend, plan
from llava_tools.engine.packed import joined
from llava_tools.engine.paging import keys_and_values

#: Name of the attention in the configuration; for names of its own continuous batching makes masks.
ATTENTION = "llava_tools"


@dataclass(frozen=True)
class _Angles:
    """Rotary angles of rows, [rows, 1, head / 2] each."""

    cos: torch.Tensor
    sin: torch.Tensor

    def turn(self, heads: torch.Tensor) -> torch.Tensor:
        """Return queries or keys, [rows, heads, head], turned to their positions."""
        first, second = heads.chunk(2, dim=-1)
        turned = torch.empty_like(heads, memory_format=torch.contiguous_format)
        one, other = turned.chunk(2, dim=-1)
        torch.mul(first, self.cos, out=one).addcmul_(second, self.sin, value=-1)
        torch.mul(second, self.cos, out=other).addcmul_(first, self.sin)
        return turned

    def __getitem__(self, rows: torch.Tensor) -> _Angles:
        return _Angles(self.cos[rows], self.sin[rows])


@dataclass(frozen=True)
class _Step:
    """What all layers share in a step; `kept` are the rows whose next token is asked for."""

    angles: _Angles
    write: torch.Tensor
    parts: list[Part]
    kept: torch.Tensor
    kept_parts: list[Part]
    cache: Any


class PagedLayer(nn.Module):
    """One decoder layer.

    Args:
        layer: Which it replaces; its linear layers are not needed any more.
        last: Whether only kept rows leave it.
    """

    def __init__(self, layer: LlamaDecoderLayer, *, last: bool) -> None:
        super().__init__()
        looks: Any = layer.self_attn
        feeds: Any = layer.mlp
        self.index: int = looks.layer_idx
        self.head: int = looks.head_dim
        self.scale: float = looks.scaling
        self.last = last
        self.norm_before = layer.input_layernorm
        self.query = joined([looks.q_proj])
        self.key_value = joined([looks.k_proj, looks.v_proj])
        self.out = joined([looks.o_proj])
        self.norm_between = layer.post_attention_layernorm
        self.gate_up = joined([feeds.gate_proj, feeds.up_proj])
        self.down = joined([feeds.down_proj])
        self.activation: Callable[[torch.Tensor], torch.Tensor] = feeds.act_fn

    def forward(self, hidden: torch.Tensor, step: _Step) -> torch.Tensor:
        """Return [rows, width], or of the last layer [kept rows, width], for [rows, width]."""
        normed = _norm(self.norm_before, hidden)
        keys, values = keys_and_values(step.cache, self.index)
        key, value = self.key_value(normed).unflatten(1, (-1, self.head)).chunk(2, dim=1)
        keys.index_copy_(0, step.write, step.angles.turn(key))
        values.index_copy_(0, step.write, value)
        angles, parts = step.angles, step.parts
        if self.last:
            if len(step.kept) == 0:
                return hidden[:0]
            hidden, normed, angles = hidden[step.kept], normed[step.kept], angles[step.kept]
            parts = step.kept_parts
        query = angles.turn(self.query(normed).unflatten(1, (-1, self.head)))
        hidden = hidden + self.out(attend(parts, query, keys, values, self.scale))
        gate, up = self.gate_up(_norm(self.norm_between, hidden)).chunk(2, dim=1)
        return hidden.add_(self.down(self.activation(gate).mul_(up)))


class PagedLlama(nn.Module):
    """What a `LlamaForCausalLM` of continuous batching calls as its `model`.

    Args:
        model: Which it replaces; the layers of it are used up.
    """

    def __init__(self, model: LlamaModel) -> None:
        super().__init__()
        self.config = model.config
        self.embed_tokens = model.embed_tokens
        self.rotary_emb = model.rotary_emb
        self.norm = model.norm
        self.layers = nn.ModuleList()
        last = len(model.layers) - 1
        for index in range(last + 1):
            old = cast(LlamaDecoderLayer, model.layers[index])
            self.layers.append(PagedLayer(old, last=index == last))
            model.layers[index] = nn.Identity()  # one by one, so that no weight is there twice

    def forward(self, **batch: Any) -> BaseModelOutputWithPast:
        """Return hidden states [1, rows, width], zero in rows whose next token nobody asks for.

        Args:
            batch: As continuous batching passes it to a model without attention mask.
        """
        hidden = self.embed_tokens(batch["input_ids"])[0]
        step = self._step(hidden, **batch)
        for layer in self.layers:
            hidden = layer(hidden, step)
        asked = hidden.new_zeros((1, batch["input_ids"].shape[1], hidden.shape[1]))
        asked[0, step.kept] = _norm(self.norm, hidden)
        return BaseModelOutputWithPast(last_hidden_state=asked)

    def _step(
        self,
        hidden: torch.Tensor,
        *,
        position_ids: torch.Tensor,
        cu_seq_lens_q: torch.Tensor,
        cu_seq_lens_k: dict[str, torch.Tensor],
        read_index: list[torch.Tensor],
        write_index: list[torch.Tensor],
        logits_indices: torch.Tensor,
        cache: Any,
        **rest: Any,
    ) -> _Step:
        (write,), (places,) = write_index, read_index
        (key_ends,) = cu_seq_lens_k.values()
        if places.numel() == 0:  # nothing has a past, so what is read is what is written
            places, key_ends = write, cu_seq_lens_q
        readers = _readers(cu_seq_lens_q.tolist(), key_ends.tolist(), places)
        asked = set(logits_indices.tolist())  # padded with zeros
        enders = [one for one in readers if one.first + one.rows - 1 in asked]
        lone = [Reader(row, 1, one.places) for row, one in enumerate(enders)]
        cos, sin = self.rotary_emb(hidden, position_ids)
        half = cos.shape[-1] // 2
        return _Step(
            angles=_Angles(cos[0, :, None, :half], sin[0, :, None, :half]),
            write=write,
            parts=plan(readers),
            kept=torch.tensor([one.first + one.rows - 1 for one in enders], dtype=torch.long),
            kept_parts=plan(lone),
            cache=cache,
        )


def suits(decoder: PreTrainedModel) -> bool:
    """Whether a decoder is one that `PagedLlama` can stand in for."""
    config: Any = decoder.config
    return (
        isinstance(decoder, LlamaForCausalLM)
        and decoder.device.type == "cpu"
        and decoder.dtype == torch.float32
        and config.num_key_value_heads == config.num_attention_heads
    )


def replace(model: LlavaForConditionalGeneration, decoder: PreTrainedModel) -> None:
    """Put a `PagedLlama` in the place of the language model that a LLaVA and its decoder share."""
    whole, causal = cast(Any, model), cast(Any, decoder)
    whole.model.language_model = causal.model = PagedLlama(causal.model)
    whole.lm_head = causal.lm_head = joined([causal.lm_head])
    causal.config._attn_implementation = ATTENTION


def _readers(rows: Sequence[int], ends: Sequence[int], places: torch.Tensor) -> list[Reader]:
    """Return the sequences of a step from where their rows and keys begin and end."""
    return [
        Reader(rows[i], rows[i + 1] - rows[i], places[ends[i] : ends[i + 1]])
        for i in range(len(rows) - 1)
    ]


def _norm(norm: nn.Module, hidden: torch.Tensor) -> torch.Tensor:
    weight = cast(torch.Tensor, norm.weight)
    return rms_norm(hidden, weight.shape, weight, cast(float, norm.variance_epsilon))
