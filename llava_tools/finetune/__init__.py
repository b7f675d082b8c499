"""Tuning of a real LLaVA 1.5 on a user's own conversations, the way LLaVA was tuned itself.

The official conversation JSON and a folder of images go in (`records`), a checkpoint in the
layout of the one that it began with comes out (`merge`), which `Llava` loads. Between them:
`labels` says what is learned from a conversation, `batches` who is learned with whom, `material`
brings tokens and pixels, `learning` chooses the weights that learn, `loop` makes the steps,
`memory` keeps them through a kill, `run` does it all in order and plots the losses. Prompt,
images and loading are the engine's own. `options` says what there is to choose.
"""

from __future__ import annotations

from llava_tools.errors import need
from llava_tools.finetune.options import TuneOptions

__all__ = ["TuneOptions", "tune"]


def tune(options: TuneOptions) -> float:
    """Tune a model and write the tuned checkpoint to `options.out`.

    Goes on where an earlier call with the same options was killed. Progress goes to stderr. Under
    `accelerate launch` every process learns its share of each step.

    Returns:
        The mean loss of the last steps (a tenth of them, 20 at most), in nats a learned token.

    Raises:
        MissingExtraError: A package of the extra `train` is not installed.
        RequestError: The data is wrong, or the folders are not free.
        ImageError: An image cannot be used.
        ModelError: The model cannot be had, or is laid out in a way that cannot be written again.
        TrainingError: The loss is no number any more, or memory ran out.
    """
    need("torch", "transformers", "accelerate", "peft", "safetensors", "matplotlib", extra="train")
    from llava_tools.finetune.main import run

    return run(options)
