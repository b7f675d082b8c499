"""The examination of tool calls: tools, names and sentences that no training conversation has.

`data/tool_exam.json` has the tools and the cases. Names and descriptions of tools use the words
`tools.held_out`, and no sentence but greetings is one of the training (a test checks both). Each
case of a call is asked with one to four tools bound.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from llava_tools.chat.tool_calls import OPEN_TAG, write_turn
from llava_tools.core.constraints import Constraint, ToolCall, ToolSpec
from llava_tools.core.requests import Message
from recipes.tiny.words import DATA, pick


@dataclass(frozen=True)
class ToolItem:
    """One item of the examination.

    Attributes:
        kind: `N tools/ARGUMENT/STYLE` for a call; `result`, `words` or `none fits`.
        messages: The conversation to answer.
        constraint: The bound tools.
        answer: The exact text of the right answer; "" if any words without a call are right.
    """

    kind: str
    messages: tuple[Message, ...]
    constraint: Constraint
    answer: str

    def right(self, text: str) -> bool:
        """Return whether a model's answer is right."""
        return text == self.answer if self.answer else bool(text) and OPEN_TAG not in text


@cache
def _data() -> Mapping[str, Any]:
    data: Mapping[str, Any] = json.loads((DATA / "tool_exam.json").read_text(encoding="utf-8"))
    return data


@cache
def tools() -> Mapping[str, ToolSpec]:
    """Return the tools of the examination by name; all their arguments are required."""
    return {
        name: ToolSpec(
            name,
            description,
            {"type": "object", "properties": properties, "required": list(properties)},
        )
        for name, (description, properties) in _data()["tools"].items()
    }


def items() -> list[ToolItem]:
    """Return all items: 388 calls, 15 results, 15 of small talk, and 20 that no tool fits."""
    return [*_calls(), *_results(), *_words()]


def _bound(names: Sequence[str], choice: str = "auto") -> Constraint:
    return Constraint(tuple(tools()[name] for name in names), choice)


def _question(text: str) -> Message:
    return Message("user", (text,))


def _calls() -> list[ToolItem]:
    rng = np.random.default_rng((1_000_003, 4, 0))
    found = []
    for argument, group in _data()["calls"].items():
        for value in group["values"]:
            slots = {"<value>": value, "<first>": str(value).split(" ")[0].rstrip(",")}
            for style, name, question, arguments in group["cases"]:
                for slot, text in slots.items():
                    question = question.replace(slot, str(text))
                values = {key: slots.get(str(given), given) for key, given in arguments.items()}
                answer = write_turn("", (ToolCall("", name, values),))
                for count in (1, 2, 3, 4):
                    others = rng.choice([n for n in tools() if n != name], count - 1, False)
                    names = [name, *map(str, others)]
                    rng.shuffle(names)
                    constraint = _bound(names, pick(rng, ("auto", "any")))
                    kind = f"{count} tools/{argument}/{style}"
                    found.append(ToolItem(kind, (_question(question),), constraint, answer))
    return found


def _results() -> list[ToolItem]:
    found = []
    for name, arguments, question, result, answer in _data()["results"]:
        call = Message("assistant", (), (ToolCall("1", name, arguments),))
        messages = (_question(question), call, Message("tool", (result,), tool_call_id="1"))
        for others in _data()["bound with results"]:
            found.append(ToolItem("result", messages, _bound([name, *others]), answer))
    return found


def _words() -> list[ToolItem]:
    words = [(text, *_data()["bound with words"]) for text in _data()["words"]]
    return [
        ToolItem(kind, (_question(question),), _bound(names), "")
        for kind, rows in (("words", words), ("none fits", _data()["unfit"]))
        for question, *bound in rows
        for names in bound
    ]


def by_part(items: Sequence[ToolItem], answers: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Return how many answers are right, and of how many, for each part of the items' kinds.

    All calls together are the part `exact call`.
    """
    counts: dict[str, tuple[int, int]] = {}
    for item, answer in zip(items, answers, strict=True):
        for part in ("exact call", *item.kind.split("/")) if "/" in item.kind else (item.kind,):
            right, total = counts.get(part, (0, 0))
            counts[part] = right + item.right(answer), total + 1
    return counts
