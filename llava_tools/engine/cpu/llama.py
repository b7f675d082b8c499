"""Llama's forward over the paged KV, for CPUs, where what surrounds the arithmetic counts as well.

What `LlamaModel` computes, with linear layers of the same input joined, attention where the keys
lie, and rows that lead to no token left out as soon as their keys and values are known.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn
from torch.nn.functional import rms_norm
from transformers import LlamaForCausalLM, LlavaForConditionalGeneration, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPast
from transformers.models.llama.modeling_llama import LlamaDecoderLayer, LlamaModel

from llava_tools.engine.continuous_batching.kv_layout import keys_and_values, page_size
from llava_tools.engine.cpu.attention import Part, Reader, Where, attend, plan, run
from llava_tools.engine.cpu.linear import joined, pack

#: Name of the attention in the configuration; for its own names continuous batching makes masks.
ATTENTION = "llava_tools"


@dataclass(frozen=True)
class _Step:
    """What all layers share in a step.

    Attributes:
        turns: Rotary angles of the rows as complex numbers, [rows, 1, head / 2].
        write: Where the rows' keys go.
        parts: What the rows look at.
        kept: Rows whose next token is asked for.
        kept_parts: What these look at, as if they were all rows.
        cache: transformers' paged KV.
    """

    turns: torch.Tensor
    write: Where
    parts: list[Part]
    kept: torch.Tensor
    kept_parts: list[Part]
    cache: Any


class PagedLayer(nn.Module):
    """One decoder layer.

    Args:
        layer: Which it replaces; its linear layers are used up.
        last: Whether only kept rows leave it.
    """

    def __init__(self, layer: LlamaDecoderLayer, *, last: bool) -> None:
        super().__init__()
        looks: Any = layer.self_attn
        feeds: Any = layer.mlp
        self.index: int = looks.layer_idx
        self.head: int = looks.head_dim
        self.heads = looks.q_proj.out_features // self.head
        self.scale: float = looks.scaling
        query, key = _in_pairs(looks.q_proj, self.head), _in_pairs(looks.k_proj, self.head)
        self.kept_query = joined([query]) if last else None
        self.mix = joined([key, looks.v_proj] if last else [query, key, looks.v_proj])
        self.out = joined([looks.o_proj])
        self.gate_up = joined([feeds.gate_proj, feeds.up_proj])
        self.down = joined([feeds.down_proj])
        self.norm_before = layer.input_layernorm
        self.norm_between = layer.post_attention_layernorm
        self.activation: Callable[[torch.Tensor], torch.Tensor] = feeds.act_fn

    def forward(self, hidden: torch.Tensor, step: _Step) -> torch.Tensor:
        """Return [rows, width], or of the last layer [kept rows, width], for [rows, width]."""
        keys, values = keys_and_values(step.cache, self.index)
        normed = _norm(self.norm_before, hidden)
        mixed = self.mix(normed).unflatten(1, (-1, self.head))
        turned = _turned(mixed[:, : -self.heads], step.turns)
        keys[step.write] = turned[:, -self.heads :]
        values[step.write] = mixed[:, -self.heads :]
        query, parts = turned[:, : self.heads], step.parts
        if self.kept_query is not None:
            hidden, parts = hidden[step.kept], step.kept_parts
            if len(hidden) == 0:
                return hidden
            query = self.kept_query(normed[step.kept]).unflatten(1, (-1, self.head))
            query = _turned(query, step.turns[step.kept])
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
        last = len(model.layers) - 1

        def taken(index: int) -> PagedLayer:
            layer = PagedLayer(cast(LlamaDecoderLayer, model.layers[index]), last=index == last)
            model.layers[index] = nn.Identity()  # so that few weights are there twice at a time
            return layer

        # Packing one of the 7B's layers takes seconds, on one thread and without Python's lock.
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            self.layers = nn.ModuleList(pool.map(taken, range(last + 1)))

    @torch.inference_mode()
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
        (write,), (pages,) = write_index, read_index
        (key_ends,) = cu_seq_lens_k.values()
        size = page_size(cache)
        readers = _readers(cu_seq_lens_q.tolist(), key_ends.tolist(), pages.tolist(), write, size)
        asked = set(logits_indices.tolist())  # padded with zeros
        enders = [one for one in readers if one.first + one.rows - 1 in asked]
        kept = [Reader(row, 1, one.end - 1, one.pages) for row, one in enumerate(enders)]
        cos, sin = self.rotary_emb(hidden, position_ids)
        half = cos.shape[-1] // 2
        return _Step(
            turns=torch.complex(cos[0, :, None, :half], sin[0, :, None, :half]),
            write=run(write),
            parts=plan(readers, size),
            kept=torch.tensor([one.first + one.rows - 1 for one in enders], dtype=torch.long),
            kept_parts=plan(kept, size),
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
    """Put a `PagedLlama` in the place of the language model that a LLaVA and its decoder share.

    The linear layers of its vision tower are packed as well.
    """
    whole, causal = cast(Any, model), cast(Any, decoder)
    whole.model.language_model = causal.model = PagedLlama(causal.model)
    whole.lm_head = causal.lm_head = joined([causal.lm_head])
    causal.config._attn_implementation = ATTENTION
    pack(whole.model.vision_tower)
    pack(whole.model.multi_modal_projector)


def _readers(
    rows: Sequence[int], keys: Sequence[int], pages: Sequence[int], write: torch.Tensor, size: int
) -> list[Reader]:
    """Return the sequences of a step.

    Args:
        rows: Where each one's rows begin, and the end.
        keys: The same of its keys, counted over all sequences.
        pages: Where the pages of their keys begin, one sequence after the other; empty where no
            sequence has a past.
        write: Where the rows' keys go.
        size: Of a page.
    """
    found = []
    at = 0
    for i in range(len(rows) - 1):
        count, end = rows[i + 1] - rows[i], keys[i + 1] - keys[i]
        if pages:
            own = pages[at : (at := at + -(-end // size))]
        else:
            own = write[rows[i] : rows[i + 1] : size].tolist()
        found.append(Reader(rows[i], count, end - count, own))
    return found


def _in_pairs(layer: nn.Linear, head: int) -> nn.Linear:
    """Put the numbers side by side that are turned together, so that they are complex ones.

    Queries and keys are both changed, which leaves their products as they were.
    """
    order = torch.arange(layer.out_features).view(-1, 2, head // 2).transpose(1, 2).flatten()
    layer.weight = nn.Parameter(layer.weight.detach()[order], requires_grad=False)
    if layer.bias is not None:
        layer.bias = nn.Parameter(layer.bias.detach()[order], requires_grad=False)
    return layer


def _turned(heads: torch.Tensor, turns: torch.Tensor) -> torch.Tensor:
    """Return queries or keys, [rows, heads, head], turned to their positions."""
    pairs = torch.view_as_complex(heads.unflatten(2, (-1, 2)))
    return torch.view_as_real(pairs * turns).flatten(2)


def _norm(norm: nn.Module, hidden: torch.Tensor) -> torch.Tensor:
    weight = cast(torch.Tensor, norm.weight)
    return rms_norm(hidden, weight.shape, weight, cast(float, norm.variance_epsilon))
