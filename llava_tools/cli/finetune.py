"""`llava-tools train`: makes a LLaVA of its parts, and tunes one on conversations."""

from __future__ import annotations

import argparse
from typing import Any

from llava_tools.cli.options import (
    ENGINE_HELP,
    LOAD_HELP,
    Parser,
    add_command,
    add_flags,
    get_flags,
)
from llava_tools.cli.output import is_quiet, write_line
from llava_tools.finetune import AlignOptions, TuneOptions, align, tune

_ALIGN_EXAMPLE = (
    "train align --vision openai/clip-vit-large-patch14-336 --language lmsys/vicuna-7b-v1.5 "
    "--data captions.json --images photos/ --out aligned/"
)
_TUNE_EXAMPLE = "train tune --model 7b --data conversations.json --images photos/ --out tuned/"
#: Help of the settings that both stages have.
_DATA_HELP = {
    "data": "LLaVA's conversation JSON",
    "images": "folder of its images",
    "out": "new folder for the trained checkpoint",
    "work": "folder for the state of a killed run (OUT.work)",
}
_TRAINING_HELP = {
    "epochs": "passes over all records",
    "batch_size": "records per step",
    "micro_batch_size": "records on one device at once",
    "max_length": "longest conversation in tokens (2048)",
    "warmup_ratio": "fraction of steps with a rising rate",
    "seed": "of initial weights, order and dropout",
    "held_out": "share of the records to evaluate instead of training on them",
    "evaluate_every": "steps between two evaluations of them",
    "tensorboard": "write the losses for TensorBoard, to WORK/tensorboard",
    "save_every": "steps between two saves",
    "workers": "processes that read images ahead",
    "shard": "split weights and optimizer state between the processes (FSDP2)",
    "gradient_checkpointing": "keep activations: faster, more memory",
} | {**LOAD_HELP, "dtype": "auto, float32 or bfloat16"}


def add(commands: Any) -> None:
    """Add the command to the subparsers of `llava-tools`."""
    train = commands.add_parser(
        "train",
        help="train a LLaVA on your own captions and conversations",
        description="The two stages of LLaVA 1.5's training. After a kill, the same command "
        "resumes from its last save.",
        epilog=f"examples:\n  llava-tools {_ALIGN_EXAMPLE}\n  llava-tools {_TUNE_EXAMPLE}",
    )
    stages = train.add_subparsers(required=True, metavar="STAGE", parser_class=Parser)
    _add_align(stages)
    _add_tune(stages)


def _add_align(stages: Any) -> None:
    parser = add_command(
        stages,
        "align",
        _align,
        "stage 1: make a LLaVA of a vision tower and a language model",
        (_ALIGN_EXAMPLE,),
        "Stage 1: make a LLaVA of a vision tower and a language model, and train the projector "
        "between them on captions.",
    )
    add_flags(parser, AlignOptions, vision="hub id or folder of a CLIP")
    parser.add_argument(
        "--language", dest="model", required=True, help="hub id or folder of a language model"
    )
    add_flags(
        parser,
        AlignOptions,
        **_DATA_HELP | {"data": "captions in LLaVA's conversation JSON"},
        learning_rate="learning rate of the projector",
        **_TRAINING_HELP | {"revision": "branch, tag or commit of the language model on the hub"},
        vision_revision="that of the CLIP",
    )


def _add_tune(stages: Any) -> None:
    parser = add_command(
        stages,
        "tune",
        _tune,
        "stage 2: tune a LLaVA on conversations",
        (_TUNE_EXAMPLE,),
    )
    add_flags(
        parser,
        TuneOptions,
        model="what to start from: 0.5b, 7b, 13b, tiny, a hub id or a folder",
        **_DATA_HELP,
        conversation=ENGINE_HELP["conversation"],
    )
    method = parser.add_mutually_exclusive_group()
    const: dict[str, Any] = {
        "dest": "method", "action": "store_const", "default": argparse.SUPPRESS
    }  # fmt: skip
    method.add_argument("--lora", const="lora", help="train low-rank updates (default)", **const)
    method.add_argument("--qlora", const="qlora", help="the same on 4-bit weights", **const)
    method.add_argument("--full", const="full", help="train all of the language model", **const)
    add_flags(
        parser,
        TuneOptions,
        rank="of LoRA",
        alpha="of LoRA",
        dropout="of LoRA",
        learning_rate="learning rate (2e-4; with --full 2e-5)",
        projector_learning_rate="learning rate of the projector (2e-5)",
        **_TRAINING_HELP,
    )


def _align(arguments: argparse.Namespace) -> int:
    align(AlignOptions(**get_flags(arguments, AlignOptions)), _show)
    return 0


def _tune(arguments: argparse.Namespace) -> int:
    tune(TuneOptions(**get_flags(arguments, TuneOptions)), _show)
    return 0


def _show(line: str) -> None:
    if not is_quiet():
        write_line(line)
