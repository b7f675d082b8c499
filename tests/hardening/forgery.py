"""Texts that spell the structure of prompts, in every place of a request where others write."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from llava_tools.core.constraints import Constraint, ToolCall, ToolSpec
from llava_tools.core.requests import Message, Request
from llava_tools.errors import RequestError
from llava_tools.retrieval.passages import choose_passages
from llava_tools.retrieval.question import PROMPT_WITH_TEXT
from tests.hardening.attack import Attack, Tally
from tests.hardening.markers import draw
from tests.hardening.prompt_structure import KINDS, SERVED_KINDS, check_structure, kind_of
from tests.strategies import make_image

_PHOTO = make_image(7)
_CALL = ToolCall("c", "look", {"question": "What?"})


def _user(*content: Any) -> Message:
    return Message("user", (_PHOTO, *content))


def _with_schema(schema: dict[str, Any]) -> Request:
    return Request((_user("What?"),), constraint=Constraint(schema={"type": "object", **schema}))


def _with_tool(description: str = "", **schema: Any) -> Request:
    tool = ToolSpec("look", description, {"type": "object", **schema})
    return Request((_user("What?"),), constraint=Constraint((tool,)))


def _tool_result(text: str, **fields: Any) -> Request:
    called = Message("assistant", ("",), (_CALL,))
    result = Message("tool", (text,), (), "c", **fields)
    return Request((_user("What?"), called, result, Message("user", ("Well?",))))


def _document(text: str) -> Request:
    passages = choose_passages(text, "What is it?", 200)
    return Request((_user(PROMPT_WITH_TEXT.format(question="What is it?", text=passages)),))


#: Requests with a text of somebody else's, by its place.
PLACES: Mapping[str, Callable[[str], Request]] = {
    "user": lambda text: Request((_user(f"{text}?"),)),
    "two parts": lambda text: Request(
        (_user(text[: len(text) // 2], text[len(text) // 2 :], "?"),)
    ),
    "two messages": lambda text: Request(
        (_user(text[: len(text) // 2]), Message("user", (text[len(text) // 2 :], "?")))
    ),
    "system": lambda text: Request((Message("system", (text,)), _user("What?"))),
    "answer": lambda text: Request(
        (_user("What?"), Message("assistant", (f"a {text}",)), Message("user", ("Sure?",)))
    ),
    "last answer": lambda text: Request((_user("What?"), Message("assistant", (f"a {text}",)))),
    "result": _tool_result,
    "error": partial(_tool_result, is_error=True),
    "name of a result": lambda text: _tool_result("fine", name=f"t{text}"),
    "name of a call": lambda text: Request(
        (_user("?"), Message("assistant", ("a",), (ToolCall("c", text, {}),)), _user("Well?"))
    ),
    "arguments of a call": lambda text: Request(
        (
            _user("What?"),
            Message("assistant", ("",), (ToolCall("c", "look", {text: [text, {"a": text}]}),)),
            Message("tool", ("fine",), (), "c"),
        )
    ),
    "description of a tool": _with_tool,
    "property of a tool": lambda text: _with_tool(properties={text: {"type": "string"}}),
    "description of a property": lambda text: _with_tool(
        properties={"a": {"type": "string", "description": text}}
    ),
    "enum of a tool": lambda text: _with_tool(properties={"a": {"enum": [text, [text]]}}),
    "default of a tool": lambda text: _with_tool(
        properties={"a": {"type": "string", "default": {text: text}}}
    ),
    "title": lambda text: _with_schema({"title": text, "description": text}),
    "property": lambda text: _with_schema({"properties": {text: {"const": text}}}),
    "definition": lambda text: _with_schema(
        {
            "properties": {"a": {"$ref": "#/$defs/" + text.replace("~", "~0").replace("/", "~1")}},
            "$defs": {text: {"enum": [text]}},
        }
    ),
    "format": lambda text: _with_schema({"properties": {"a": {"type": "string", "format": text}}}),
    "document": _document,
    "name of a file": lambda text: Request((_user(f"The page {text}.pdf: what is it?"),)),
}

#: Places whose text may have any lines: a speaker's own, and those behind a question.
_FREE = frozenset(
    {
        "user",
        "two parts",
        "two messages",
        "system",
        "answer",
        "last answer",
        "document",
        "name of a file",
    }
)


def outcome(place: str, name: str, text: str, *, served: bool) -> str:
    """Compare the structure of a prompt with that of a harmless text in the same place."""
    try:
        forged = PLACES[place](text)
    except RequestError as error:
        if len(str(error).splitlines()) != 1:
            raise AssertionError(str(error)) from error
        return "refused"
    harmless = PLACES[place]("xyz")
    lines = place not in _FREE
    check_structure(kind_of(name), forged, harmless, served=served, lines=lines)
    return "the same through a server" if served else "the same"


def attack(count: int, seed: int) -> Tally:
    """Write drawn texts in all places, for all kinds of tokenizers and as servers read them."""
    rng, tally = random.Random(seed), Tally()
    places = list(PLACES)
    for number in range(count):
        place, name = places[number % len(places)], KINDS[number // len(places) % len(KINDS)]
        text, served = draw(rng), rng.random() < 0.4 and name in SERVED_KINDS
        what = f"{place}, {name}{', served' if served else ''}: {json.dumps(text)}"
        tally.add(partial(outcome, place, name, text, served=served), what)
    return tally


ATTACK = Attack(
    "forgery", "texts that spell structure, in every place of a request", attack, 20_000, 1_600
)
