"""The names in a LoRA adapter, mapped to those of today's modules.

Names of LLaVA's modules changed between releases of transformers; an adapter has those of the
release that it was trained with, and its configuration has patterns for them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

import torch

from llava_tools.errors import ModelError

if TYPE_CHECKING:
    from peft import LoraConfig

#: What PEFT puts before the name of a module.
_PREFIX = "base_model.model."
#: Beginnings of names in other releases of transformers, and in language models alone, and today's.
_RENAMES = (
    ("language_model.model.", "model.language_model."),
    ("language_model.lm_head", "lm_head"),
    ("language_model.", "model.language_model."),
    ("multi_modal_projector", "model.multi_modal_projector"),
    ("vision_tower.vision_model.", "model.vision_tower."),
    ("vision_tower", "model.vision_tower"),
    ("model.vision_tower.vision_model.", "model.vision_tower."),
    ("model.layers.", "model.language_model.layers."),
    ("model.embed_tokens", "model.language_model.embed_tokens"),
)
#: A weight of LoRA: its module, and the rest of its name.
_LORA = re.compile(r"(.+?)\.(lora_.+)")


def modernize(
    config: LoraConfig, weights: Mapping[str, torch.Tensor], modules: Collection[str], adapter: str
) -> dict[str, torch.Tensor]:
    """Return an adapter's weights by the names that PEFT gives them on today's modules.

    The configuration is changed to name exactly the modules that they belong to.

    Args:
        config: Of the adapter.
        weights: By their names in its file.
        modules: Names of the modules of its base model.
        adapter: Its name, for errors.

    Raises:
        ModelError: A weight belongs to no module of the base model.
    """
    renamed = {key: _rename(key.removeprefix(_PREFIX), modules, adapter) for key in weights}
    _adjust(config, weights, renamed)
    if config.modules_to_save:
        config.modules_to_save = [_saved(entry, modules) for entry in config.modules_to_save]
    return {_PREFIX + renamed[key]: weights[key] for key in weights}


def _rename(name: str, modules: Collection[str], adapter: str) -> str:
    """Return the name of a weight on today's modules."""
    if _module(name) not in modules:
        for old, new in _RENAMES:
            renamed = new + name.removeprefix(old)
            if name.startswith(old) and _module(renamed) in modules:
                return renamed
        raise ModelError(
            f"The adapter {adapter!r} was made for another model: its base model has no module "
            f"{_module(name)!r}.",
            "Check base_model_name_or_path in adapter_config.json.",
        )
    return name


def _module(weight: str) -> str:
    match = _LORA.fullmatch(weight)
    return match[1] if match else weight.rpartition(".")[0].removesuffix(".base_layer")


def _adjust(
    config: LoraConfig,
    weights: Mapping[str, torch.Tensor],
    renamed: Mapping[str, str],
) -> None:
    """Replace the patterns for modules in a configuration by the modules that have weights."""
    from peft.utils.other import get_pattern_key

    patterns = config.alpha_pattern or {}
    ranks: dict[str, int] = {}
    alphas: dict[str, float] = {}
    for key, new in renamed.items():
        if not (match := _LORA.fullmatch(new)):
            continue
        old = _module(key.removeprefix(_PREFIX))
        pattern = get_pattern_key(list(patterns), old)
        alphas[match[1]] = patterns.get(pattern, config.lora_alpha)
        if match[2].startswith(("lora_A", "lora_embedding_A")):
            ranks[match[1]] = weights[key].shape[0]
    config.target_modules = list(alphas)
    config.exclude_modules = config.layers_to_transform = config.layers_pattern = None
    config.rank_pattern, config.alpha_pattern = ranks, alphas


def _saved(entry: str, modules: Collection[str]) -> str:
    """Return an entry of `modules_to_save`, the end of a module's name, by today's names."""
    if any(module == entry or module.endswith(f".{entry}") for module in modules):
        return entry
    names = (new + entry.removeprefix(old) for old, new in _RENAMES if entry.startswith(old))
    return next((name for name in names if name in modules), entry)
