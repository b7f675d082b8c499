"""The two stages of LLaVA 1.5 on a user's own data, as LLaVA itself was trained.

`align` makes a LLaVA of a vision tower and a language model: it trains the projector between them
on captions. `tune` trains the language model and the projector on conversations.

Input: LLaVA's conversation JSON and a folder of images (`records`). Output: a checkpoint in the
layout of the one that it starts from (`merge`), which `Llava` loads. In between, `batch_sampler`
groups records into batches, `dataset` turns them into tokens, labels and pixels, `parameters`
selects the weights to train, `trainer` runs the steps, `checkpoint` saves them so that a killed
run resumes, and `main` calls all of these in order and plots the losses (`loss_plot`). Prompts,
image preprocessing and loading are the engine's own. `options` holds all settings.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from llava_tools.errors import escape_line, require
from llava_tools.finetune.options import AlignOptions, StageOptions, TuneOptions

__all__ = ["AlignOptions", "TuneOptions", "align", "tune"]


def write_progress(line: str) -> None:
    """Write a line to stderr."""
    sys.stderr.write(f"{escape_line(line)}\n")


def align(options: AlignOptions, show: Callable[[str], None] = write_progress) -> float:
    """Make a LLaVA of a vision tower and a language model, and write it to `options.out`.

    See `tune` for progress, resuming, processes, the result and errors.
    """
    return _run(options, show)


def tune(options: TuneOptions, show: Callable[[str], None] = write_progress) -> float:
    """Tune a model and write the tuned checkpoint to `options.out`.

    Resumes a killed run that had the same options. Under `accelerate launch`, each process trains
    on its part of every batch.

    Args:
        options: All settings.
        show: Gets each line of the progress; by default it goes to stderr.

    Returns:
        The mean loss of the last steps (a tenth of them, 20 at most), in nats per target token.

    Raises:
        MissingExtraError: A package of the extra `train` is not installed.
        RequestError: The data is wrong, or `out` or `work` cannot be used.
        ImageError: An image cannot be used.
        ModelError: The model cannot be loaded, or its weights cannot be written back.
        TrainingError: The loss is not finite, or memory ran out.
    """
    return _run(options, show)


def _run(options: StageOptions, show: Callable[[str], None]) -> float:
    require(
        "torch", "transformers", "accelerate", "peft", "safetensors", "matplotlib", extra="train"
    )
    from llava_tools.finetune.main import run

    return run(options, show)
