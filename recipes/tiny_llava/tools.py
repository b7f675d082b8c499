"""Conversations with made-up tools, which the embedded model learns to call tools from.

Words, families of tools and phrasings are data (`data/tools.txt`). What a call copies from a
request must not be guessable: half of all words are random syllables. Images as results and
several calls at once are not covered.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from numpy.random import Generator as Rng

from llava_tools.chat.formats import SYSTEM
from llava_tools.chat.image_handles import ARGUMENT
from llava_tools.chat.prompt import write_turns
from llava_tools.chat.tool_calls import write_turn
from llava_tools.core.constraints import Constraint, ToolCall, ToolSpec
from llava_tools.core.requests import Message
from recipes.tiny_llava.words import lexicon, load, phrase, pick

#: The answer to a request that no bound tool fits.
NO_TOOL = "I have no tool for that."
#: Schemas of arguments by their kind, where it is not a string.
SCHEMAS: Mapping[str, Mapping[str, Any]] = {
    **{name: {"type": name} for name in ("integer", "number", "boolean")},
    "words": {"type": "array", "items": {"type": "string"}},
    "integers": {"type": "array", "items": {"type": "integer"}},
    "image": ARGUMENT,
}
#: Shares of conversations by what they end with: a call, an answer from a tool's result, words that
#: need no tool, or `NO_TOOL`.
SHARES = {"call": 0.65, "result": 0.12, "words": 0.10, "none": 0.13}


@cache
def held_out() -> frozenset[str]:
    """Return the words of the examination's tools."""
    return frozenset(" ".join(load("tools")["held out"]).split())


def value(rng: Rng, name: str) -> str:
    """Return a new text for a slot: mostly a phrasing of the section of that name."""
    if name == "known":
        return pick(rng, lexicon())
    if name == "Word":
        return value(rng, "word").capitalize()
    if name == "script":
        first, last = map(ord, phrase(rng, load("tools")["scripts"]))
        return "".join(map(chr, rng.integers(first, last + 1, size=int(rng.integers(2, 9)))))
    text = fill(rng, load("tools")[name])
    return value(rng, name) if name in ("made", "subject") and text in held_out() else text


def fill(rng: Rng, templates: Sequence[str], slots: dict[str, str] | None = None) -> str:
    """Return a phrasing of the templates with all slots filled but numbers such as `<1>`.

    With `slots`, each slot has one value: what `slots` has, or a new value that is added to it.
    """

    def text(slot: re.Match[str]) -> str:
        if slots is None:
            return value(rng, slot[1])
        if slot[1] not in slots:
            slots[slot[1]] = value(rng, slot[1])
        return slots[slot[1]]

    return re.sub(r"<([A-Za-z]+)>", text, phrase(rng, templates))


@dataclass(frozen=True)
class Tool:
    """A made-up tool of a family, and how to ask for it.

    Its `topic` names its result in an answer, and no other bound tool has its word `about`. Its
    `request` in natural words, "" for none, names its arguments, of these `kinds`, `<1>` and so on.
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
            shares[section] = float(dict(ln.split(": ", 1) for ln in lines).get("share", 1))
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
    camel = pascal[0].lower() + pascal[1:]
    name = pick(rng, (*["_".join(words)] * 7, camel, camel, pascal))
    text = fill(rng, parts["description"], slots).replace("_", " ")
    description = text[0].upper() + text[1:] if rng.random() < 0.94 else ""
    kinds = dict(fill(rng, [ln], {**slots}).rsplit(": ", 1) for ln in parts["argument"])
    request = fill(rng, parts["request"], slots) if parts["request"] else ""
    optional = not request and rng.random() < 0.35
    properties = {}
    for argument, kind in kinds.items():
        properties[argument] = dict(SCHEMAS.get(kind, {"type": "string"}))
        if kind == "enum":
            options = [value(rng, "subject") for _ in range(int(rng.integers(2, 5)))]
            properties[argument]["enum"] = list(dict.fromkeys(options))
        if rng.random() < 0.2:
            properties[argument]["description"] = f"The {argument.replace('_', ' ')} to use."
    required = [argument for argument in kinds if not optional or rng.random() < 0.8]
    schema = {"type": "object", "properties": properties, "required": required}
    about = slots.get("about") or (slots["subject"] if request else name)
    spec = ToolSpec(name, description, schema)
    return Tool(spec, family, about, slots.get("topic", "result"), request, kinds)


def _argument(rng: Rng, kind: str, schema: Mapping[str, Any]) -> Any:
    """Return a value that an argument's schema allows."""
    if kind in ("enum", "boolean"):
        return pick(rng, schema.get("enum", (False, True)))
    if kind in ("words", "integers"):
        return [_argument(rng, kind[:-1], {}) for _ in range(int(rng.integers(1, 5)))]
    if kind == "number" and rng.random() < 0.6:
        return float(value(rng, "decimal"))
    return int(value(rng, "integer")) if kind in ("integer", "number") else value(rng, kind)


