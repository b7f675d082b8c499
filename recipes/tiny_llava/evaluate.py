"""How often the shipped files answer right, by kind, on what was never trained on.

A model's folder goes in; for each kind of question the share of exact answers comes out, beside
the share of the likeliest answer (what guessing reaches) and the blind control, where every
picture is replaced by noise. Two trials: ``own`` (the training renderer and phrasings, unseen
seeds) and ``stranger`` (the second renderer, a stranger's words). Where tools are bound, the exact
call is asked for, in names and sentences of :mod:`~recipes.tiny_llava.talk.exam`, and no grammar
helps. Answers come from greedy ``generate`` on the saved weights, in float32.

Run ``python -m recipes.tiny_llava.evaluate FOLDER``.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from tokenizers import Tokenizer
from transformers import AutoProcessor, LlavaForConditionalGeneration

from llava_tools.chat.formats import SYSTEM

from .conversations import Writer
from .items import Item, blinded, own_items, stranger_items
from .manners import LONG
from .packing import PAD
from .sheet import sheet
from .talk import exam
from .talk.exam import ToolItem
from .wide.questions import overlap, read_box

LEAST_OVERLAP = 0.6
"""How much of a box has to be right: intersection over union."""


@dataclass(frozen=True, slots=True)
class Score:
    """Right answers to ``asked`` questions, and how many the commonest answer would get."""

    right: int
    asked: int
    commonest: int

    @property
    def share(self) -> float:
        """Right answers as a share of all, 0 to 1."""
        return self.right / self.asked


class Examinee:
    """A model loaded from its saved files, asked in batches."""

    def __init__(self, folder: Path) -> None:
        self._model = LlavaForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
        self._model.eval()
        self._processor = AutoProcessor.from_pretrained(folder)
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._writer = Writer(self._tokenizer)

    def answers(self, items: Sequence[Item], size: int = 25) -> list[str]:
        """Greedy answers, at most 12 tokens each, 64 for boxes and captions, trimmed."""
        order = sorted(range(len(items)), key=lambda at: items[at].kind in LONG)
        said = [""] * len(items)
        for start in range(0, len(items), size):
            some = order[start : start + size]
            for at, text in zip(some, self._some([items[at] for at in some]), strict=True):
                said[at] = text
        return said

    def calls(self, items: Sequence[ToolItem], size: int = 32) -> list[str]:
        """What it says where tools are bound, unconstrained, at most 96 tokens each, trimmed."""
        order = sorted(range(len(items)), key=lambda at: len(items[at].answer))
        said = [""] * len(items)
        for start in range(0, len(items), size):
            some = order[start : start + size]
            asked = [(items[at].messages, items[at].constraint) for at in some]
            prompts = [self._writer.asked(messages, SYSTEM, told) for messages, told in asked]
            for at, text in zip(some, self._generate(prompts, 96), strict=True):
                said[at] = text
        return said

    def _some(self, items: Sequence[Item]) -> list[str]:
        prompts = [self._writer.prompt([item.question], [], SYSTEM) for item in items]
        looked = self._processor.image_processor(
            [item.image for item in items], return_tensors="pt"
        )
        limit = 64 if any(item.kind in LONG for item in items) else 12
        return self._generate(prompts, limit, pixel_values=looked["pixel_values"])

    @torch.inference_mode()
    def _generate(self, prompts: list[list[int]], limit: int, **seen: torch.Tensor) -> list[str]:
        length = max(len(prompt) for prompt in prompts)
        ids = torch.tensor([[PAD] * (length - len(p)) + p for p in prompts])
        told = cast(Any, self._model).generate(
            input_ids=ids,
            attention_mask=(ids != PAD).long(),
            max_new_tokens=limit,
            do_sample=False,
            **seen,
        )
        texts = (self._tokenizer.decode(row[length:].tolist()) for row in told)
        return [text.strip() for text in texts]


def score(items: Sequence[Item], said: Sequence[str]) -> dict[str, Score]:
    """Right answers by kind: exact ones, and boxes that overlap the true one enough."""
    scores = {}
    for kind in dict.fromkeys(item.kind for item in items):
        pairs = [(i.answer, s) for i, s in zip(items, said, strict=True) if i.kind == kind]
        commonest = Counter(answer for answer, _ in pairs).most_common(1)[0][1]
        right = sum(a == s or (kind == "box" and _near(a, s)) for a, s in pairs)
        scores[kind] = Score(right, len(pairs), commonest)
    return scores


def _near(true: str, said: str) -> bool:
    first, second = read_box(true), read_box(said)
    return bool(first and second and overlap(first, second) >= LEAST_OVERLAP)


def table(trials: dict[str, dict[str, Score]]) -> str:
    """A Markdown table of percentages: kinds down, trials across, the best guess last."""
    kinds = list(dict.fromkeys(kind for scores in trials.values() for kind in scores))
    lines = [f"| kind | {' | '.join(trials)} | best guess |", "|-|" + "-|" * (len(trials) + 1)]
    for kind in kinds:
        cells = [
            f"{100 * s.share:.1f}" if (s := scores.get(kind)) else "–" for scores in trials.values()
        ]
        guess = next(s for scores in trials.values() if (s := scores.get(kind)))
        cells.append(f"{100 * guess.commonest / guess.asked:.0f}")
        lines.append(f"| {kind} | {' | '.join(cells)} |")
    return "\n".join(lines)


def examine(
    folder: Path, each: int, seed: int = 0, shown: Path | None = None
) -> dict[str, dict[str, Score]]:
    """Both trials and the blind control of a saved model; ``shown`` gets a sheet of answers."""
    examinee = Examinee(folder)
    own, strange = own_items(each, seed), stranger_items(each, seed)
    trials = {"own": own, "stranger": strange, "blind (stranger)": blinded(strange, seed)}
    said = {name: examinee.answers(items) for name, items in trials.items()}
    if shown is not None:
        sheet(strange, said["stranger"], shown)
    return {name: score(items, said[name]) for name, items in trials.items()}


def tool_table(parts: dict[str, tuple[int, int]]) -> str:
    """A Markdown table of what was right where tools are bound."""
    lines = ["| tools | right | of |", "|-|-|-|"]
    lines += [f"| {part} | {100 * hits / n:.1f} | {n} |" for part, (hits, n) in parts.items()]
    return "\n".join(lines)


def examine_tools(folder: Path) -> dict[str, tuple[int, int]]:
    """Right and asked of :mod:`~recipes.tiny_llava.talk.exam`, by every part of the kinds."""
    items = [
        *exam.call_items(),
        *exam.result_items(),
        *exam.plain_items(),
        *exam.unfit_items(),
    ]
    return exam.by_part(items, Examinee(folder).calls(items))


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line: print the table and, last, the figures as one JSON line."""
    parser = argparse.ArgumentParser(description="Examine a saved embedded model.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--each", type=int, default=200, help="questions a kind (default 200)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sheet", type=Path, help="PNG of pictures and answers to write")
    options = parser.parse_args(arguments)
    trials = examine(options.folder, options.each, options.seed, options.sheet)
    tools = examine_tools(options.folder)
    sys.stdout.write(f"{table(trials)}\n\n{tool_table(tools)}\n")
    figures = {
        name: {kind: round(s.share, 4) for kind, s in scores.items()}
        for name, scores in trials.items()
    }
    figures["tools"] = {part: round(hits / asked, 4) for part, (hits, asked) in tools.items()}
    sys.stdout.write(json.dumps(figures) + "\n")


if __name__ == "__main__":
    main()
