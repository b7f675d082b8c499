"""Go on elsewhere: from a model's exported files, or from what is kept of a training.

A folder of :func:`~llava_tools.train.export.export` goes in; two checkpoints come out, from which
:mod:`~llava_tools.train.widen` continues the eye and the language model. Heads that guided the eye
are not among the files, and are made anew.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import LlavaForConditionalGeneration

from . import tiny
from .checkpoint import write_whole
from .eye import eye_parameters


def begin(folder: Path, work: Path) -> tuple[Path, Path]:
    """Write ``work/tokenizer.json`` and checkpoints of the folder's eye and language model.

    A language model with fewer attention heads than :func:`~.architecture.tiny_config` has is given
    the others, which say nothing yet, so that it answers as before.

    Returns:
        Where the eye's and the language model's checkpoints are.
    """
    work.mkdir(parents=True, exist_ok=True)
    shutil.copy(folder / "tokenizer.json", work / "tokenizer.json")
    loaded = LlavaForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
    old = {name: parameter.detach() for name, parameter in loaded.named_parameters()}
    model = tiny.start(work)
    spoken = {
        name: _grown(f"model.language_model.{name}", parameter.detach(), old)
        for name, parameter in model.model.language_model.named_parameters()
    }
    eye, language = work / "eye-begun.pt", work / "language-begun.pt"
    seen = {name: old[name].clone() for name in eye_parameters(model)}
    torch.save({"average": seen, "heads": {}}, eye)
    torch.save({"weights": spoken}, language)
    return eye, language


def keep(work: Path, out: Path) -> None:
    """Copy what other trainings can begin with: weights in float16, without optimisers' states.

    ``out`` may be another training's folder: ``tune`` joins what is there, and ``eye`` and
    ``language`` go on from its ``eye.pt`` and ``language.pt``.
    """
    out.mkdir(parents=True, exist_ok=True)
    shutil.copy(work / "tokenizer.json", out / "tokenizer.json")
    for name, kept in (("eye", ("average", "heads", "fitted")), ("language", ("weights",))):
        state = torch.load(work / f"{name}.pt", weights_only=True)
        write_whole({key: _half(state[key]) for key in kept if key in state}, out / f"{name}.pt")


def _half(value: Any) -> Any:
    return {name: one.half() for name, one in value.items()} if isinstance(value, dict) else value


def _grown(name: str, fresh: Tensor, old: dict[str, Tensor]) -> Tensor:
    """An old weight in the new model's shape; further heads have fresh rows, and say nothing."""
    known, grown = old[name], fresh.clone()
    if "o_proj" in name:
        grown.zero_()
    grown[tuple(slice(size) for size in known.shape)] = known
    return grown
