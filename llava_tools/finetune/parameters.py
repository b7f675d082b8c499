"""Selects the weights to train: the projector, and in the second stage the language model's.

The language model is trained by LoRA, through peft, on 16-bit or 4-bit weights, or in full. The
vision tower is always frozen. Trained weights are float32 whatever the others are: steps of 2e-5
would be lost in bfloat16.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from transformers import LlavaForConditionalGeneration

from llava_tools.finetune.options import StageOptions, TuneOptions
from llava_tools.finetune.quantized_base import prepare
from llava_tools.finetune.sharding import gather

_PROJECTOR = "multi_modal_projector"
_LANGUAGE_MODEL = "language_model"

WeightUpdate = Callable[[Tensor], Tensor]
"""From an original weight to the trained one, in the original's dtype on the CPU.

All processes call it if the model is split between them.
"""


def select_parameters(model: LlavaForConditionalGeneration, options: StageOptions) -> None:
    """Prepare the model, in place."""
    model.requires_grad_(False)
    trained = _language_parameters(model, options) if isinstance(options, TuneOptions) else []
    if options.learning_rates[1] > 0:
        trained.append(_PROJECTOR)
    for name, parameter in model.named_parameters():
        if any(part in name for part in trained):
            parameter.data = parameter.data.float()
            parameter.requires_grad_(True)
    if options.gradient_checkpointing:
        # Newer releases of transformers deprecate the old name, older ones have no other.
        old_name: Any = model.gradient_checkpointing_enable
        getattr(model, "activation_checkpointing_enable", old_name)({"use_reentrant": False})
    model.train()


def _language_parameters(model: LlavaForConditionalGeneration, options: TuneOptions) -> list[str]:
    """Add LoRA's layers, and return parts of the names of the parameters to train."""
    if options.method == "qlora":
        prepare(model.model.language_model)
    if options.method != "full":
        # The language model's linear layers, without its head.
        linear_layers = [
            name
            for name, module in model.named_modules()
            if isinstance(module, nn.Linear) and _LANGUAGE_MODEL in name
        ]
        torch.manual_seed(options.seed)
        inject_adapter_in_model(
            LoraConfig(
                r=options.rank,
                lora_alpha=options.alpha,  # type: ignore[arg-type]  # a factor, may be a float
                lora_dropout=options.dropout,
                target_modules=linear_layers,
            ),
            model,
        )
        return ["lora_"]
    return [_LANGUAGE_MODEL, "lm_head"]


def make_optimizer(parameters: dict[str, nn.Parameter], options: StageOptions) -> torch.optim.AdamW:
    """Return AdamW with the two learning rates, kept as `peak` in the parameter groups."""
    rate, projector_rate = options.learning_rates
    projector = [p for name, p in parameters.items() if _PROJECTOR in name]
    others = [p for name, p in parameters.items() if _PROJECTOR not in name]
    groups = [{"params": others, "peak": rate}, {"params": projector, "peak": projector_rate}]
    groups = [group for group in groups if group["params"]]
    # `foreach`, the default on CUDA, would hold another copy of all trained weights for a step.
    return torch.optim.AdamW(groups, weight_decay=0.0, foreach=False)


def weight_updates(model: LlavaForConditionalGeneration) -> dict[str, WeightUpdate]:
    """Return the updates of all trained weights, by their names in the original model.

    An update computes its result when it is called, so they can be made before training.
    """
    updates: dict[str, WeightUpdate] = {}
    for name, module in model.named_modules():
        if isinstance(module, LoraLayer):
            updates[f"{name}.weight"] = partial(_add_lora, module)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and "lora_" not in name:
            updates[name] = partial(_replace, parameter)
    return updates


def _add_lora(layer: Any, original: Tensor) -> Tensor:
    low_rank = gather(layer.get_delta_weight("default")).detach().float().cpu()
    return (original.float() + low_rank).to(original.dtype)


def _replace(trained: Tensor, original: Tensor) -> Tensor:
    return gather(trained).detach().to(device="cpu", dtype=original.dtype)
