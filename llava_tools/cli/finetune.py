"""`llava-tools train`: a real LLaVA on one's own conversations, or the embedded one anew."""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path
from typing import Any

from llava_tools.errors import RequestError, need


def add(commands: Any) -> None:
    """Add the command to the subparsers of `llava-tools`."""
    train = commands.add_parser(
        "train",
        help="tune a LLaVA on your own conversations, or train the embedded model",
        description="Tune a LLaVA 1.5 on conversations in LLaVA's JSON; `train tiny` trains the "
        "embedded model. The same command after a kill goes on where it was last saved.",
    )
    train.set_defaults(run=_tune)
    train.add_argument("--model", help="what to begin with: 7b, 13b, tiny, a hub id or a folder")
    train.add_argument("--data", type=Path, help="conversations as LLaVA's JSON")
    train.add_argument("--images", type=Path, help="folder of their pictures")
    train.add_argument("--out", type=Path, help="new folder for the tuned checkpoint")
    train.add_argument("--work", type=Path, help="folder to go on from (default OUT.work)")
    method = train.add_mutually_exclusive_group()
    method.add_argument(
        "--lora", dest="method", action="store_const", const="lora", help="the default"
    )
    method.add_argument(
        "--full", dest="method", action="store_const", const="full", help="all of the LM"
    )
    train.add_argument("--rank", type=int, help="of LoRA (128)")
    train.add_argument("--alpha", type=float, help="of LoRA (256)")
    train.add_argument("--dropout", type=float, help="of LoRA (0.05)")
    train.add_argument("--rate", type=float, help="learning rate (2e-4; with --full 2e-5)")
    train.add_argument("--projector-rate", type=float, help="the projector's (2e-5)")
    train.add_argument("--epochs", type=int, help="(1)")
    train.add_argument("--batch", type=int, help="records a step (128)")
    train.add_argument("--micro-batch", type=int, help="records at once on a device (16)")
    train.add_argument("--max-length", type=int, help="tokens of a conversation (2048)")
    train.add_argument("--warmup", type=float, help="share of steps with a rising rate (0.03)")
    train.add_argument("--seed", type=int, help="(0)")
    train.add_argument("--save-every", type=int, help="steps between savings (25)")
    train.add_argument("--workers", type=int, help="processes that read pictures ahead (0)")
    train.add_argument(
        "--no-checkpointing",
        dest="checkpointing",
        action="store_const",
        const=False,
        help="keep activations: faster, more memory",
    )
    train.add_argument("--device", help="auto, cpu, cuda, cuda:1, mps (auto)")
    train.add_argument("--dtype", help="auto, float32, bfloat16 (auto)")
    train.add_argument("--revision", help="branch, tag or commit on the hub")
    train.add_argument("--offline", action="store_const", const=True, help="never ask the network")
    _add_tiny(train.add_subparsers(metavar="[tiny]"))


def _add_tiny(ways: Any) -> None:
    tiny = ways.add_parser("tiny", help="train the embedded model from scratch")
    tiny.set_defaults(run=_tiny)
    tiny.add_argument("--out", type=Path, default=Path("tiny"), help="for its files (./tiny)")
    tiny.add_argument("--minutes", type=float, default=150, help="on two free cores (150)")
    tiny.add_argument("--work", type=Path, help="folder for checkpoints (default OUT.work)")
    tiny.add_argument("--each", type=int, default=200, help="questions a kind to examine with")


def _tune(arguments: argparse.Namespace) -> int:
    from llava_tools.finetune import TuneOptions, tune

    for name in ("model", "data", "out"):
        if getattr(arguments, name) is None:
            raise RequestError(
                f"--{name} is missing.",
                "Run: llava-tools train --model 7b --data FILE.json --images DIR --out DIR",
            )
    given = {item.name: getattr(arguments, item.name) for item in fields(TuneOptions)}
    tune(TuneOptions(**{name: value for name, value in given.items() if value is not None}))
    return 0


def _tiny(arguments: argparse.Namespace) -> int:
    need("torch", "transformers", "tokenizers", "matplotlib", extra="train")
    from recipes.tiny_llava.tiny import reproduce

    out: Path = arguments.out
    work: Path = arguments.work or out.with_name(out.name + ".work")
    print(reproduce(out, work, arguments.minutes, arguments.each))  # noqa: T201
    return 0
