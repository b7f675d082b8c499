"""Conversations with made-up tools, which the embedded model learns to call tools from.

A seeded generator goes in, a `Conversation` comes out. Its steps: `make_tool` makes a tool of a
family and a request for it, `ask_for` chooses the arguments and words the request, `dialogue` puts
messages together, and `write` turns them into the text that the engine sends. Words, families of
tools and phrasings are data (`data/tools.txt`).

What a call copies from a request must not be guessable: half of all words are random syllables,
and strings of other scripts are random characters. Words of the examination (`held_out`) are in no
tool's name, description or schema. Images as results and several calls at once are not covered.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from llava_tools.chat.image_handles import ARGUMENT
from llava_tools.chat.prompt import write_turns
from llava_tools.chat.tool_calls import write_turn
from llava_tools.core.constraints import Constraint, ToolCall, ToolSpec
from llava_tools.core.requests import Message
from recipes.tiny.words import lexicon, load, phrase, pick

Rng = np.random.Generator

#: The answer to a request that no bound tool fits.
NO_TOOL = "I have no tool for that."
#: Shares of the kinds of conversations: those that end with a call, with an answer from a tool's
#: result, with words that need no tool, and with `NO_TOOL`.
SHARES = {"call": 0.65, "result": 0.12, "words": 0.10, "none": 0.13}


@cache
def _words(section: str) -> tuple[str, ...]:
    """Return the words of a section; `known` and `plain` are the lexicon, `plain` without the exam's."""
    words = lexicon() if section in ("known", "plain") else " ".join(load("tools")[section]).split()
    return tuple(word for word in words if section != "plain" or word not in held_out())


def held_out() -> frozenset[str]:
    """Return the words of the examination's tools."""
    return frozenset(_words("held out"))


def value(rng: Rng, name: str) -> str:
    """Return a new text for a slot: a listed word, or a phrasing of the section of that name."""
    if name in ("known", "plain", "noun"):
        return pick(rng, _words(name))
    if name == "Word":
        return value(rng, "word").capitalize()
    if name == "script":
        first, last = pick(rng, _words("scripts"))
        codes = rng.integers(ord(first), ord(last) + 1, size=int(rng.integers(2, 9)))
        return "".join(chr(int(code)) for code in codes)
    text = fill(rng, load("tools")[name])
    return value(rng, name) if name == "made" and text in held_out() else text


def fill(rng: Rng, templates: Sequence[str], slots: dict[str, str] | None = None) -> str:
    """Return a phrasing of the templates with all slots filled but numbers such as `<1>`.

    With `slots`, each slot has one value: what `slots` has, or a new value that is added to it.
    """

    def text(slot: re.Match[str]) -> str:
        if slots is not None and slot[1] in slots:
            return slots[slot[1]]
        new = value(rng, slot[1])
        return new if slots is None else slots.setdefault(slot[1], new)

    return re.sub(r"<([A-Za-z]+)>", text, phrase(rng, templates))


@dataclass(frozen=True)
class Tool:
    """A made-up tool, and how to ask for it.

    Attributes:
        spec: What the model reads of it.
        family: Name of its section in `data/tools.txt`.
        about: A word of its purpose, which no other bound tool has.
        topic: What its result is called in an answer.
        request: A request in natural words, with arguments as `<1>`; "" for none.
        kinds: Kinds of its arguments by name, in order.
    """

    spec: ToolSpec
    family: str
    about: str
    topic: str
    request: str
    kinds: Mapping[str, str]


@cache
def families() -> dict[str, float]:
    """Return the sections of all families of tools, and their shares, which add up to 1."""
    shares = {}
    for section, lines in load("tools").items():
        if section.startswith("family "):
            shares[section] = float(next((ln[7:] for ln in lines if ln.startswith("share: ")), 1))
    return {section: share / sum(shares.values()) for section, share in shares.items()}


