"""Conversations in which tools are bound or JSON is asked for, some of them about a picture.

A seeded generator (and a scene, where there is a picture) goes in; a :class:`Lecture` comes out:
one system turn and several conversations under it, as messages of
:mod:`llava_tools.core.requests`, so that the prompt is written by the very code that asks the model
later.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from llava_tools.chat.formats import SYSTEM
from llava_tools.core.constraints import Constraint, ToolCall
from llava_tools.core.requests import Message
from llava_tools.images import ImageRef
from recipes.tiny_llava.manners import spoken
from recipes.tiny_llava.questions import ask
from recipes.tiny_llava.words import pick
from recipes.tiny_llava.world import Scene

from .asking import Asked, ask_for
from .families import some_tools
from .forms import form, form_of_scene
from .kit import Tool
from .results import result_of
from .small import chat, unfitting
from .talks import Lecture, Talk

SYSTEMS = (
    "You are a helpful assistant.",
    "You are a helpful assistant with tools.",
    "Use the tools when they help.",
    "You are an agent. Answer briefly.",
    "",
)


def lecture(
    rng: np.random.Generator,
    count: int,
    scene: Scene | None = None,
    picture: ImageRef | None = None,
) -> Lecture:
    """``count`` conversations; ``scene`` is what ``picture`` shows, both or neither given."""
    system = SYSTEM if rng.random() < 0.85 else pick(rng, SYSTEMS)
    chance = rng.random()
    if chance < 0.13:
        schema, make = form_of_scene(rng, scene) if scene and rng.random() < 0.7 else form(rng)
        talks = []
        for _ in range(count):
            asked, answer = make(rng)
            talks.append(_said([(asked, answer, "json")], picture))
        return Lecture(system, Constraint(schema=schema), tuple(talks))
    if chance < 0.2:
        return Lecture(
            system, Constraint(), tuple(_words(rng, scene, picture) for _ in range(count))
        )
    tools = some_tools(rng, (0.25, 0.27, 0.22, 0.16, 0.1))
    choice = str(rng.choice(["auto", "any", "named"], p=[0.52, 0.34, 0.14]))
    if choice == "named":
        choice = tools[0].spec.name
        tools = tools[:1] if rng.random() < 0.7 else tools
    constraint = Constraint(tuple(tool.spec for tool in tools), choice)
    usable = [tool for tool in tools if tool.spec in constraint.callable_tools]
    talks = [_Agent(rng, usable, choice, scene, picture).talk() for _ in range(count)]
    return Lecture(system, constraint, tuple(talks))


def _said(turns: Sequence[tuple[str, str, str]], picture: ImageRef | None) -> Talk:
    """Questions, answers in words, and their kinds; the picture stands in the first question."""
    messages: list[Message] = []
    kinds = {}
    for question, answer, kind in turns:
        seen = (picture,) if picture and not messages else ()
        messages.append(Message("user", (*seen, question)))
        kinds[len(messages)] = kind
        messages.append(Message("assistant", (answer,)))
    return Talk(tuple(messages), kinds)


def _words(rng: np.random.Generator, scene: Scene | None, picture: ImageRef | None) -> Talk:
    turns = []
    for _ in range(1 if rng.random() < 0.8 else 2):
        if scene is not None and rng.random() < 0.6:
            question = ask(scene, rng)
            turns.append((spoken(question, rng), question.answer, question.kind))
        else:
            turns.append((*chat(rng), "chat"))
    return _said(turns, picture)


class _Agent:
    """Writes one conversation with tools: requests, calls, results, answers in words."""

    def __init__(
        self,
        rng: np.random.Generator,
        tools: Sequence[Tool],
        choice: str,
        scene: Scene | None,
        picture: ImageRef | None,
    ) -> None:
        self._rng = rng
        self._tools = tools
        self._choice = choice
        self._scene = scene
        self._picture = picture
        self._messages: list[Message] = []
        self._kinds: dict[int, str] = {}

    def talk(self) -> Talk:
        """One to three exchanges; the last may end with the call."""
        rng = self._rng
        exchanges = int(rng.choice((1, 2, 3), p=(0.8, 0.15, 0.05)))
        for number in range(exchanges):
            last = number == exchanges - 1
            if self._choice == "auto" and rng.random() < (0.45 if self._scene else 0.34):
                self._talk_of_else()
            else:
                self._ask()
                if not last or (self._choice == "auto" and rng.random() < 0.45):
                    self._report()
        return Talk(tuple(self._messages), self._kinds)

    def _user(self, text: str) -> None:
        seen = (self._picture,) if self._picture and not self._messages else ()
        self._messages.append(Message("user", (*seen, text)))

    def _answer(self, text: str, kind: str) -> None:
        if kind:
            self._kinds[len(self._messages)] = kind
        self._messages.append(Message("assistant", (text,)))

    def _talk_of_else(self) -> None:
        """What is answered in words though tools are bound."""
        rng = self._rng
        if self._scene is not None and rng.random() < 0.7:
            question = ask(self._scene, rng)
            self._user(spoken(question, rng))
            self._answer(question.answer, question.kind)
            return
        told = " ".join(f"{tool.spec.name} {tool.spec.description}".lower() for tool in self._tools)
        other = unfitting(rng, told) if rng.random() < 0.6 else None
        text, answer = other or chat(rng)
        self._user(text)
        self._answer(answer, "chat")

    def _ask(self) -> None:
        rng = self._rng
        asked = [ask_for(rng, pick(rng, self._tools))]
        many = self._choice in ("auto", "any") and rng.random() < 0.1
        if many:
            tool = asked[0].tool if rng.random() < 0.5 else pick(rng, self._tools)
            asked.append(ask_for(rng, tool, asked[0].style if tool is asked[0].tool else ""))
        self._user(_joined(rng, asked))
        self._kinds[len(self._messages)] = "calls" if many else f"call {asked[0].style}"
        calls = tuple(
            ToolCall(f"{len(self._messages)}-{at}", one.tool.spec.name, dict(one.arguments))
            for at, one in enumerate(asked)
        )
        self._messages.append(Message("assistant", (), calls))
        self._asked = asked

    def _report(self) -> None:
        """The results, and the answer from them; learned where words are free to be said."""
        results = [result_of(self._rng, asked) for asked in self._asked]
        for call, result in zip(self._messages[-1].tool_calls, results, strict=True):
            self._messages.append(
                Message("tool", (result.text,), tool_call_id=call.id, is_error=result.failed)
            )
        answer = " ".join(result.answer for result in results)
        self._answer(answer, "result" if self._choice == "auto" else "")


def _joined(rng: np.random.Generator, asked: Sequence[Asked]) -> str:
    if len(asked) == 1:
        return asked[0].text
    first, second = (one.text for one in asked)
    return f"{first.rstrip('.?')}{pick(rng, (' and ', '. Also ', ', then ', '. '))}{second}"
