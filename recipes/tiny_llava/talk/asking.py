"""How people ask for a tool: like a function, with named arguments, as JSON, or naturally.

A :class:`~recipes.tiny_llava.talk.kit.Tool` goes in; the words of a request and the arguments that
a call must then have come out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from recipes.tiny_llava.phrasings import phrase
from recipes.tiny_llava.words import pick

from .kit import Tool
from .values import word

STYLES = ("function", "keywords", "json", "natural")
_FUNCTION = (
    "{what is|what's|what does|tell me|give me|show me|i need|} {the {result|output|answer} of|}"
    " <call> {|give|return}{|?}",
    "{call|run|use|compute|execute|evaluate|apply|try|invoke|please call|can you run} <call>{|.}",
    "{calculate|find|get|work out} {|the value of |the result of }<call>{|.}",
    "<call>{|?|.|, please}",
    "{what|which value} {do i get from|comes out of|does one get for} <call>?",
    "{i'd like|i want|we need|let us have|could i have|may i have} {|the result of |to know }<call>"
    "{|.|, please}",
    "{i wonder|i am curious|please find out} what <call> {is|gives|returns}{|.}",
    "{show us|check|look at|see what you get for|go for|start with} <call>{|.}",
)
_KEYWORDS = (
    "{call|run|use|apply|execute|try|please use|can you use} {|the tool |the function }<name> "
    "{with|for|on|where|given|using}{|:} <pairs>{|.}",
    "{|what is |what's |the result of |give me }<name> {with|for|of|where} <pairs>{|?}",
    "<name>{: |, | - }<pairs>",
    "{with|for|given} <pairs>, {call|run|use} <name>{|.}",
    "{get|let|ask} <name> {to do it|to work|do its work} {with|for|on} <pairs>{|.}",
    "<name> {takes|gets|should get|is given} <pairs>{|.|, please}",
)
_WITHOUT = (
    "{call|run|use|apply|execute|try|start|please use|can you use} {|the tool |the function }"
    "<name>{|.|, please| now}",
    "{what does <name> {say|give|return}|what is the result of <name>|and <name>}?",
)
_REMINDERS = (
    "{please |}use {the|a|your} {tool|function|tools}.",
    "use <name>{| for {it|this|that}}.",
    "{do it|answer} with {the|a} tool.",
)


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked for, in which style, and the call's arguments in the schema's order."""

    text: str
    style: str
    tool: Tool
    arguments: Mapping[str, Any]


def ask_for(rng: np.random.Generator, tool: Tool, style: str = "") -> Asked:
    """A request for ``tool`` with made-up arguments."""
    names = list(tool.properties)
    required = tool.spec.parameters.get("required", ())
    given = [n for n in names if n in required or rng.random() < 0.5]
    arguments = {name: tool.argument(rng, name) for name in given}
    if not style:
        style = "natural" if tool.asks and rng.random() < 0.72 else pick(rng, STYLES[:3])
    if style == "natural":
        text = _natural(rng, tool, arguments)
    elif style == "json":
        written = json.dumps(arguments, ensure_ascii=False)
        text = f"{pick(rng, ('', 'call ', 'use ', 'run '))}{tool.spec.name} {written}"
    elif style == "keywords":
        text = _keywords(rng, tool, arguments)
    else:
        slots = {"call": f"{tool.spec.name}({_inside(rng, names, arguments)})"}
        text = fill(rng, _FUNCTION, slots)
    return Asked(_dressed(rng, text, tool), style, tool, arguments)


def fill(rng: np.random.Generator, templates: tuple[str, ...], slots: Mapping[str, str]) -> str:
    """A phrasing with its slots filled; what fills them is left as it is."""
    text = phrase(rng, templates)
    for name, value in slots.items():
        text = text.replace(f"<{name}>", value)
    return text


