"""A stand-in for the small part of lmms-eval that the plug-in uses, as in its release 0.7."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any


@dataclass
class TokenCounts:
    input_tokens: int | None = None
    output_tokens: int | None = None


@dataclass
class GenerationResult:
    text: Any
    token_counts: TokenCounts | None = None


@dataclass
class Instance:
    """A request: `args` has six elements for tasks of messages, and for others."""

    args: tuple[Any, ...]
    task_name: str = "task"
    doc_id: int = 0
    metadata: dict[str, Any] = field(default_factory=dict)


class lmms:  # noqa: N801 - its name
    is_simple = True

    def __init__(self) -> None:
        self.task_dict: dict[str, Any] = {}
        self.cleaned = 0

    def clean(self) -> None:
        self.cleaned += 1


@dataclass(frozen=True)
class ModelManifest:
    model_id: str
    simple_class_path: str | None = None
    chat_class_path: str | None = None
    aliases: tuple[str, ...] = ()


def modules() -> dict[str, ModuleType]:
    """Return the stand-in's modules by name."""
    contents: dict[str, dict[str, Any]] = {
        "lmms_eval": {},
        "lmms_eval.api": {},
        "lmms_eval.api.instance": {
            "Instance": Instance,
            "GenerationResult": GenerationResult,
            "TokenCounts": TokenCounts,
        },
        "lmms_eval.api.model": {"lmms": lmms},
        "lmms_eval.models": {},
        "lmms_eval.models.registry_v2": {"ModelManifest": ModelManifest},
    }
    made = {}
    for name, values in contents.items():
        made[name] = ModuleType(name)
        made[name].__dict__.update(values)
    return made


def plugin_modules() -> list[str]:
    """Return the names of the plug-in's modules that are imported."""
    return [name for name in sys.modules if name.split(".")[0] == "lmms_eval_llava"]
