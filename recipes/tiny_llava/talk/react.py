"""Agents that think aloud (ReAct, Yao et al. 2022): tools in a long system turn, calls as lines.

Frameworks write such instructions in words of their own, so every lecture has others, between a few
hundred and well over a thousand tokens of them. What stays the same is what their parsers read:
``Thought:``, ``Action:``, ``Action Input:`` with JSON, ``Observation:``, ``Answer:``.
"""

from __future__ import annotations

import json

import numpy as np

from llava_tools.core.constraints import UNCONSTRAINED
from llava_tools.core.requests import Message
from llava_tools.images import ImageRef
from recipes.tiny_llava.manners import spoken
from recipes.tiny_llava.phrasings import phrase
from recipes.tiny_llava.questions import ask
from recipes.tiny_llava.words import pick
from recipes.tiny_llava.world import Scene

from .asking import Asked, ask_for, fill
from .families import look_at, some_tools
from .kit import Tool
from .results import Result, result_of
from .small import chat
from .talks import Lecture, Talk
from .values import sentence, word

THOUGHT = (
    "The current language of the user is: English. I need to use a tool to help me answer the "
    "question."
)
"""What is thought before a call."""
KNOWN = "I can answer without using any more tools. I'll use the user's language to answer"
"""What is thought before an answer."""

_OPENINGS = (
    "{You are|You act as} {an agent|a careful assistant|a helper} that {solves|answers|handles} "
    "{many kinds of tasks|questions of all sorts} {step by step|with tools|one step at a time}.",
    "{Help the user with|Work on} whatever is asked, {|from lookups to longer work,} and {think|"
    "reason} before {every step|you act}.",
)
_FORMAT = (
    "{Write|Reply|Respond} in {exactly |}this {form|format|way}:",
    "{Use the following|This is the} format {for every step|of each step}:",
)
_RULES = (
    "{Begin|Start} {every reply|each step} with a Thought.",
    "{Never|Do not} {put|wrap} {the reply|what you write} in {code fences|quotes}.",
    "The {input|Action Input} {has to be|must be} {valid JSON|a JSON object}, {not|unlike} <bad>.",
    "{Where|If} there is an Action line, an Action Input line {has to follow|must follow}, "
    "{even if it is empty|if need be}: Action Input: <none>",
    "{Go on|Repeat this} until {nothing more is needed|the question can be answered}.",
    "{Answer|Write the answer} in the {language|tongue} of the {user|question}.",
)


def react(
    rng: np.random.Generator,
    count: int,
    scene: Scene | None = None,
    picture: ImageRef | None = None,
) -> Lecture:
    """``count`` conversations; ``scene`` is what ``picture`` shows, both or neither given."""
    tools = some_tools(rng, (0.5, 0.3, 0.2))
    if rng.random() < 0.4:
        tools[0] = look_at(rng)
    talks = tuple(_talk(rng, tools, scene, picture) for _ in range(count))
    return Lecture(_system(rng, tools), UNCONSTRAINED, talks)


def action(asked: Asked) -> str:
    """A call as the model writes it."""
    told = json.dumps(dict(asked.arguments), ensure_ascii=False)
    return f"Thought: {THOUGHT}\nAction: {asked.tool.spec.name}\nAction Input: {told}"


def _talk(
    rng: np.random.Generator,
    tools: list[Tool],
    scene: Scene | None,
    picture: ImageRef | None,
) -> Talk:
    seen = (picture,) if picture else ()
    chance = rng.random()
    if chance < (0.5 if scene else 0.12):
        if scene and rng.random() < 0.85:
            question = ask(scene, rng)
            text, answer, kind = spoken(question, rng), question.answer, question.kind
        else:
            text, answer = chat(rng)
            kind = "chat"
        said = Message("assistant", (f"Thought: {KNOWN}\nAnswer: {answer}",))
        return Talk((Message("user", (*seen, text)), said), {1: kind})
    asked = ask_for(rng, pick(rng, tools))
    request = Message("user", (*seen, asked.text))
    if chance < 0.7:
        return Talk((request, Message("assistant", (action(asked),))), {1: "react call"})
    result = _result(rng, asked)
    called = (
        f"Thought: {THOUGHT}\nAction: {asked.tool.spec.name}\n"
        f"Action Input: {dict(asked.arguments)}"  # as frameworks write it back: Python's dict
    )
    messages = (
        request,
        Message("assistant", (called,)),
        Message("user", (f"Observation: {result.text}",)),
        Message("assistant", (f"Thought: {KNOWN}\nAnswer: {result.answer}",)),
    )
    return Talk(messages, {3: "react answer"})


def _result(rng: np.random.Generator, asked: Asked) -> Result:
    """A result that did not fail: an observation does not tell errors apart."""
    while (result := result_of(rng, asked)).failed:
        pass
    return result


def _system(rng: np.random.Generator, tools: list[Tool]) -> str:
    names = ", ".join(tool.spec.name for tool in tools)
    parts = [
        phrase(rng, _OPENINGS),
        _filler(rng),
        f"{pick(rng, ('## Tools', '# Tools', 'Tools', 'The tools:'))}\n\n{_filler(rng)}\n"
        + "\n".join(_told(tool) for tool in tools),
        _filler(rng),
        f"{phrase(rng, _FORMAT)}\n\n```\nThought: {THOUGHT}\nAction: {_one_of(rng, names)}\n"
        f"Action Input: {_decoy(rng)}\n```",
        *(_rule(rng) for _ in range(int(rng.integers(2, 6)))),
        "```\nObservation: what the tool gave back\n```",
        _filler(rng),
        f"```\nThought: {KNOWN}\nAnswer: [{sentence(rng)}]\n```",
        _filler(rng),
    ]
    return "\n\n".join(part for part in parts if part)


def _told(tool: Tool) -> str:
    kinds = {"string": "str", "integer": "int", "number": "float", "boolean": "bool"}
    signature = ", ".join(
        f"{name}: {kinds.get(schema['type'], 'list')}" for name, schema in tool.properties.items()
    )
    return (
        f"> Tool Name: {tool.spec.name}\n"
        f"Tool Description: {tool.spec.name}({signature}) -> str\n{tool.spec.description}\n"
        f"Tool Args: {json.dumps(tool.spec.parameters, ensure_ascii=False)}\n"
    )


def _one_of(rng: np.random.Generator, names: str) -> str:
    return pick(rng, (f"tool name (one of {names})", f"one of [{names}]", f"({names})"))


def _decoy(rng: np.random.Generator) -> str:
    """An example of arguments, which nobody asked for."""
    example = json.dumps({word(rng): sentence(rng), word(rng): int(rng.integers(9))})
    return pick(rng, ("", "the arguments as JSON, ", "JSON (e.g. ")) + example


def _rule(rng: np.random.Generator) -> str:
    return fill(rng, _RULES, {"bad": _decoy(rng).replace('"', "'"), "none": "{}"})


def _filler(rng: np.random.Generator) -> str:
    """Sentences about nothing, so that instructions are of any length."""
    count = int(rng.choice((0, 1, 3, 8, 16), p=(0.3, 0.2, 0.2, 0.2, 0.1)))
    return " ".join(f"{sentence(rng).capitalize()}." for _ in range(count))
