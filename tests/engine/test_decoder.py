"""The decoder against transformers' forward pass of each family, over a small KV driven by hand."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    MistralConfig,
    Phi3Config,
    Qwen2Config,
    SiglipVisionConfig,
)

from llava_tools.engine.attention import SequenceRows
from llava_tools.engine.attention.reference import ReferenceAttention
from llava_tools.engine.blocks import BLOCK_SIZE
from llava_tools.engine.decoder import Decoder, is_supported, make_decoder
from llava_tools.engine.kv_cache import KVCache
from llava_tools.engine.linear import BFloat16Linear, is_usable
from llava_tools.engine.quantized_linear import Int4Linear, Int8Linear, missing
from llava_tools.engine.step_inputs import StepInputs
from llava_tools.options import Quantization

VOCAB, BLOCKS = 211, 40

_COMMON: dict[str, Any] = {
    "vocab_size": VOCAB,
    "hidden_size": 128,
    "intermediate_size": 192,
    "num_hidden_layers": 3,
    "num_attention_heads": 8,
    "pad_token_id": 0,
    "max_position_embeddings": 1024,
}

_YARN = {
    "rope_type": "yarn",
    "rope_theta": 10_000.0,
    "factor": 4.0,
    "original_max_position_embeddings": 256,
}

#: Text configurations by what is particular about them.
FAMILIES = {
    "llama": LlamaConfig(**_COMMON),
    "llama, grouped queries": LlamaConfig(**_COMMON, num_key_value_heads=2),
    "llama, tied": LlamaConfig(**_COMMON, tie_word_embeddings=True),
    "llama, biases": LlamaConfig(**_COMMON, attention_bias=True, mlp_bias=True),
    "llama, wide heads": LlamaConfig(**_COMMON, head_dim=32, num_key_value_heads=4),
    "llama, scaled frequencies": LlamaConfig(**_COMMON, rope_parameters=_YARN),
    # Phi-3 converted to Llama keeps its window in the configuration; transformers ignores it.
    "llama, window ignored": LlamaConfig(
        **_COMMON,
        num_key_value_heads=2,
        sliding_window=40,  # type: ignore[call-arg]
    ),
    "mistral": MistralConfig(**_COMMON, num_key_value_heads=4, sliding_window=None),
    "mistral, sliding window": MistralConfig(**_COMMON, num_key_value_heads=2, sliding_window=48),
    "qwen2": Qwen2Config(**_COMMON, num_key_value_heads=2),
    "qwen2, tied": Qwen2Config(**_COMMON, num_key_value_heads=1, tie_word_embeddings=True),
    "qwen2, windows in some layers": Qwen2Config(
        **_COMMON,
        num_key_value_heads=2,
        use_sliding_window=True,
        sliding_window=40,
        max_window_layers=1,
    ),
    "phi3": Phi3Config(**_COMMON, num_key_value_heads=8),
    "phi3, partly rotated": Phi3Config(
        **_COMMON,
        **{"partial_rotary_factor": 0.5},
        num_key_value_heads=4,
        tie_word_embeddings=True,
    ),
}


def _model(
    text: Any, dtype: torch.dtype = torch.float32, vision: Any = None
) -> LlavaForConditionalGeneration:
    """A LLaVA with random weights, so large that attention is peaked."""
    vision = vision or CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=56,
        patch_size=14,
    )
    torch.manual_seed(1)
    config = LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=VOCAB - 1,
        tie_word_embeddings=text.tie_word_embeddings,
    )
    model = LlavaForConditionalGeneration(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 2:
                parameter.normal_(std=1.2 / parameter.shape[1] ** 0.5)
            elif name.endswith("bias"):
                parameter.normal_(std=0.3)
            else:
                parameter.normal_(1.0, 0.2)
    converted: LlavaForConditionalGeneration = model.to(dtype)
    return converted


class Driver:
    """Runs a decoder over sequences whose blocks are picked by hand."""

    def __init__(self, model: LlavaForConditionalGeneration, **options: Any) -> None:
        self.embed = model.get_input_embeddings()
        decoder = make_decoder(model, ReferenceAttention(), **options)
        assert isinstance(decoder, Decoder)
        self.decoder = decoder
        self.cache = KVCache(decoder.kv_shape, BLOCKS, torch.device("cpu"))

    @torch.inference_mode()
    def step(
        self, shares: Sequence[tuple[Tensor, int, int, Sequence[int]]], outputs: Sequence[int]
    ) -> Tensor:
        """Compute tokens `past` to `end` of sequences, and logits of the last `outputs` of each."""
        sequences: list[SequenceRows] = []
        ending: list[SequenceRows] = []
        positions: list[int] = []
        slots: list[int] = []
        output_rows: list[int] = []
        for (_, past, end, blocks), count in zip(shares, outputs, strict=True):
            starts = [block * BLOCK_SIZE for block in blocks]
            sequences.append(SequenceRows(len(positions), end - past, past, starts))
            positions += range(past, end)
            slots += [starts[i // BLOCK_SIZE] + i % BLOCK_SIZE for i in range(past, end)]
            if count:
                ending.append(SequenceRows(len(output_rows), count, end - count, starts))
                output_rows += range(len(positions) - count, len(positions))
        attention = self.decoder.attention
        step = StepInputs(
            positions=torch.tensor(positions),
            write=torch.tensor(slots),
            plan=attention.plan(sequences, BLOCK_SIZE),
            output_rows=torch.tensor(output_rows, dtype=torch.long),
            output_plan=attention.plan(ending, BLOCK_SIZE),
            cache=self.cache,
        )
        ids = torch.cat([tokens[past:end] for tokens, past, end, _ in shares])
        logits: Tensor = self.decoder(self.embed(ids), step)
        return logits


def _ids(count: int, seed: int = 0) -> Tensor:
    return torch.randint(VOCAB - 1, (count,), generator=torch.Generator().manual_seed(seed))


@torch.inference_mode()
def _expected(model: LlavaForConditionalGeneration, ids: Tensor) -> Tensor:
    logits: Tensor = model(input_ids=ids[None], use_cache=False).logits[0]
    return logits


@pytest.mark.parametrize("family", FAMILIES)
def test_prompt_and_next_tokens_equal_transformers(family: str) -> None:
    model, ids = _model(FAMILIES[family]), _ids(150)
    expected = _expected(model, ids)
    driver = Driver(model)
    blocks = [7, 8, 9, 10, 11]
    prompt = driver.step([(ids, 0, 140, blocks)], [140])
    assert torch.allclose(prompt, expected[:140], atol=1e-4)
    for end in range(141, 151):
        logits = driver.step([(ids, end - 1, end, blocks)], [1])
        assert torch.allclose(logits, expected[end - 1 : end], atol=1e-4)


@pytest.mark.parametrize("family", ["llama, grouped queries", "mistral, sliding window", "phi3"])
def test_pieces_of_a_prompt_equal_the_whole(family: str) -> None:
    model, ids = _model(FAMILIES[family]), _ids(130)
    expected = _expected(model, ids)
    driver = Driver(model)
    blocks = [3, 20, 4, 5, 30]  # scattered
    rng = random.Random(0)
    past = 0
    while past < 130:
        end = min(130, past + rng.choice([1, 2, 31, 40]))
        count = rng.randint(0, end - past)
        logits = driver.step([(ids, past, end, blocks)], [count])
        assert logits.shape == (count, VOCAB)
        assert torch.allclose(logits, expected[end - count : end], atol=1e-4)
        past = end


@pytest.mark.parametrize("family", ["llama", "qwen2", "mistral, sliding window"])
def test_sequences_that_share_a_prefix_equal_separate_ones(family: str) -> None:
    model = _model(FAMILIES[family])
    common = _ids(160)
    sequences = [torch.cat([common, _ids(9 + i, seed=i + 1)]) for i in range(4)]
    sequences.append(_ids(50, seed=9))
    expected = [_expected(model, ids) for ids in sequences]
    driver = Driver(model)
    shared = [1, 2, 3, 4, 5]
    blocks = [[*shared, 10 + i] for i in range(4)] + [[6, 7]]
    driver.step([(common, 0, 160, shared)], [0])
    past = [160] * 4 + [0]
    shares = [(ids, past[i], len(ids) - 4, blocks[i]) for i, ids in enumerate(sequences)]
    logits = driver.step(shares, [1] * 5)
    assert torch.allclose(logits, torch.stack([e[-5] for e in expected]), atol=1e-4)
    for left in range(4, 0, -1):  # all of them decode, two at first beside a piece of a prompt
        shares = [
            (ids, len(ids) - left, len(ids) - left + 1, blocks[i])
            for i, ids in enumerate(sequences)
        ]
        logits = driver.step(shares, [1] * 5)
        assert torch.allclose(logits, torch.stack([e[-left] for e in expected]), atol=1e-4)


def test_single_tokens_beside_a_prompt_equal_separate_ones() -> None:
    model = _model(FAMILIES["qwen2"])
    first, second = _ids(90), _ids(70, seed=1)
    expected = [_expected(model, ids) for ids in (first, second)]
    driver = Driver(model)
    driver.step([(first, 0, 88, [0, 1, 2])], [0])
    logits = driver.step([(second, 0, 70, [4, 5, 6]), (first, 88, 89, [0, 1, 2])], [1, 1])
    assert torch.allclose(logits, torch.stack([expected[1][69], expected[0][88]]), atol=1e-4)


@pytest.mark.parametrize("family", ["llama", "llama, grouped queries", "qwen2", "phi3"])
def test_bfloat16_is_no_farther_from_float32_than_transformers_is(family: str) -> None:
    ids = _ids(150)
    text = FAMILIES[family]
    model = _model(text, torch.bfloat16)
    theirs = _expected(model, ids).float()
    exact = _expected(_model(text, torch.bfloat16).float(), ids)
    driver = Driver(model)
    blocks = [0, 1, 2, 3, 4]
    logits = [driver.step([(ids, 0, 130, blocks)], [130])]
    logits += [driver.step([(ids, i, i + 1, blocks)], [1]) for i in range(130, 150)]
    ours = torch.cat(logits)
    assert ours.dtype == torch.bfloat16
    assert (ours.float() - exact).norm() < (theirs - exact).norm()


@pytest.mark.parametrize("bits", ["8bit", "4bit"])
@pytest.mark.parametrize("family", ["llama", "qwen2", "phi3"])
def test_quantization_covers_the_text_model_alone(family: str, bits: str) -> None:
    driver = Driver(model := _model(FAMILIES[family], torch.bfloat16), quantization=bits)
    kinds = [type(m) for m in driver.decoder.modules()]
    # A layer has four matrices, the last one a query of its own; the head always has 8 bit.
    body = Int4Linear if bits == "4bit" else Int8Linear
    assert kinds.count(body) == 3 * 4 + 1 + (bits == "8bit")
    assert kinds.count(Int8Linear) + kinds.count(Int4Linear) == 3 * 4 + 2
    assert nn.Linear not in kinds
    assert isinstance(model.lm_head, Int8Linear)
    whole = [*model.model.vision_tower.modules(), *model.model.multi_modal_projector.modules()]
    assert not [module for module in whole if isinstance(module, Int8Linear | Int4Linear)]
    assert [module for module in whole if isinstance(module, BFloat16Linear | nn.Linear)]


@pytest.mark.parametrize(("bits", "error"), [("8bit", 0.05), ("4bit", 0.45)])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_quantized_logits_are_near(bits: Quantization, error: float, dtype: torch.dtype) -> None:
    if lacking := missing(bits):
        pytest.skip(f"this CPU lacks {lacking}")
    ids = _ids(100)
    expected = _expected(_model(FAMILIES["llama"], torch.bfloat16).float(), ids)
    driver = Driver(_model(FAMILIES["llama"], torch.bfloat16).to(dtype), quantization=bits)
    prompt = driver.step([(ids, 0, 80, [0, 1, 2, 3])], [80])
    tokens = [driver.step([(ids, i, i + 1, [0, 1, 2, 3])], [1]) for i in range(80, 100)]
    for logits, exact in ((prompt, expected[:80]), (torch.cat(tokens), expected[80:])):
        assert (logits.float() - exact).norm() < error * exact.norm()


def test_layers_are_used_up() -> None:
    model = _model(FAMILIES["llama"])
    make_decoder(model, ReferenceAttention())
    assert all(isinstance(layer, nn.Identity) for layer in model.model.language_model.layers)


@pytest.mark.skipif(not is_usable(BFloat16Linear), reason="the processor has no bfloat16")
@pytest.mark.parametrize("vision", [CLIPVisionConfig, SiglipVisionConfig])
def test_vision_tower_and_projector_are_packed(vision: Any) -> None:
    tower = vision(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=56,
        patch_size=14,
    )
    model = _model(FAMILIES["llama"], torch.bfloat16, tower)
    pixels = torch.randn(2, 3, 56, 56).bfloat16()
    with torch.inference_mode():
        expected = model.model.vision_tower(pixels).last_hidden_state
        make_decoder(model, ReferenceAttention())
        assert torch.equal(model.model.vision_tower(pixels).last_hidden_state, expected)
    packed = [m for m in model.model.vision_tower.modules() if isinstance(m, BFloat16Linear)]
    assert len(packed) >= 2 * 6
    assert isinstance(model.model.multi_modal_projector.linear_1, BFloat16Linear)


@pytest.mark.parametrize(
    ("config", "supported"),
    [
        *((config, True) for config in FAMILIES.values()),
        (LlamaConfig(rope_parameters={"rope_type": "dynamic", "factor": 2.0}), False),
    ],
)
def test_supported_are_configurations_with_angles_of_positions(
    config: Any, supported: bool
) -> None:
    assert is_supported(config) is supported
