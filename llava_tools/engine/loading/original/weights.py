"""The weights of the original layout under the names of the llava-hf layout.

Tensors stay on disk until they are written. One output file at a time is in memory.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import torch
from huggingface_hub import split_torch_state_dict_into_shards
from safetensors.torch import save_file
from transformers import LlavaConfig, LlavaForConditionalGeneration

from llava_tools.engine.loading.config import valid_config
from llava_tools.engine.loading.weights import check_faults
from llava_tools.errors import ModelError

#: Prefixes of names in the original layout and in the released files of the llava-hf layout.
_PREFIXES = {
    "model.vision_tower.vision_tower.": "vision_tower.",
    "model.mm_projector.0.": "multi_modal_projector.linear_1.",
    "model.mm_projector.2.": "multi_modal_projector.linear_2.",
    "model.": "language_model.model.",
    "lm_head.": "language_model.lm_head.",
}
#: Prefixes of names in transformers' modules and in the released files of the llava-hf layout.
_MODULE_PREFIXES = {
    "model.language_model.": "language_model.model.",
    "model.multi_modal_projector.": "multi_modal_projector.",
    "model.vision_tower.vision_model.": "vision_tower.vision_model.",
    "model.vision_tower.": "vision_tower.vision_model.",
    "lm_head.": "language_model.lm_head.",
}
_EMBEDDINGS = ("language_model.model.embed_tokens.weight", "language_model.lm_head.weight")
#: Buffers that are computed, and LLaVA-NeXT's parameter, which no model without it reads.
_UNUSED = (".rotary_emb.inv_freq", ".position_ids", "model.image_newline")
_TOWER = "vision_tower.vision_model."
_MAX_FILE = "2GB"
_T = TypeVar("_T")


def rename(weights: Mapping[str, _T]) -> dict[str, _T]:
    """Return weights of the original layout, or updates, by the names of the llava-hf layout."""
    return {
        _rename(name, _PREFIXES): value
        for name, value in weights.items()
        if not name.endswith(_UNUSED)
    }


def has_vision_tower(weights: Mapping[str, torch.Tensor]) -> bool:
    """Return whether renamed weights have a vision tower."""
    return any(name.startswith(_TOWER) for name in weights)


def vision_tower(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the vision tower of a CLIP, or a tower alone, under the llava-hf layout's names."""
    prefix = "vision_model."
    if not any(name.startswith(prefix) for name in weights):
        prefix = ""
    return {
        _TOWER + name.removeprefix(prefix): tensor
        for name, tensor in weights.items()
        if name.startswith(prefix) and not name.endswith(_UNUSED)
    }


def embeddings(weights: Mapping[str, torch.Tensor], name: str) -> torch.Tensor:
    """Return the embeddings of tokens [tokens, width] of the model `name`.

    Raises:
        ModelError: There are none.
    """
    if (found := weights.get(_EMBEDDINGS[0])) is not None and found.dim() == 2:
        return found
    raise ModelError(
        f"The weights of {name!r} have no embeddings of tokens (model.embed_tokens.weight).",
        "Name a checkpoint in LLaVA's original layout, like 'liuhaotian/llava-v1.5-7b'.",
    )


def check(weights: Mapping[str, torch.Tensor], config: LlavaConfig, name: str) -> None:
    """Check that renamed weights are all of those that a configuration needs.

    Embeddings may have fewer rows than the vocabulary; `write` adds them.

    Raises:
        ModelError: Some are missing, unexpected or of the wrong shape; the message calls the model
            `name`.
    """
    with valid_config(name), torch.device("meta"):
        modules = LlavaForConditionalGeneration(config).state_dict()
    shapes = {_rename(key, _MODULE_PREFIXES): tensor.shape for key, tensor in modules.items()}
    if config.tie_word_embeddings:
        shapes.pop("language_model.lm_head.weight")
    rows = embeddings(weights, name).shape[0]
    for key in shapes.keys() & set(_EMBEDDINGS):
        shapes[key] = torch.Size([rows, shapes[key][1]])
    faults: dict[str, set[str]] = {
        "missing": shapes.keys() - weights.keys(),
        "unexpected": weights.keys() - shapes.keys(),
        "of the wrong shape": {
            key for key in shapes.keys() & weights.keys() if shapes[key] != weights[key].shape
        },
    }
    check_faults(faults, repr(name), "config.json")


def count_bytes(weights: Mapping[str, torch.Tensor], dtype: torch.dtype, vocab_size: int) -> int:
    """Return the bytes that `write` will write."""
    numbers = sum(
        tensor[:1].numel() * vocab_size if name in _EMBEDDINGS else tensor.numel()
        for name, tensor in weights.items()
    )
    return numbers * dtype.itemsize


def write(
    weights: Mapping[str, torch.Tensor],
    updates: Mapping[str, Callable[[torch.Tensor], torch.Tensor]],
    folder: Path,
    *,
    dtype: torch.dtype,
    vocab_size: int,
    progress: Callable[[int, int], None],
) -> None:
    """Write renamed weights as safetensors files of 2 GB at most, with an index.

    Args:
        weights: Passed `check`.
        updates: Compute some of them anew.
        folder: Exists.
        dtype: Of the files.
        vocab_size: Rows of the embeddings.
        progress: Called with the number of files written, and of all.
    """
    split = split_torch_state_dict_into_shards(
        dict(weights), filename_pattern="model{suffix}.safetensors", max_shard_size=_MAX_FILE
    )
    for done, (file, names) in enumerate(split.filename_to_tensors.items(), start=1):
        tensors = {}
        for name in names:
            tensor = updates[name](weights[name]) if name in updates else weights[name]
            tensor = _pad(tensor, vocab_size) if name in _EMBEDDINGS else tensor
            tensors[name] = tensor.to(dtype).contiguous()
        save_file(tensors, folder / file, metadata={"format": "pt"})
        progress(done, len(split.filename_to_tensors))
    if split.is_sharded:
        index = {
            "metadata": {"total_size": count_bytes(weights, dtype, vocab_size)},
            "weight_map": split.tensor_to_filename,
        }
        path = folder / "model.safetensors.index.json"
        path.write_text(json.dumps(index, indent=2, sort_keys=True), encoding="utf-8")


def _pad(embeddings: torch.Tensor, rows: int) -> torch.Tensor:
    """Add rows that are the mean of the others [tokens, width].

    The logit of such a row is the mean of all logits, so that its token is never the likeliest.
    """
    missing = rows - embeddings.shape[0]
    mean = embeddings.float().mean(dim=0, keepdim=True).to(embeddings.dtype)
    return torch.cat([embeddings, mean.expand(missing, -1)]) if missing else embeddings


def _rename(name: str, prefixes: Mapping[str, str]) -> str:
    for prefix, new in prefixes.items():
        if name.startswith(prefix):
            return new + name.removeprefix(prefix)
    return name
