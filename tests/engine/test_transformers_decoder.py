"""Text models of many families have the tokens of transformers' own `generate`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoConfig, CLIPVisionConfig, LlavaConfig, LlavaForConditionalGeneration

from llava_tools.engine.attention import SequenceRows
from llava_tools.engine.attention.reference import ReferenceAttention
from llava_tools.engine.blocks import BLOCK_SIZE
from llava_tools.engine.decoder import make_decoder
from llava_tools.engine.kv_cache import KVCache
from llava_tools.engine.step_inputs import StepInputs
from llava_tools.engine.transformers_decoder import TransformersDecoder
from llava_tools.errors import ModelError

NEW_TOKENS = 12
VOCABULARY = 320

SMALL: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "max_position_embeddings": 256,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
GROUPED = SMALL | {"num_key_value_heads": 2}
EXPERTS: dict[str, Any] = GROUPED | {"num_experts_per_tok": 2, "head_dim": 16}
ALTERNATING = ["sliding_attention", "full_attention"] * 2

LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 10_000.0,
    "original_max_position_embeddings": 96,
    "factor": 2.7,
    "short_factor": [1.5] * 8,
    "long_factor": [2.0] * 8,
}
DYNAMIC = {"rope_type": "dynamic", "rope_theta": 10_000.0, "factor": 2.0}

FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", GROUPED),
    "mistral with a window": ("mistral", GROUPED | {"head_dim": 16, "sliding_window": 9}),
    "qwen2 with windows": (
        "qwen2",
        GROUPED | {"use_sliding_window": True, "sliding_window": 9, "max_window_layers": 2},
    ),
    "llama with longrope": ("llama", GROUPED | {"rope_parameters": LONGROPE}),
    "llama with dynamic rotations": ("llama", GROUPED | {"rope_parameters": DYNAMIC}),
    "qwen3": ("qwen3", GROUPED | {"head_dim": 32}),
    "gemma": ("gemma", GROUPED | {"head_dim": 16}),
    "gemma2 with windows and softcaps": (
        "gemma2",
        GROUPED
        | {"head_dim": 16, "sliding_window": 9, "query_pre_attn_scalar": 16}
        | {"attn_logit_softcapping": 3.0, "final_logit_softcapping": 5.0},
    ),
    "gemma3 with windows": (
        "gemma3_text",
        GROUPED | {"head_dim": 16, "sliding_window": 9, "layer_types": ALTERNATING},
    ),
    "granite with multipliers": (
        "granite",
        GROUPED
        | {"embedding_multiplier": 3.0, "residual_multiplier": 0.5}
        | {"attention_multiplier": 0.3, "logits_scaling": 2.0},
    ),
    "olmo2": ("olmo2", GROUPED),
    "stablelm with parallel blocks": ("stablelm", GROUPED | {"use_parallel_residual": True}),
    "phi": ("phi", GROUPED),
    "gpt_neox": ("gpt_neox", SMALL),
    "cohere with a logit scale": ("cohere", GROUPED | {"logit_scale": 0.25}),
    "gpt_oss with sinks, windows and experts": (
        "gpt_oss",
        EXPERTS | {"num_local_experts": 4, "sliding_window": 9, "layer_types": ALTERNATING},
    ),
    "qwen3 with experts": ("qwen3_moe", EXPERTS | {"num_experts": 4, "moe_intermediate_size": 32}),
}


def llava(model_type: str, options: dict[str, Any]) -> LlavaForConditionalGeneration:
    """A LLaVA with a random text model of a family."""
    vision = CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=28,
        patch_size=14,
    )
    text = AutoConfig.for_model(model_type, **options)
    config = LlavaConfig(vision_config=vision, text_config=text, image_token_index=3)
    torch.manual_seed(0)
    # Not every family has another attention.
    model: LlavaForConditionalGeneration = LlavaForConditionalGeneration._from_config(
        config, attn_implementation="eager"
    )
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=1.5 / parameter.shape[-1] ** 0.5)
            else:
                parameter.normal_(mean=float("norm" in name), std=0.2)
        model.lm_head.weight[2] = 0  # answers do not end
    model.eval()
    return model


PROMPTS = [[4 + 7 * n * length % 316 for n in range(length)] for length in (37, 5, 70, 20)]


def generated(model: LlavaForConditionalGeneration, prompt: list[int]) -> list[int]:
    with torch.inference_mode():
        output: Any = model.generate(
            input_ids=torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
            max_new_tokens=NEW_TOKENS,
            min_new_tokens=NEW_TOKENS,
            do_sample=False,
        )
    return [int(token) for token in output[0, len(prompt) :]]


class Batch:
    """Sequences that are computed together, prompts in chunks; their blocks are interleaved."""

    def __init__(
        self, decoder: TransformersDecoder, embed: Callable[[Tensor], Tensor], sequences: int
    ) -> None:
        self._decoder, self._embed, self._sequences = decoder, embed, sequences
        self._cache = KVCache(decoder.kv_shape, 4 * sequences, torch.device("cpu"))

    @torch.inference_mode()
    def compute(self, shares: dict[int, tuple[list[int], int, int]]) -> list[Tensor]:
        """Compute tokens `begin` to `end` of sequences; return the logits of each one's last."""
        rows: list[SequenceRows] = []
        ids: list[int] = []
        positions: list[int] = []
        write: list[int] = []
        for index, (tokens, begin, end) in shares.items():
            blocks = [(index + n * self._sequences) * BLOCK_SIZE for n in range(4)]
            rows.append(SequenceRows(len(ids), end - begin, begin, blocks))
            ids += tokens[begin:end]
            positions += range(begin, end)
            write += [blocks[p // BLOCK_SIZE] + p % BLOCK_SIZE for p in range(begin, end)]
        outputs = [SequenceRows(n, 1, item.length - 1, item.blocks) for n, item in enumerate(rows)]
        step = StepInputs(
            positions=torch.tensor(positions),
            write=torch.tensor(write),
            plan=self._decoder.attention.plan(rows, BLOCK_SIZE),
            output_rows=torch.tensor([item.first + item.rows - 1 for item in rows]),
            output_plan=self._decoder.attention.plan(outputs, BLOCK_SIZE),
            cache=self._cache,
        )
        return list(self._decoder(self._embed(torch.tensor(ids)), step))


def answers(batch: Batch, prompts: Sequence[list[int]], chunk: int) -> list[list[int]]:
    """Greedy answers of prompts that are computed at once, in chunks of different sizes."""
    tokens = [list(prompt) for prompt in prompts]
    computed = [0] * len(prompts)
    while any(len(t) < len(p) + NEW_TOKENS for t, p in zip(tokens, prompts, strict=True)):
        shares = {
            index: (item, computed[index], min(len(item), computed[index] + chunk + index))
            for index, item in enumerate(tokens)
            if len(item) < len(prompts[index]) + NEW_TOKENS
        }
        for (index, (item, _, end)), logits in zip(
            shares.items(), batch.compute(shares), strict=True
        ):
            computed[index] = end
            if end == len(item):
                item.append(int(logits.argmax()))
    return [t[len(p) :] for t, p in zip(tokens, prompts, strict=True)]


@pytest.mark.parametrize(("model_type", "options"), FAMILIES.values(), ids=FAMILIES)
def test_tokens_are_those_of_generate(model_type: str, options: dict[str, Any]) -> None:
    model = llava(model_type, options)
    expected = [generated(model, prompt) for prompt in PROMPTS]
    decoder = TransformersDecoder(model, ReferenceAttention())
    batch = Batch(decoder, model.get_input_embeddings(), len(PROMPTS))
    assert answers(batch, PROMPTS, chunk=16) == expected
    assert len({tuple(answer) for answer in expected}) > 1


def test_logits_are_scaled_as_the_family_scales_them() -> None:
    """LLaVA's own forward pass applies no softcap to logits; the family's causal model does."""
    model = llava(*FAMILIES["gemma2 with windows and softcaps"])
    with torch.inference_mode():
        plain = model(input_ids=torch.tensor([PROMPTS[1]])).logits[0, -1]
    batch = Batch(TransformersDecoder(model, ReferenceAttention()), model.get_input_embeddings(), 1)
    (logits,) = batch.compute({0: (PROMPTS[1], 0, 5)})
    assert torch.allclose(logits, 5 * torch.tanh(plain / 5), atol=1e-4)


def test_a_step_without_outputs_returns_no_logits() -> None:
    model = llava("qwen3", FAMILIES["qwen3"][1])
    decoder = TransformersDecoder(model, ReferenceAttention())
    rows = [SequenceRows(0, 3, 0, [0])]
    step = StepInputs(
        positions=torch.arange(3),
        write=slice(0, 3),
        plan=decoder.attention.plan(rows, BLOCK_SIZE),
        output_rows=torch.tensor([], dtype=torch.long),
        output_plan=decoder.attention.plan([], BLOCK_SIZE),
        cache=KVCache(decoder.kv_shape, 1, torch.device("cpu")),
    )
    with torch.inference_mode():
        assert decoder(torch.randn(3, 64), step).shape == (0, VOCABULARY)
    assert step.cache.keys[3][:3].count_nonzero()


# ---- what is refused -----------------------------------------------------------------------------

REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "recurrent layers": (
        "recurrent_gemma",
        GROUPED | {"head_dim": 16, "lru_width": 64, "attention_window_size": 64},
        "(layers of the type|not every layer attends)",
    ),
    "no attention interface": (
        "xglm",
        {"vocab_size": VOCABULARY, "d_model": 64, "ffn_dim": 96}
        | {"num_layers": 2, "attention_heads": 4, "max_position_embeddings": 256},
        "not every layer attends",
    ),
    "values of another size": (
        "deepseek_v3",
        SMALL
        | {"num_key_value_heads": 4, "q_lora_rank": 16, "kv_lora_rank": 16, "v_head_dim": 16}
        | {"qk_nope_head_dim": 16, "qk_rope_head_dim": 8, "first_k_dense_replace": 4},
        "several shapes",
    ),
    "a mask of its own": (
        "doge",
        GROUPED | {"num_key_value_heads": 2},
        "(mask of its own|not every layer attends)",
    ),
    "a window that is not passed on": ("llama", GROUPED | {"sliding_window": 9}, "sliding window"),
    "chunks": (
        "qwen3",
        GROUPED | {"layer_types": ["chunked_attention"] + ["full_attention"] * 3},
        "chunked_attention",
    ),
}


@pytest.mark.parametrize(("model_type", "options", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_would_run_wrongly_is_refused_by_name(
    model_type: str, options: dict[str, Any], reason: str
) -> None:
    model = llava(model_type, options)
    with pytest.raises(ModelError, match=rf"'{model_type}' are not supported.*{reason}") as error:
        TransformersDecoder(model, ReferenceAttention())
    assert "base_url=" in str(error.value.hint)


def test_layers_that_mix_rows_are_refused() -> None:
    """Like a convolution: right for a prompt in one piece, wrong for a prompt in chunks."""
    model = llava("llama", GROUPED)
    layer: Any = model.model.language_model.layers[1]

    def add_previous(module: Any, arguments: Any, output: Tensor) -> Tensor:
        return output + torch.cat([torch.zeros_like(output[:, :1]), output[:, :-1]], dim=1)

    layer.register_forward_hook(add_previous)
    with pytest.raises(ModelError, match=r"'llama'.*logits differ by \d"):
        TransformersDecoder(model, ReferenceAttention())


def test_quantization_on_a_cpu_is_refused() -> None:
    model = llava("qwen3", FAMILIES["qwen3"][1])
    with pytest.raises(ModelError, match=r"quantization='4bit' on a CPU.*'qwen3'") as error:
        make_decoder(model, ReferenceAttention(), "4bit")
    assert "Leave quantization out" in str(error.value.hint)
