"""`llava-tools train`: fine-tunes a LLaVA on the user's own conversations."""

from __future__ import annotations

import argparse
from typing import Any

from llava_tools.cli.options import ENGINE_HELP, LOAD_HELP, add_command, add_flags, get_flags
from llava_tools.finetune import TuneOptions, tune


def add(commands: Any) -> None:
    """Add the command to the subparsers of `llava-tools`."""
    train = add_command(
        commands,
        "train",
        _train,
        "tune a LLaVA on your own conversations",
        ("train --model 7b --data conversations.json --images photos/ --out tuned/",),
        "Tune a LLaVA 1.5 on conversations in LLaVA's JSON. After a kill, the same "
        "command resumes from its last save.",
    )
    add_flags(
        train,
        TuneOptions,
        model="what to start from: 0.5b, 7b, 13b, tiny, a hub id or a folder",
        data="LLaVA's conversation JSON",
        images="folder of its images",
        out="new folder for the tuned checkpoint",
        work="folder for the state of a killed run (OUT.work)",
        conversation=ENGINE_HELP["conversation"],
    )
    method = train.add_mutually_exclusive_group()
    const: dict[str, Any] = {
        "dest": "method", "action": "store_const", "default": argparse.SUPPRESS
    }  # fmt: skip
    method.add_argument("--lora", const="lora", help="train low-rank updates (default)", **const)
    method.add_argument("--full", const="full", help="train all of the language model", **const)
    add_flags(
        train,
        TuneOptions,
        rank="of LoRA",
        alpha="of LoRA",
        dropout="of LoRA",
        learning_rate="learning rate (2e-4; with --full 2e-5)",
        projector_learning_rate="learning rate of the projector (2e-5)",
        epochs="passes over all records",
        batch_size="records per step",
        micro_batch_size="records on one device at once",
        max_length="longest conversation in tokens (2048)",
        warmup_ratio="fraction of steps with a rising rate",
        seed="of initial weights, order and dropout",
        save_every="steps between two saves",
        workers="processes that read images ahead",
        gradient_checkpointing="keep activations: faster, more memory",
        **LOAD_HELP | {"dtype": "auto, float32 or bfloat16"},
    )


def _train(arguments: argparse.Namespace) -> int:
    tune(TuneOptions(**get_flags(arguments, TuneOptions)))
    return 0