def make_tool(rng: Rng) -> Tool:
    """Return a tool of a random family."""
    family = str(rng.choice(list(families()), p=list(families().values())))
    parts: defaultdict[str, list[str]] = defaultdict(list)
    slots = dict(zip(("how", "what"), pick(rng, load("tools")["measures"]).split(), strict=True))
    for line in load("tools")[family]:
        key, template = line.split(": ", 1)
        parts[key].append(template)
        if key not in ("name", "description", "argument", "request"):
            slots[key] = fill(rng, [template], slots)
    words = fill(rng, parts["name"], slots).replace("_", " ").split()
    pascal = "".join(map(str.capitalize, words))
    cases = ("_".join(words), pascal[0].lower() + pascal[1:], pascal)
    name = cases[int(rng.choice(3, p=(0.7, 0.2, 0.1)))]
    description = _capital(fill(rng, parts["description"], slots).replace("_", " "))
    kinds = dict(fill(rng, [ln], {**slots}).rsplit(": ", 1) for ln in parts["argument"])
    request = fill(rng, parts["request"], slots) if parts["request"] else ""
    parameters = _parameters(rng, kinds, optional=not request and rng.random() < 0.35)
    about = slots.get("about") or (slots["subject"] if request else name)
    spec = ToolSpec(name, description if rng.random() < 0.94 else "", parameters)
    return Tool(spec, family, about, slots.get("topic", "result"), request, kinds)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _parameters(rng: Rng, kinds: Mapping[str, str], optional: bool) -> dict[str, Any]:
    """Return the schema of arguments, some of them not required if `optional`."""
    properties: dict[str, dict[str, Any]] = {}
    for name, kind in kinds.items():
        properties[name] = {"type": kind if kind in ("integer", "number", "boolean") else "string"}
        if kind == "image":
            properties[name] = dict(ARGUMENT)
        elif kind == "enum":
            options = [value(rng, "subject") for _ in range(int(rng.integers(2, 5)))]
            properties[name]["enum"] = list(dict.fromkeys(options))
        elif kind in ("words", "integers"):
            item = "string" if kind == "words" else "integer"
            properties[name] = {"type": "array", "items": {"type": item}}
        if rng.random() < 0.2:
            properties[name]["description"] = f"The {name.replace('_', ' ')} to use."
    required = [name for name in kinds if not optional or rng.random() < 0.8]
    return {"type": "object", "properties": properties, "required": required}


def _argument(rng: Rng, kind: str, schema: Mapping[str, Any]) -> Any:
    """Return a value of a kind of arguments that the schema allows."""
    if kind == "enum":
        return pick(rng, schema["enum"])
    if kind == "boolean":
        return bool(rng.random() < 0.5)
    if kind in ("words", "integers"):
        return [_argument(rng, kind[:-1], {}) for _ in range(int(rng.integers(1, 5)))]
    if kind == "number" and rng.random() < 0.6:
        return float(value(rng, "decimal"))
    return int(value(rng, "integer")) if kind in ("integer", "number") else value(rng, kind)


def ask_for(rng: Rng, tool: Tool, natural: float = 0.72) -> tuple[str, dict[str, Any]]:
    """Return a request for a tool and the arguments of the call, in the schema's order.

    A share `natural` is in natural words, the others like a function or with named arguments.
    """
    schema = tool.spec.parameters
    names = [name for name in tool.kinds if name in schema["required"] or rng.random() < 0.5]
    arguments = {n: _argument(rng, tool.kinds[n], schema["properties"][n]) for n in names}
    texts = {str(n): _spoken(rng, value) for n, value in enumerate(arguments.values(), 1)}
    texts |= {"name": tool.spec.name, "call": _call(rng, tool, arguments)}
    texts["pairs"] = _pairs(rng, arguments) if arguments else ""
    style = "functions" if rng.random() < 0.55 else "keywords" if arguments else "without"
    is_natural = tool.request and rng.random() < natural
    request = tool.request if is_natural else phrase(rng, load("tools")[style])
    request = f"{phrase(rng, load('tools')['opening'])} {request}".strip()
    request = _capital(request) if rng.random() < 0.7 else request
    if rng.random() < 0.2:
        end = "" if request[-1] in ".?!" else "."
        request = f"{request}{end} {phrase(rng, load('tools')['reminder'])}"
    return re.sub(r"<(\w+)>", lambda slot: texts[slot[1]], request), arguments


def _spoken(rng: Rng, value: Any, quoted: float = 0.0) -> str:
    """Return a value as a request names it; a share `quoted` of strings is in quotation marks."""
    if isinstance(value, bool):
        return pick(rng, (("false", "true"), ("off", "on"), ("no", "yes")))[value]
    if isinstance(value, list) and rng.random() < 0.6:
        return _join([str(item) for item in value], pick(rng, (" and ", ", ")))
    if isinstance(value, str):
        return pick(rng, (f"'{value}'", f'"{value}"')) if rng.random() < quoted else value
    return json.dumps(value, ensure_ascii=False)


def _join(parts: Sequence[str], last: str) -> str:
    return last.join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else parts[0]


def _call(rng: Rng, tool: Tool, arguments: Mapping[str, Any]) -> str:
    """Return a call as of a function; by position only if no argument is left out before."""
    quote = str(rng.choice(("'", '"', ""), p=(0.4, 0.45, 0.15)))
    texts = {
        name: f"{quote}{value}{quote}" if isinstance(value, str) else json.dumps(value)
        for name, value in arguments.items()
    }
    named = list(arguments) != list(tool.kinds)[: len(arguments)] or rng.random() < 0.3
    parts = [f"{name}={text}" if named else text for name, text in texts.items()]
    return f"{tool.spec.name}({pick(rng, (', ', ', ', ',')).join(parts)})"


