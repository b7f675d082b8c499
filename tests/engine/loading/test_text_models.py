"""Every language model that `inspect` admits runs in the engine, with the tokens of `generate`."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from transformers import CONFIG_MAPPING, LlavaConfig, LlavaForConditionalGeneration

from llava_tools import Message
from llava_tools.core.outputs import collect
from llava_tools.core.requests import Request, SamplingParams
from llava_tools.engine import load_engine
from llava_tools.engine.loading.dimensions import TEXT_MODELS
from llava_tools.images import open_image
from llava_tools.options import EngineOptions
from tests.checkpoints import SMALL, config, llama_like_tokenizer, write_processors
from tests.engine.test_equality import NEW_TOKENS, Reference

#: Sizes that many classes share; `num_experts` and the like are those of mixtures of experts.
_SIZES: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 160,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 512,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
    "num_experts": 4,
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 64,
    "shared_expert_intermediate_size": 64,
}
_NO_GROUPS = {"persimmon": {"num_key_value_heads": 4}}


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(TEXT_MODELS))
def test_language_models_have_the_tokens_of_generate(kind: str, tmp_path: Path) -> None:
    tokenizer = llama_like_tokenizer()
    sizes = {**_SIZES, **_NO_GROUPS.get(kind, {}), "vocab_size": len(tokenizer)}
    like = config(len(tokenizer), tokenizer.convert_tokens_to_ids("<image>"))
    torch.manual_seed(0)
    model = LlavaForConditionalGeneration(
        LlavaConfig(
            vision_config=like.vision_config,
            text_config=CONFIG_MAPPING[kind](**sizes),
            image_token_index=like.image_token_index,
            image_seq_length=SMALL.image_tokens,
        )
    ).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=1.5 / parameter.shape[-1] ** 0.5)
    model.save_pretrained(tmp_path)
    # SDPA has no softcaps and no sinks; some releases leave them out without a word.
    model.model.language_model.set_attn_implementation("eager")
    write_processors(tmp_path, tokenizer, SMALL.image)
    image = open_image(Image.effect_noise((60, 40), 50).convert("RGB"))
    conversations = [
        (Message("user", (image, "What is it?")),),
        (Message("user", ("Describe the image.",)),),
    ]
    options = EngineOptions(str(tmp_path), device="cpu", dtype="float32", conversation="vicuna_v1")
    with closing(load_engine(options)) as engine:
        reference = Reference(model, engine)
        for messages in conversations:
            stream = engine.stream(Request(messages, SamplingParams(max_tokens=NEW_TOKENS)))
            assert list(collect(stream, "x").token_ids) == reference.answer(messages)
