"""The examination of tool calls: tools, names and sentences that no training conversation has.

Names and descriptions of the tools in `data/tool_exam.json` use the words `tools.held_out`, and no
sentence but greetings is one of the training (a test checks both).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any

import numpy as np

from llava_tools.chat.tool_calls import OPEN_TAG, write_turn
from llava_tools.core.constraints import Constraint, ToolCall, ToolSpec
from llava_tools.core.requests import Message
from recipes.tiny_llava.words import DATA, pick


@dataclass(frozen=True)
class ToolItem:
    """A conversation to answer with exactly this text or, if it is "", any words without a call.

    A `kind` is `N tools/ARGUMENT/STYLE` for a call, or else `result`, `words` or `none fits`.
    """

    kind: str
    messages: tuple[Message, ...]
    constraint: Constraint
    answer: str

    def right(self, text: str) -> bool:
        """Return whether a model's answer is right."""
        return text == self.answer if self.answer else bool(text) and OPEN_TAG not in text


@cache
def _data() -> Any:
    return json.loads((DATA / "tool_exam.json").read_text(encoding="utf-8"))


def tools() -> dict[str, ToolSpec]:
    """Return the tools of the examination by name."""
    return {name: ToolSpec(name, *texts) for name, texts in _data()["tools"].items()}


def items() -> list[ToolItem]:
    """Return all items: 388 calls, 15 results, 15 of small talk, and 20 that no tool fits."""
    data, specs, rng = _data(), tools(), np.random.default_rng((1_000_003, 4, 0))
    found: list[ToolItem] = []

    def add(kind: str, names: Sequence[str], answer: str, *messages: Message) -> None:
        choice = pick(rng, ("auto", "any")) if "/" in kind else "auto"
        constraint = Constraint(tuple(specs[name] for name in names), choice)
        found.append(ToolItem(kind, messages, constraint, answer))

    for argument, (values, cases) in data["calls"].items():
        for given, (style, name, question, arguments) in product(values, cases):
            slots = {"<value>": given, "<first>": str(given).split(" ")[0]}
            for slot, text in slots.items():
                question = question.replace(slot, str(text))
            filled = {key: slots.get(str(text), text) for key, text in arguments.items()}
            answer = write_turn("", (ToolCall("", name, filled),))
            for count in (1, 2, 3, 4):
                others = rng.choice([n for n in specs if n != name], count - 1, False)
                names = [name, *map(str, others)]
                rng.shuffle(names)
                kind = f"{count} tools/{argument}/{style}"
                add(kind, names, answer, Message("user", (question,)))
    for row, others in product(data["results"], data["bound with results"]):
        name, arguments, question, result, answer = row
        call = Message("assistant", (), (ToolCall("1", name, arguments),))
        said = Message("user", (question,)), call, Message("tool", (result,), tool_call_id="1")
        add("result", [name, *others], answer, *said)
    for kind, questions, bound in data["in words"]:
        for question, names in product(questions, bound):
            add(kind, names, "", Message("user", (question,)))
    return found


def by_part(items: Sequence[ToolItem], answers: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Return how many answers are right, and of how many, by part of a kind and for all calls."""
    right, total = Counter[str](), Counter[str]()
    for item, answer in zip(items, answers, strict=True):
        parts = ["exact call", *item.kind.split("/")] if "/" in item.kind else [item.kind]
        total.update(parts)
        right.update(parts if item.right(answer) else ())
    return {part: (right[part], count) for part, count in total.items()}