def _pairs(rng: Rng, arguments: Mapping[str, Any]) -> str:
    """Return the arguments with their names, all in one style."""
    style = pick(rng, load("tools")["pairs"])
    texts = []
    for name, item in arguments.items():
        text = style.replace("<name>", name).replace("<spoken>", name.replace("_", " "))
        texts.append(text.replace("<value>", _spoken(rng, item, quoted=0.6)))
    return _join(texts, pick(rng, (" and ", ", ")))


def _exchange(rng: Rng, section: str, **slots: str) -> list[str]:
    """Return the two sides of a line `text => answer` of a section."""
    return fill(rng, load("tools")[section], {"open": "{", "close": "}", **slots}).split(" => ")


def _bind(rng: Rng) -> list[Tool]:
    """Return one to four tools of different purposes."""
    tools: dict[str, Tool] = {}
    count = int(rng.integers(1, 5))
    while len(tools) < count:
        tool = make_tool(rng)
        if tool.spec.name not in [other.spec.name for other in tools.values()]:
            tools.setdefault(tool.about, tool)
    return list(tools.values())


def _unfit(rng: Rng, tools: Sequence[Tool]) -> str:
    """Return a request in natural words that none of the tools fits."""
    bound = " ".join(f"{tool.spec.name} {tool.spec.description}".lower() for tool in tools)
    while True:
        tool = make_tool(rng)
        request, _ = ask_for(rng, tool, natural=1.0)
        named = tool.spec.name in request
        if tool.request and not named and tool.about in request and tool.about not in bound:
            return request


def dialogue(rng: Rng) -> tuple[list[Message], Constraint, str]:
    """Return the messages of a conversation, the last an answer, the bound tools and the kind."""
    kind = str(rng.choice(list(SHARES), p=list(SHARES.values())))
    tools, tool_choice = _bind(rng), "any" if kind == "call" and rng.random() < 0.4 else "auto"
    system, texts, messages = pick(rng, load("tools")["systems"]), [], []
    if kind == "words" or (tool_choice == "auto" and rng.random() < 0.08):
        texts += _exchange(rng, "small talk")
    if kind == "none":
        texts += [_unfit(rng, tools), NO_TOOL]
    if kind in ("call", "result"):
        tool = pick(rng, tools)
        request, arguments = ask_for(rng, tool)
        call = Message("assistant", (), (ToolCall("1", tool.spec.name, arguments),))
        messages = [Message("user", (request,)), call]
        if kind == "result":
            failed = bool(rng.random() < 0.12)
            result, answer = _exchange(rng, "errors" if failed else "results", topic=tool.topic)
            messages.append(Message("tool", (result,), tool_call_id="1", is_error=failed))
            messages.append(Message("assistant", (answer,)))
    words = [Message(("user", "assistant")[n % 2], (text,)) for n, text in enumerate(texts)]
    first = [Message("system", (system,))] if rng.random() < 0.15 else []
    constraint = Constraint(tuple(tool.spec for tool in tools), tool_choice)
    return [*first, *words, *messages], constraint, kind


@dataclass(frozen=True)
class Conversation:
    """A conversation as text.

    Attributes:
        system: Text of the system turn.
        turns: Exchanges in order: the user's text and the assistant's answer.
        kind: See `SHARES`.
        picture: Whether to show any picture before the first request.
    """

    system: str
    turns: tuple[tuple[str, str], ...]
    kind: str
    picture: bool = False

    def as_record(self, name: str, image: str | None = None) -> dict[str, Any]:
        """Return the conversation in LLaVA's JSON, about the file `image` if there is one."""
        texts = [text for turn in self.turns for text in turn]
        texts[0] = texts[0] if image is None else f"<image>\n{texts[0]}"
        speakers = ("system", *("human", "gpt") * len(self.turns))
        values = zip(speakers, (self.system, *texts), strict=True)
        conversations = [{"from": speaker, "value": value} for speaker, value in values]
        record = {"id": name, "conversations": conversations}
        return record if image is None else record | {"image": image}


def write(messages: Sequence[Message], constraint: Constraint, kind: str) -> Conversation:
    """Return a conversation in the text that the engine writes; its last message is an answer."""
    *prompt, answer = messages
    system, turns = write_turns(prompt, constraint)
    texts = [*(turn.text for turn in turns), write_turn(answer.text, answer.tool_calls)]
    return Conversation(system, tuple(zip(texts[::2], texts[1::2], strict=True)), kind)


def conversation(rng: Rng) -> Conversation:
    """Return a conversation about made-up tools."""
    return write(*dialogue(rng))