def said(rng: np.random.Generator, value: Any, quoted: float = 0.0) -> str:
    """A value as it is spoken of: strings bare or in quotes, lists with commas or as JSON."""
    if isinstance(value, bool):
        pairs = (("false", "true"), ("no", "yes"), ("off", "on"))
        return pick(rng, pairs)[int(value)]
    if isinstance(value, list):
        if rng.random() < 0.4:
            return json.dumps(value, ensure_ascii=False)
        return listed([str(item) for item in value], pick(rng, ("and", ",")))
    if isinstance(value, str) and rng.random() < quoted:
        return f"'{value}'" if rng.random() < 0.6 else f'"{value}"'
    return str(value)


def listed(parts: list[str], last: str = "and") -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    if len(parts) == 1:
        return parts[0]
    before = ", " if last == "," else f" {last} "
    return f"{', '.join(parts[:-1])}{before}{parts[-1]}"


def pairs(rng: np.random.Generator, arguments: Mapping[str, Any]) -> list[str]:
    """Each argument with its name, in one manner for all."""
    manner = int(rng.integers(8))
    told = []
    for name, value in arguments.items():
        spoken = said(rng, value, 0.6)
        plain = name.replace("_", " ") if rng.random() < 0.4 else name
        told.append(
            (
                f"{name}={spoken}",
                f"{name} = {spoken}",
                f"{plain} {spoken}",
                f"{plain} set to {spoken}",
                f"{name}: {spoken}",
                f"{spoken} as {plain}",
                f"{plain} being {spoken}",
                f"{spoken} for {plain}",
            )[manner]
        )
    return told


def _keywords(rng: np.random.Generator, tool: Tool, arguments: Mapping[str, Any]) -> str:
    if not arguments:
        return fill(rng, _WITHOUT, {"name": tool.spec.name})
    told = pairs(rng, arguments)
    if len(told) > 1 and rng.random() < 0.25:
        rng.shuffle(told)
    if len(tool.properties) == 1 and rng.random() < 0.4:
        told = [said(rng, next(iter(arguments.values())), 0.6)]
    return fill(rng, _KEYWORDS, {"pairs": listed(told), "name": tool.spec.name})


def _inside(rng: np.random.Generator, names: list[str], arguments: Mapping[str, Any]) -> str:
    """What stands in a function's parentheses: by position where nothing is left out before."""
    by_position = list(arguments) == names[: len(arguments)] and rng.random() < 0.7
    space = pick(rng, (" ", " ", ""))
    parts = [_literal(rng, value) for value in arguments.values()]
    if not by_position:
        parts = [f"{name}={part}" for name, part in zip(arguments, parts, strict=True)]
    return f",{space}".join(parts)


def _literal(rng: np.random.Generator, value: Any) -> str:
    if isinstance(value, bool) and rng.random() < 0.5:
        return str(value)
    if isinstance(value, str) and rng.random() < 0.45:
        return f"'{value}'"
    if isinstance(value, str) and rng.random() < 0.2:
        return value
    return json.dumps(value, ensure_ascii=False)


def _natural(rng: np.random.Generator, tool: Tool, arguments: Mapping[str, Any]) -> str:
    slots = {name: said(rng, value) for name, value in arguments.items()}
    for name, value in arguments.items():
        if isinstance(value, bool):
            slots[name] = (("off", "on"), ("off", "on"), ("false", "true"))[int(rng.integers(3))][
                int(value)
            ]
    return fill(rng, tool.asks, slots)


def _dressed(rng: np.random.Generator, text: str, tool: Tool) -> str:
    """A capital, a greeting, a reminder to use the tool: now and then."""
    chance = rng.random(4)
    if chance[0] < 0.08:
        opening = pick(rng, ("please", "hey,", "hi,", "hello,", "ok,", "now", "using the tool,"))
        text = f"{opening} {text}"
    if chance[1] < 0.7 and not text.startswith(tool.spec.name):
        text = text[:1].upper() + text[1:]
    if chance[2] < 0.22:
        end = "" if text[-1:] in ".?!" else "."
        reminder = fill(rng, _REMINDERS, {"name": tool.spec.name})
        text = f"{text}{end} {reminder[0].upper()}{reminder[1:]}"
    elif chance[3] < 0.04:
        text = f"{text} {word(rng)} {word(rng)}"
    return text
