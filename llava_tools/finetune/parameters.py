"""Which weights learn, and what they have learned: LoRA through peft, or the whole language model.

The projector learns in both; the vision tower in neither, as in LLaVA 1.5's second stage. Weights
that learn are float32 whatever the others are, since steps of 2e-5 would be lost in bfloat16.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import Linear
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import LlavaForConditionalGeneration

from llava_tools.finetune.dataset import Batch
from llava_tools.finetune.labels import IGNORED
from llava_tools.finetune.options import TuneOptions

_PROJECTOR = "multi_modal_projector"
_LANGUAGE = "language_model"

Change = Callable[[Tensor], Tensor]


def choose(model: LlavaForConditionalGeneration, options: TuneOptions) -> dict[str, nn.Parameter]:
    """Make the model ready to learn, in place.

    Returns:
        The parameters that learn, by name, in a fixed order.
    """
    model.requires_grad_(False)
    if options.method == "lora":
        torch.manual_seed(options.seed)
        inject_adapter_in_model(
            LoraConfig(
                r=options.rank,
                lora_alpha=options.alpha,  # type: ignore[arg-type]  # multiplied, never counted
                lora_dropout=options.dropout,
                target_modules=_linears(model),
            ),
            model,
        )
    for name, parameter in model.named_parameters():
        tuned = "lora_" in name if options.method == "lora" else _is_language(name)
        if tuned or (_PROJECTOR in name and options.rates[1] > 0):
            parameter.data = parameter.data.float()
            parameter.requires_grad_(True)
    if options.checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": False})
    model.train()
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def _is_language(name: str) -> bool:
    return _LANGUAGE in name or name.startswith("lm_head")


def _linears(model: nn.Module) -> list[str]:
    """The language model's linear layers; its head is not one of them."""
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and _LANGUAGE in name
    ]


def optimizer(learning: dict[str, nn.Parameter], options: TuneOptions) -> torch.optim.AdamW:
    """Return AdamW with the two learning rates, each kept as `peak` in its group."""
    tuned, projector = options.rates
    groups = [
        {
            "params": [p for n, p in learning.items() if (_PROJECTOR in n) == is_projector],
            "peak": rate,
        }
        for is_projector, rate in ((False, tuned), (True, projector))
    ]
    return torch.optim.AdamW([group for group in groups if group["params"]], weight_decay=0.0)


def summed_loss(model: LlavaForConditionalGeneration, batch: Batch) -> Tensor:
    """Return the cross entropy of all learned tokens together, in nats.

    Logits are computed where something is learned only; all of them would be the largest tensor.
    """
    states = model.model(
        input_ids=batch.ids, attention_mask=batch.seen, pixel_values=batch.pixels, use_cache=False
    ).last_hidden_state
    following = batch.labels[:, 1:]
    learned = following != IGNORED
    logits = model.lm_head(states[:, :-1][learned])
    return cross_entropy(logits.float(), following[learned], reduction="sum")


def changes(model: LlavaForConditionalGeneration) -> dict[str, Change]:
    """Return what became of the weights that the model had before, by their names then."""
    found: dict[str, Change] = {}
    for name, module in model.named_modules():
        if isinstance(module, Linear):
            found[f"{name}.weight"] = partial(_add, module)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and "lora_" not in name:
            found[name] = partial(_replace, parameter)
    return found


def _add(layer: Linear, before: Tensor) -> Tensor:
    """Return the weight with the low-rank change, in its own dtype."""
    change: Tensor = layer.get_delta_weight("default").detach().float().cpu()
    return (before.float() + change).to(before.dtype)


def _replace(after: Tensor, before: Tensor) -> Tensor:
    return after.detach().to(device="cpu", dtype=before.dtype)
