"""Go on from a model's exported files rather than from a training's checkpoints.

A folder of :func:`~llava_tools.train.export.export` goes in; two checkpoints come out, from which
:mod:`~llava_tools.train.widen` continues the eye and the language model. Heads that guided the eye
are not among the files, and are made anew.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from torch import Tensor
from transformers import LlavaForConditionalGeneration

from . import tiny
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


def _grown(name: str, fresh: Tensor, old: dict[str, Tensor]) -> Tensor:
    """An old weight in the new model's shape; further heads have fresh rows, and say nothing."""
    known, grown = old[name], fresh.clone()
    if "o_proj" in name:
        grown.zero_()
    grown[tuple(slice(size) for size in known.shape)] = known
    return grown
