"""LoRA adapters in PEFT's format, merged into the base model that they name.

PEFT only warns of weights that fit no module; here each one must land.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, cast

import torch
from transformers import LlavaConfig, LlavaForConditionalGeneration

from llava_tools.engine.loading.adapter_base import MERGE_YOURSELF
from llava_tools.engine.loading.adapter_names import modernize
from llava_tools.engine.loading.checkpoint_files import ADAPTER_FILES, WeightFiles
from llava_tools.engine.loading.mapped_weights import map_weights
from llava_tools.engine.loading.source import Source
from llava_tools.engine.loading.weights import check_faults
from llava_tools.errors import ModelError, require

if TYPE_CHECKING:
    from peft import LoraConfig, PeftModel

#: Fields of an adapter's configuration that change more than the weights of modules.
_UNSUPPORTED = (
    "target_parameters", "trainable_token_indices", "layer_replication", "alora_invocation_tokens"
)  # fmt: skip


@dataclass(frozen=True)
class Adapter:
    """An adapter that fits its base model.

    Attributes:
        name: Of the adapter.
        config: Its configuration, with today's names of modules.
        weights: Its weights, by the names that PEFT gives them on today's modules.
    """

    name: str
    config: LoraConfig
    weights: Mapping[str, torch.Tensor]

    def merge(self, model: LlavaForConditionalGeneration) -> LlavaForConditionalGeneration:
        """Add the adapter to the weights of its base model, in place.

        Raises:
            ModelError: The result has values that are not finite.
        """
        adapted = _apply(model, self.config, self.weights, self.name)
        try:
            merged: Any = adapted.merge_and_unload(safe_merge=True)
        except ValueError as error:
            raise ModelError(
                f"The adapter {self.name!r} cannot be merged: {error}", "Train it again."
            ) from error
        merged.eval().requires_grad_(False)
        return cast(LlavaForConditionalGeneration, merged)


def check_tokenizer(adapter: Source, tokens: int, base: LlavaConfig) -> None:
    """Check that each token of an adapter's tokenizer has an embedding.

    Raises:
        ModelError: The tokenizer has more than the base model.
    """
    more = tokens - int(cast(Any, base.text_config).vocab_size)
    if more > 0:
        raise ModelError(
            f"The tokenizer of the adapter {adapter.name!r} has {more} tokens more than its base "
            "model has embeddings.",
            "Remove the tokenizer's files from it if the prompt does not need them, or merge it "
            "with PEFT, and name the folder of the merged model.",
        )


def read_adapter(adapter: Source, base: LlavaConfig) -> Adapter:
    """Read an adapter and check that it fits its base model, of which no weights are needed.

    Raises:
        MissingExtraError: PEFT is not installed.
        ModelError: The adapter is damaged, needs more than its weights, or was made for another
            model.
    """
    require("peft", extra="train")
    name = adapter.name
    config = _read_config(adapter)
    with torch.device("meta"):
        model = LlavaForConditionalGeneration(base)
    weights = _read_weights(adapter)
    _check_rows(weights, model, name)
    weights = modernize(config, weights, [module for module, _ in model.named_modules()], name)
    _check_ties(config, base, name)
    found = Adapter(name, config, weights)
    trial = copy.deepcopy(config)
    trial.init_lora_weights = False  # initial values may be computed from the base's weights
    try:
        _apply(model, trial, found.weights, name)
    except (LookupError, TypeError, ValueError, RuntimeError) as error:
        lines = [line.strip() for line in str(error).strip().split("\n")]
        raise ModelError(
            f"The adapter {name!r} does not fit its base model: {lines[min(1, len(lines) - 1)]}",
            "Check base_model_name_or_path in adapter_config.json.",
        ) from error
    return found


def _read_weights(adapter: Source) -> dict[str, torch.Tensor]:
    file = next((file for file in ADAPTER_FILES if file in adapter.files), None)
    if file is None:
        raise ModelError(
            f"The adapter {adapter.name!r} has no {' or '.join(ADAPTER_FILES)}.",
            "Export or download the adapter again.",
        )
    adapter.fetch([file])
    return map_weights(adapter.folder, WeightFiles((file,)), adapter.name)


def _read_config(adapter: Source) -> LoraConfig:
    from peft import LoraConfig, PeftConfig

    name, path = adapter.name, adapter.folder / "adapter_config.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    try:
        config = PeftConfig.from_pretrained(str(adapter.folder))
    except (TypeError, ValueError, LookupError) as error:
        raise ModelError(
            f"adapter_config.json of {name!r} is damaged: {error}.", "Export the adapter again."
        ) from error
    if not isinstance(config, LoraConfig):
        raise ModelError(f"The adapter {name!r} is no LoRA.", MERGE_YOURSELF)
    known = {field.name for field in fields(config)}
    newer = [key for key, value in settings.items() if value is True and key not in known]
    unsupported = [field for field in _UNSUPPORTED if getattr(config, field, None)] + newer
    if unsupported:
        raise ModelError(
            f"The adapter {name!r} has {unsupported[0]} in its adapter_config.json, which is not "
            "merged here.",
            MERGE_YOURSELF,
        )
    return config


def _apply(
    model: LlavaForConditionalGeneration,
    config: LoraConfig,
    weights: Mapping[str, torch.Tensor],
    name: str,
) -> PeftModel:
    """Wrap a model in an adapter, and check that all weights of the adapter have landed."""
    from peft import PeftModel, set_peft_model_state_dict

    is_trial = next(model.parameters()).is_meta
    adapted = PeftModel(model, config, low_cpu_mem_usage=is_trial)
    result: Any = set_peft_model_state_dict(adapted, dict(weights), low_cpu_mem_usage=is_trial)
    own = re.compile(r"\.lora_|\.modules_to_save\.")
    faults = {
        "missing": [key for key in result.missing_keys if own.search(key)],
        "unexpected": result.unexpected_keys,
    }
    check_faults(faults, f"the adapter {name!r}", "adapter_config.json")
    return adapted


def _check_rows(
    weights: Mapping[str, torch.Tensor], model: LlavaForConditionalGeneration, name: str
) -> None:
    """Check that an adapter adds no tokens to the vocabulary."""
    rows = cast(Any, model.get_input_embeddings()).weight.shape[0]
    for key, tensor in weights.items():
        is_whole = key.endswith(("embed_tokens.weight", "lm_head.weight"))
        if is_whole and tensor.shape[0] != rows:
            raise ModelError(
                f"The adapter {name!r} changes the vocabulary: it has {tensor.shape[0]} tokens, "
                f"and its base model {rows}.",
                MERGE_YOURSELF,
            )


def _check_ties(config: LoraConfig, base: LlavaConfig, name: str) -> None:
    """Check that no update of the embeddings would change the output layer as well."""
    targets = config.target_modules or ()
    if base.tie_word_embeddings and any(
        module.endswith(("embed_tokens", "lm_head")) for module in targets
    ):
        raise ModelError(
            f"The adapter {name!r} updates embeddings that its base model shares between input and "
            "output, which cannot be merged into one matrix.",
            "Train the adapter without embed_tokens and lm_head.",
        )
