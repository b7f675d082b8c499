"""LLaVA 1.5's claim, tried on drawings: MLP or linear connector, two stages or one.

An eye and a language model that were trained apart are given a fresh connector. In two stages the
connector learns alone first (alignment) and then together with the language model; in one stage
both learn from the start. All four ways get the same minutes, pictures and questions, and are
asked the same questions about unseen drawings.

Run ``python -m llava_tools.train.connectors --work DIR --minutes N``; ``DIR`` holds the
``eye.pt`` and ``language.pt`` of a training.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import nn
from transformers import LlavaForConditionalGeneration

from .architecture import eye_shape, text_width
from .checkpoint import Stage
from .conversations import Lesson, Writer, converse
from .course import Course, learn
from .loss import step_loss
from .optim import Optimizer
from .packing import pack
from .record import Record
from .tiny import joined, ready_tokenizer
from .tune import looking

ALIGNMENT = 0.4
"""Share of the minutes in which only the connector learns, where there are two stages."""
COURSE = Course(lambda _: Lesson(spatial=0.1), rate=8e-4, seed=71, hold=0.35, emphasis=1.0)
CONNECTORS = ("MLP", "linear")
UNSEEN = 9_000_001


def connect(model: LlavaForConditionalGeneration, connector: str, seed: int = 5) -> None:
    """Put a fresh ``"MLP"`` (LLaVA 1.5's) or ``"linear"`` (LLaVA's) connector in place."""
    torch.manual_seed(seed)
    inner = cast(Any, model).model
    if connector == "linear":
        inner.multi_modal_projector = nn.Linear(eye_shape(model)[0], text_width(model))
    for module in inner.multi_modal_projector.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=module.in_features**-0.5)
            nn.init.zeros_(module.bias)


def train(
    model: LlavaForConditionalGeneration,
    tokenizer: Tokenizer,
    work: Path,
    minutes: float,
    stages: int,
    course: Course = COURSE,
) -> None:
    """Train connector and language model in place, in one or two stages of ``minutes`` in all.

    The connector learns at the full pace while it is alone, and at a twelfth of it in the second
    of two stages.
    """
    named = dict(model.named_parameters())
    connector = {name: p for name, p in named.items() if "multi_modal_projector" in name}
    both = connector | {name: p for name, p in named.items() if "language_model" in name}
    plan: list[tuple[str, float, dict[str, nn.Parameter], float]]
    plan = [("one", minutes, both, 1.0)]
    if stages == 2:
        first = minutes * ALIGNMENT
        plan = [("alignment", first, connector, 1.0), ("tuning", minutes - first, both, 0.08)]
    for name, share, weights, pace in plan:
        for parameter in named.values():
            parameter.requires_grad_(False)
        for parameter in weights.values():
            parameter.requires_grad_(True)
        paces = {"projector": pace, "embed_tokens": 0.3}
        optimizer = Optimizer(weights.items(), course.rate, paces=paces)
        stage = Stage(name, work / f"{name}.pt", share)
        learn(model, tokenizer, stage, course, weights, optimizer, looking(model))


@torch.no_grad()
def asked(
    model: LlavaForConditionalGeneration, tokenizer: Tokenizer, pictures: int
) -> dict[str, float]:
    """Shares of exact answers by kind about ``pictures`` unseen drawings, 12 questions each.

    An answer is exact if each of its tokens is the likeliest after the true ones before it, which
    is when greedy decoding says it.
    """
    record, look = Record(), looking(model)
    for number in range(pictures):
        rng = np.random.default_rng((UNSEEN, number))
        scenes, features = look(rng, 1, 0)
        told = pack([converse(scenes[0], Writer(tokenizer), rng, 12, Lesson())])
        step_loss(model, told, features, record=record)
    return record.figures()


def compare(work: Path, minutes: float, pictures: int) -> dict[str, dict[str, float]]:
    """Train and ask all four; checkpoints go to a folder each below ``work``."""
    tokenizer = ready_tokenizer(work)
    found = {}
    for connector in CONNECTORS:
        for stages in (2, 1):
            name = f"{connector}, {('one stage', 'two stages')[stages - 1]}"
            model = joined(work)
            connect(model, connector)
            train(model, tokenizer, work / f"{connector}-{stages}", minutes, stages)
            found[name] = asked(model, tokenizer, pictures)
    return found


def table(found: dict[str, dict[str, float]]) -> str:
    """A Markdown table of percentages: kinds down, ways across."""
    kinds = sorted(set.intersection(*(set(one) for one in found.values())) - {"loss", "looks"})
    lines = [f"| kind | {' | '.join(found)} |", "|-|" + "-|" * len(found)]
    for kind in kinds:
        lines.append(f"| {kind} | {' | '.join(f'{100 * f[kind]:.0f}' for f in found.values())} |")
    losses = " | ".join(f"{figures['loss']:.3f}" for figures in found.values())
    return "\n".join([*lines, f"| loss | {losses} |"])


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line: print the table and, last, the figures as one JSON line."""
    parser = argparse.ArgumentParser(description="Compare connectors and stages.")
    parser.add_argument("--work", type=Path, required=True, help="folder of eye.pt, language.pt")
    parser.add_argument("--minutes", type=float, default=10.0, help="of one core, each way (10)")
    parser.add_argument("--pictures", type=int, default=200, help="to ask about, 12 times each")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    found = compare(options.work, options.minutes, options.pictures)
    sys.stdout.write(f"{table(found)}\n{json.dumps(found)}\n")


if __name__ == "__main__":
    main()
