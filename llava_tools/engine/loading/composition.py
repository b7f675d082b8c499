"""A new LLaVA from a vision tower and a language model, with a projector that has learned nothing.

The layout, the vocabulary and the rows of the embeddings are those of the released llava-hf
checkpoints: `<image>` and `<pad>` follow on the language model's own tokens.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import LlavaConfig

from llava_tools.engine.loading.config import read_config, valid_config
from llava_tools.engine.loading.dimensions import TEXT_MODELS
from llava_tools.engine.loading.original import weights
from llava_tools.engine.loading.original.config import vision_config
from llava_tools.engine.loading.original.convert import Conversion, map_source, padded_rows, write
from llava_tools.engine.loading.original.tokenizer import read_tokenizer
from llava_tools.engine.loading.source import Source
from llava_tools.engine.vision_tower import image_tokens
from llava_tools.errors import ModelError

#: The layer of the tower that LLaVA 1.5 reads (scripts/v1_5/pretrain.sh, mm_vision_select_layer).
_FEATURE_LAYER = -2


def compose(vision: Source, language: Source, out: Path, *, seed: int, chat_template: str) -> None:
    """Write a new LLaVA as a checkpoint in the llava-hf layout; `out` appears once it is complete.

    Args:
        vision: A CLIP, or its vision tower alone.
        language: A language model of a kind that the engine runs.
        out: New folder.
        seed: Of the projector's weights, which `torch.nn.Linear` draws as in the official code.
        chat_template: Written if the tokenizer has none and ends answers with `</s>`.

    Raises:
        MissingExtraError: The tokenizer needs the extra `convert`.
        ModelError: A part is of an unsupported kind or not complete, or the disk is too small.
    """
    write(_prepare(vision, language, seed), out, chat_template, _no_progress)


def _prepare(vision: Source, language: Source, seed: int) -> Conversion:
    text = _text_config(language)
    tower = vision_config(vision.folder, vision.name)
    tokenizer = read_tokenizer(language.folder, language.name)
    tensors = weights.rename(map_source(language))
    tensors |= weights.vision_tower(map_source(vision))
    embeddings = weights.embeddings(tensors, language.name)
    tensors |= _projector(tower.hidden_size, text.hidden_size, seed)
    rows = padded_rows(max(embeddings.shape[0], len(tokenizer)))
    text.vocab_size = rows
    with valid_config(language.name):
        config = LlavaConfig(
            text_config=text,
            vision_config=tower,
            image_token_index=tokenizer.get_vocab()["<image>"],
            projector_hidden_act="gelu",
            vision_feature_select_strategy="default",
            vision_feature_layer=_FEATURE_LAYER,
            tie_word_embeddings=bool(text.tie_word_embeddings),
            architectures=["LlavaForConditionalGeneration"],
        )
    config.image_seq_length = image_tokens(config)
    weights.check(tensors, config, language.name)
    return Conversion(
        language, vision, config, tower, rows, tokenizer, tensors, {}, embeddings.dtype
    )


def _text_config(language: Source) -> Any:
    """Return a copy of the language model's configuration."""
    config = copy.deepcopy(read_config(language.folder, language.name))
    if config.model_type not in TEXT_MODELS:
        raise ModelError(
            f"{language.name!r} is a {config.model_type!r} model, not a language model that a "
            "LLaVA is made of.",
            "Name one like 'lmsys/vicuna-7b-v1.5', with its vision tower apart.",
        )
    return config


def _projector(vision: int, language: int, seed: int) -> dict[str, torch.Tensor]:
    """Return the weights of a new projector between towers of these widths."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = {
            "linear_1": nn.Linear(vision, language),
            "linear_2": nn.Linear(language, language),
        }
    return {
        f"multi_modal_projector.{name}.{part}": tensor.detach()
        for name, layer in layers.items()
        for part, tensor in (("weight", layer.weight), ("bias", layer.bias))
    }


def _no_progress(done: int, total: int) -> None:
    pass
