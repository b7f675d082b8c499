"""Writes stand-ins of published checkpoints: their files, with random weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import save_file
from transformers import LlavaConfig, LlavaForConditionalGeneration

from tests.families import reference
from tests.families.loadable import Loadable, Names
from tests.families.vocabularies import VOCABULARIES, Vocabulary

Weights = dict[str, torch.Tensor]

#: Where the parts of the model stand in files, by the release.
_PREFIXES: Mapping[Names, Mapping[str, str]] = {
    "2023": {
        "lm_head.": "language_model.lm_head.",
        "model.language_model.": "language_model.model.",
        "model.multi_modal_projector.": "multi_modal_projector.",
        "model.vision_tower.": "vision_tower.vision_model.",
    },
    "v5": {
        "lm_head.": "language_model.lm_head.",
        "model.language_model.": "language_model.model.",
        "model.multi_modal_projector.": "multi_modal_projector.",
        "model.vision_tower.": "vision_tower.",
    },
    "memory": {
        "lm_head.": "lm_head.",
        "model.language_model.": "model.language_model.",
        "model.multi_modal_projector.": "model.multi_modal_projector.",
        "model.vision_tower.": "model.vision_tower.vision_model.",
    },
}
#: Rank of the adapter.
_RANK = 4
#: Tokens of the answer that ends early, and the image that it is about.
_LENGTH = 5
SIZE, COLOR = (90, 40), (200, 30, 128)


def write(row: Loadable, folder: Path, seed: int = 0) -> LlavaForConditionalGeneration:
    """Write the stand-in of a checkpoint and return its model, which is never read from files.

    The model is in float32, with the values that the files hold in the row's data type.
    """
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = VOCABULARIES[row.vocabulary]()
    config = _with_ids(row.config, vocabulary)
    config["image_token_index"] = vocabulary.image_id
    config["text_config"]["vocab_size"] = vocabulary.padded_size
    model = random_model(config, getattr(torch, row.dtype), seed)
    whole = folder / "base" if row.storage == "adapter" else folder
    whole.mkdir(exist_ok=True)
    _write_files(row, whole, config, vocabulary)
    if not config["text_config"].get("tie_word_embeddings"):
        _end_early(row, whole, model, vocabulary)
    _write_weights(row, whole, model)
    if row.storage == "adapter":
        _write_adapter(folder, whole, model, seed)
    return model


def _end_early(
    row: Loadable, folder: Path, model: LlavaForConditionalGeneration, vocabulary: Vocabulary
) -> None:
    """Let the model end its answer to the prompt with an image after a few tokens.

    The token that ends a turn becomes a little likelier than the answer's `_LENGTH`th token.
    """
    prompt, image = row.published.one_image, Image.new("RGB", SIZE, COLOR)
    answer = reference.answer(row, folder, model, prompt, [image], _LENGTH)
    matrix = model.lm_head.weight
    with torch.no_grad():
        likelier = 1.05 * matrix[answer[-1]]
        matrix[vocabulary.id(row.published.ends[0])] = likelier.to(getattr(torch, row.dtype))


def random_model(
    config: Mapping[str, Any], dtype: torch.dtype, seed: int
) -> LlavaForConditionalGeneration:
    """Return a model with weights so large that rounding does not change the likeliest token."""
    torch.manual_seed(seed)
    model: LlavaForConditionalGeneration = LlavaForConditionalGeneration(
        LlavaConfig.from_dict(dict(config))
    ).float()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=1.5 / parameter.shape[-1] ** 0.5)
            parameter.copy_(parameter.to(dtype))
    model.eval()
    return model


def _with_ids(value: Any, vocabulary: Vocabulary) -> Any:
    """Return a configuration in which the texts of tokens are their ids."""
    if not isinstance(value, Mapping):
        return value
    return {
        name: _ids(item, vocabulary) if name.endswith("_token_id") else _with_ids(item, vocabulary)
        for name, item in value.items()
    }


def _ids(value: Any, vocabulary: Vocabulary) -> Any:
    if isinstance(value, list):
        return [_ids(item, vocabulary) for item in value]
    return vocabulary.id(value) if isinstance(value, str) else value


def _write_files(
    row: Loadable, folder: Path, config: Mapping[str, Any], vocabulary: Vocabulary
) -> None:
    vocabulary.write(folder, row.template)
    for name, content in {"config.json": config, **row.files}.items():
        (folder / name).write_text(json.dumps(content, indent=2), encoding="utf-8")
    if row.jinja is not None:
        (folder / "chat_template.jinja").write_text(row.jinja, encoding="utf-8")


def _write_weights(row: Loadable, folder: Path, model: LlavaForConditionalGeneration) -> None:
    weights = named(model, row.names, getattr(torch, row.dtype))
    if row.storage == "bin":
        torch.save(weights, folder / "pytorch_model.bin")
    elif row.storage == "shards":
        _write_shards(folder, weights)
    else:
        save_file(weights, folder / "model.safetensors", {"format": "pt"})


def named(model: LlavaForConditionalGeneration, names: Names, dtype: torch.dtype) -> Weights:
    """Return the weights of a model by their names in a release's files."""
    text: Any = model.config.text_config
    weights: Weights = {}
    for name, tensor in model.state_dict().items():
        if text.tie_word_embeddings and name.startswith("lm_head."):
            continue
        prefix = next(prefix for prefix in _PREFIXES[names] if name.startswith(prefix))
        weights[_PREFIXES[names][prefix] + name.removeprefix(prefix)] = tensor.to(dtype).clone()
    return weights


def _write_shards(folder: Path, weights: Weights) -> None:
    half = len(weights) // 2
    names = list(weights)
    where: dict[str, str] = {}
    for number, part in enumerate((names[:half], names[half:]), start=1):
        file = f"model-{number:05}-of-00002.safetensors"
        save_file({name: weights[name] for name in part}, folder / file, {"format": "pt"})
        where |= dict.fromkeys(part, file)
    size = sum(tensor.nbytes for tensor in weights.values())
    index = {"metadata": {"total_size": size}, "weight_map": where}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")


def _write_adapter(
    folder: Path, base: Path, model: LlavaForConditionalGeneration, seed: int
) -> None:
    """Write a LoRA of the attention's query and value projections, and merge it into the model."""
    generator = torch.Generator().manual_seed(seed + 1)
    weights: Weights = {}
    with torch.no_grad():
        for name, module in model.named_modules():
            if not name.startswith("model.language_model.") or name[-6:] not in (
                "q_proj",
                "v_proj",
            ):
                continue
            matrix: Any = module
            down = torch.randn(_RANK, matrix.in_features, generator=generator)
            up = torch.randn(matrix.out_features, _RANK, generator=generator) / 8
            matrix.weight += 2.0 * up @ down
            # PEFT's names of the models of transformers 4.36 to 4.51
            inner = "language_model.model." + name.removeprefix("model.language_model.")
            weights[f"base_model.model.{inner}.lora_A.weight"] = down
            weights[f"base_model.model.{inner}.lora_B.weight"] = up
    save_file(weights, folder / "adapter_model.safetensors", {"format": "pt"})
    settings = {
        "base_model_name_or_path": str(base),
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "lora_alpha": 2 * _RANK,
        "lora_dropout": 0.05,
        "modules_to_save": None,
        "peft_type": "LORA",
        "r": _RANK,
        "target_modules": r".*language_model.*\.(q_proj|v_proj)",
        "task_type": "CAUSAL_LM",
    }
    (folder / "adapter_config.json").write_text(json.dumps(settings, indent=2), encoding="utf-8")