def ask_for(rng: Rng, tool: Tool, natural: float = 0.72) -> tuple[str, dict[str, Any]]:
    """Return a request, a share `natural` of them in natural words, and the call's arguments."""
    schema, data = tool.spec.parameters, load("tools")
    names = [name for name in tool.kinds if name in schema["required"] or rng.random() < 0.5]
    arguments = {n: _argument(rng, tool.kinds[n], schema["properties"][n]) for n in names}
    texts = _texts(rng, tool, arguments)
    style = "functions" if rng.random() < 0.55 else "keywords" if arguments else "without"
    request = (tool.request if rng.random() < natural else "") or phrase(rng, data[style])
    request = f"{phrase(rng, data['opening'])} {request}".strip()
    request = request[0].upper() + request[1:] if rng.random() < 0.7 else request
    if rng.random() < 0.2:
        request += "" if request[-1] in ".?!" else "."
        request += f" {phrase(rng, data['reminder'])}"
    return re.sub(r"<(\w+)>", lambda slot: texts[slot[1]], request), arguments


def _spoken(rng: Rng, value: Any, quoted: float = 0.0) -> str:
    """Return a value as a request names it; a share `quoted` of strings is in quotation marks."""
    if isinstance(value, bool):
        return pick(rng, (("false", "true"), ("off", "on"), ("no", "yes")))[value]
    if isinstance(value, list) and rng.random() < 0.6:
        return _join(list(map(str, value)), pick(rng, (" and ", ", ")))
    if isinstance(value, str):
        return pick(rng, (f"'{value}'", f'"{value}"')) if rng.random() < quoted else value
    return json.dumps(value, ensure_ascii=False)


def _join(parts: Sequence[str], last: str) -> str:
    return last.join(filter(None, [", ".join(parts[:-1]), *parts[-1:]]))


def _texts(rng: Rng, tool: Tool, arguments: Mapping[str, Any]) -> dict[str, str]:
    """Return what fills the slots of a request: each argument, a call as of a function, pairs."""
    texts = {str(n): _spoken(rng, item) for n, item in enumerate(arguments.values(), 1)}
    quote, values = str(rng.choice(("'", '"', ""), p=(0.4, 0.45, 0.15))), arguments.values()
    parts = [f"{quote}{v}{quote}" if isinstance(v, str) else json.dumps(v) for v in values]
    # An argument can stand without its name if none is left out before it.
    if list(arguments) != list(tool.kinds)[: len(arguments)] or rng.random() < 0.3:
        parts = [f"{name}={part}" for name, part in zip(arguments, parts, strict=True)]
    call = f"{tool.spec.name}({pick(rng, (', ', ', ', ',')).join(parts)})"
    bare = len(arguments) == 1 and rng.random() < 0.3
    style, pairs = "<value>" if bare else pick(rng, load("tools")["pairs"]), []
    for name, item in arguments.items():
        slots = {"name": name, "spoken": name.replace("_", " ")}
        pairs.append(fill(rng, [style], slots | {"value": _spoken(rng, item, quoted=0.6)}))
    joined = _join(pairs, pick(rng, (" and ", ", ")))
    return texts | {"name": tool.spec.name, "call": call, "pairs": joined}


def _exchange(rng: Rng, section: str, **slots: str) -> list[str]:
    """Return the two sides of a line `text => answer` of a section."""
    return fill(rng, load("tools")[section], {"open": "{", "close": "}", **slots}).split(" => ")


def _unfit(rng: Rng, tools: Sequence[Tool]) -> str:
    """Return a request in natural words that none of the tools fits."""
    bound = " ".join(f"{tool.spec.name} {tool.spec.description}".lower() for tool in tools)
    while True:
        tool = make_tool(rng)
        request, _ = ask_for(rng, tool, natural=1.0)
        if tool.request and tool.about in request and tool.about not in bound:
            return request.replace(f"Use {tool.spec.name}", "Use the tool")


def dialogue(rng: Rng) -> tuple[list[Message], Constraint, str]:
    """Return the messages of a conversation, the last an answer, the bound tools and the kind."""
    kind = str(rng.choice(list(SHARES), p=list(SHARES.values())))
    made = [make_tool(rng) for _ in range(int(rng.integers(1, 5)))]
    made = list({tool.about: tool for tool in made}.values())
    tools = list({tool.spec.name: tool for tool in made}.values())
    tool_choice = "any" if kind == "call" and rng.random() < 0.4 else "auto"
    texts, messages = [], []
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
    system = pick(rng, load("tools")["systems"]) if rng.random() < 0.15 else SYSTEM
    constraint = Constraint(tuple(tool.spec for tool in tools), tool_choice)
    return [Message("system", (system,)), *words, *messages], constraint, kind


@dataclass(frozen=True)
class Conversation:
    """Texts of the system turn and of the user's and assistant's turns in pairs."""

    system: str
    turns: tuple[tuple[str, str], ...]
    kind: str

    def as_record(self, name: str) -> dict[str, Any]:
        """Return the conversation in LLaVA's JSON, with its system turn and no picture."""
        speakers = ("system", *("human", "gpt") * len(self.turns))
        texts = (self.system, *(text for turn in self.turns for text in turn))
        turns = [{"from": s, "value": text} for s, text in zip(speakers, texts, strict=True)]
        return {"id": name, "conversations": turns}


def conversation(rng: Rng) -> Conversation:
    """Return a conversation about made-up tools, in the text that the engine writes."""
    (*prompt, answer), constraint, kind = dialogue(rng)
    system, turns = write_turns(prompt, constraint)
    texts = [*(turn.text for turn in turns), write_turn(answer.text, answer.tool_calls)]
    return Conversation(system, tuple(zip(texts[::2], texts[1::2], strict=True)), kind)
