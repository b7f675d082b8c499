"""Tools, names and sentences for the examination alone, never for training.

Written by hand. Names and descriptions use words of
:data:`~recipes.tiny_llava.talk.names.HELD_OUT`, and no sentence is one that the templates of
:mod:`~recipes.tiny_llava.talk.asking` compose (a test holds both). :func:`call_items` binds each
case among one to four tools.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from llava_tools.chat.tool_calls import write_turn
from llava_tools.core.constraints import Constraint, ToolCall, ToolSpec
from llava_tools.core.requests import Message
from recipes.tiny_llava.words import pick


def _spec(name: str, description: str, /, **types: Any) -> ToolSpec:
    """A tool with required arguments; a type is its name, or a whole schema."""
    properties = {n: t if isinstance(t, dict) else {"type": t} for n, t in types.items()}
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return ToolSpec(name, description, schema)


_LIST = {"type": "array", "items": {"type": "string"}}
_SIZE = {"type": "string", "enum": ["small", "medium", "large"]}

TOOLS = {
    spec.name: spec
    for spec in (
        _spec("magic_number", "Apply a magic rule to a number.", input="integer"),
        _spec("my_adder", "Add two integers.", a="integer", b="integer"),
        _spec("storm_level", "How strong a storm is.", day="integer"),
        _spec("get_weather_at", "Get the weather at a place.", place="string"),
        _spec("river_depth", "Measure how deep a river is.", river="string"),
        _spec("find_museum", "Find a museum in a city.", city="string"),
        _spec("new_customer", "Register a customer.", name="string"),
        _spec("rename_planet", "Give a planet another name.", planet_name="string"),
        _spec("joke_writer", "Write a joke in some style.", style="string"),
        _spec("planet_today", "Name the planet of the day."),
        _spec("winter_countdown", "Count the days until winter."),
        _spec("order_coffee", "Order a coffee.", size=_SIZE, sugar="boolean"),
        _spec("book_train", "Book seats on a train.", destination="string", seats="integer"),
        _spec("pack_animals", "Put animals on a boat.", animals=_LIST),
        _spec("tuneGarden", "Set how warm the garden is.", degrees="number"),
        _spec("schoolLibrary", "Search the school's library.", query="string"),
    )
}


@dataclass(frozen=True, slots=True)
class ToolItem:
    """A conversation to go on from, and the exact text of a right answer."""

    kind: str
    messages: tuple[Message, ...]
    constraint: Constraint
    answer: str


Case = tuple[str, str, str, Mapping[str, Any]]

_NUMBERS: tuple[Case, ...] = tuple(
    case
    for n in (3, 8, 47, 260, 9154)
    for case in (
        (
            "function",
            "magic_number",
            f"What is the value of magic_number({n})? Use the tool.",
            {"input": n},
        ),
        ("function", "storm_level", f"I would like to see storm_level({n}).", {"day": n}),
        (
            "keyword",
            "magic_number",
            f"Have magic_number run with input equal to {n}.",
            {"input": n},
        ),
        ("natural", "storm_level", f"How strong will the storm be on day {n}?", {"day": n}),
        (
            "natural",
            "my_adder",
            f"What do we get if we add {n} and 12 together?",
            {"a": n, "b": 12},
        ),
        ("function", "my_adder", f"Let me know my_adder({n}, 7).", {"a": n, "b": 7}),
    )
)
_PLACES = ("Vienna", "Kuala Lumpur", "Port Louis, MU", "Brzeg", "New Orleans, LA")
_STRINGS: tuple[Case, ...] = tuple(
    case
    for p in _PLACES
    for case in (
        (
            "function",
            "get_weather_at",
            f"What is the value of get_weather_at('{p}')? Use the tool.",
            {"place": p},
        ),
        ("keyword", "find_museum", f'Have find_museum run with city equal to "{p}".', {"city": p}),
        ("natural", "get_weather_at", f"What's the weather like in {p}?", {"place": p}),
        ("natural", "find_museum", f"Is there a museum in {p}?", {"city": p}),
        ("natural", "river_depth", f"How deep is the river {p}?", {"river": p}),
        (
            "natural",
            "book_train",
            f"I want 3 seats on the train to {p}.",
            {"destination": p, "seats": 3},
        ),
        (
            "natural",
            "joke_writer",
            f"With the tool's help, write a {p.split()[0].rstrip(',')} joke.",
            {"style": p.split()[0].rstrip(",")},
        ),
        ("natural", "schoolLibrary", f'Is "{p}" in the school\'s library?', {"query": p}),
    )
)
_UNICODE: tuple[Case, ...] = tuple(
    case
    for u in ("北京烤鸭", "ありがとう会社", "Чайковский", "서울시장", "Ἀθῆναι")
    for case in (
        ("function", "new_customer", f"I would like to see new_customer('{u}').", {"name": u}),
        (
            "natural",
            "new_customer",
            f"We won a customer who is called '{u}' (a friend).",
            {"name": u},
        ),
        ("natural", "rename_planet", f'The planet shall be "{u}" from now on.', {"planet_name": u}),
    )
)
_NONE: tuple[Case, ...] = (
    ("function", "planet_today", "What is the value of planet_today()? Use the tool.", {}),
    ("function", "winter_countdown", "I would like to see winter_countdown().", {}),
    ("keyword", "planet_today", "Have planet_today run.", {}),
    ("natural", "planet_today", "Which planet is it today?", {}),
    ("natural", "winter_countdown", "How many days is it until winter?", {}),
)
_OTHER: tuple[Case, ...] = (
    (
        "natural",
        "order_coffee",
        "I'd like a large coffee, sugar: true.",
        {"size": "large", "sugar": True},
    ),
    (
        "function",
        "order_coffee",
        "What about order_coffee('small', false)?",
        {"size": "small", "sugar": False},
    ),
    (
        "keyword",
        "order_coffee",
        "Have order_coffee run with size equal to medium and sugar equal to false.",
        {"size": "medium", "sugar": False},
    ),
    ("natural", "tuneGarden", "It should be 21.5 degrees in the garden.", {"degrees": 21.5}),
    ("function", "tuneGarden", "I would like to see tuneGarden(7.25).", {"degrees": 7.25}),
    (
        "natural",
        "pack_animals",
        "The animals cat, dog and horse go on the boat.",
        {"animals": ["cat", "dog", "horse"]},
    ),
    (
        "function",
        "pack_animals",
        'I would like to see pack_animals(["owl", "bee"]).',
        {"animals": ["owl", "bee"]},
    ),
)
CASES: dict[str, tuple[Case, ...]] = {
    "integer": _NUMBERS,
    "string": _STRINGS,
    "unicode": _UNICODE,
    "none": _NONE,
    "other": _OTHER,
}
"""By type of argument: style, tool, question, arguments."""


def call_items(seed: int = 0) -> list[ToolItem]:
    """Every case with 1, 2, 3 and 4 tools bound; kinds are ``tools/argument/style``."""
    rng = np.random.default_rng((1_000_003, 4, seed))
    items = []
    for argument, cases in CASES.items():
        for style, name, question, arguments in cases:
            for count in (1, 2, 3, 4):
                others = [n for n in TOOLS if n != name]
                names = [name, *(str(n) for n in rng.choice(others, count - 1, replace=False))]
                rng.shuffle(names)
                choice = pick(rng, ("auto", "any"))
                constraint = Constraint(tuple(TOOLS[n] for n in names), choice)
                answer = write_turn("", (ToolCall("", name, arguments),))
                asked = (Message("user", (question,)),)
                items.append(
                    ToolItem(f"{count} tools/{argument}/{style}", asked, constraint, answer)
                )
    return items


_RESULTS = (
    (
        "get_weather_at",
        {"place": "Lund"},
        "What's the weather like in Lund?",
        "It's sunny.",
        "It's sunny.",
    ),
    ("magic_number", {"input": 3}, "What is magic_number of 3?", "5", "The result is 5."),
    (
        "my_adder",
        {"a": 1, "b": 2},
        "What is 1 and 2 together?",
        '{"result": 3}',
        "The result is 3.",
    ),
    (
        "find_museum",
        {"city": "Graz"},
        "A museum in Graz?",
        "There are two near the bridge.",
        "There are two near the bridge.",
    ),
    ("river_depth", {"river": "Mur"}, "How deep is the Mur?", '{"depth": 12}', "The depth is 12."),
)


def result_items() -> list[ToolItem]:
    """What is said of a tool's result; with an error, only that it is said in words."""
    items = []
    for name, arguments, question, text, answer in _RESULTS:
        for others in ((), ("planet_today",), ("storm_level", "joke_writer")):
            tools = tuple(TOOLS[n] for n in (name, *others))
            asked = (
                Message("user", (question,)),
                Message("assistant", (), (ToolCall("1", name, arguments),)),
                Message("tool", (text,), tool_call_id="1"),
            )
            items.append(ToolItem("result", asked, Constraint(tools), answer))
    return items


def plain_items() -> list[ToolItem]:
    """What is answered in words though tools are bound: any words are right."""
    items = []
    for question in (
        "Hello!",
        "Thank you so much!",
        "Good evening.",
        "How are you?",
        "Who are you?",
    ):
        for names in (("get_weather_at",), ("my_adder", "planet_today"), tuple(TOOLS)[:4]):
            tools = tuple(TOOLS[n] for n in names)
            items.append(ToolItem("words", (Message("user", (question,)),), Constraint(tools), ""))
    return items


_UNFIT = (
    ("How strong will the storm be on day 4?", ("find_museum",), ("my_adder", "joke_writer")),
    (
        "What do we get if we add 8 and 12 together?",
        ("get_weather_at",),
        ("river_depth", "find_museum"),
    ),
    ("What's the weather like in Vienna?", ("my_adder",), ("order_coffee", "new_customer")),
    ("Is there a museum in Brzeg?", ("magic_number",), ("river_depth", "tuneGarden")),
    ("How deep is the river Mur?", ("order_coffee",), ("find_museum", "planet_today")),
    ("I want 3 seats on the train to Graz.", ("storm_level",), ("schoolLibrary", "magic_number")),
    ("It should be 21.5 degrees in the garden.", ("find_museum",), ("my_adder", "new_customer")),
    ("How many days is it until winter?", ("joke_writer",), ("book_train", "pack_animals")),
    ('The planet shall be "Lund" from now on.', ("order_coffee",), ("get_weather_at", "my_adder")),
    ("The animals owl and bee go on the boat.", ("magic_number",), ("storm_level", "planet_today")),
)


def unfit_items() -> list[ToolItem]:
    """What is asked for that no tool does which is bound: any words are right, a call is not."""
    return [
        ToolItem(
            "none fits",
            (Message("user", (question,)),),
            Constraint(tuple(TOOLS[name] for name in names)),
            "",
        )
        for question, *bound in _UNFIT
        for names in bound
    ]


def right(item: ToolItem, said: str) -> bool:
    """Whether an answer is right: the exact text, or, where none is given, words and no call."""
    return said == item.answer if item.answer else bool(said) and "<tool_call>" not in said


def by_part(items: Sequence[ToolItem], said: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Right and asked, by every part of the items' kinds."""
    counts: dict[str, tuple[int, int]] = {}
    for item, text in zip(items, said, strict=True):
        for part in ("exact call", *item.kind.split("/")) if "/" in item.kind else (item.kind,):
            hits, asked = counts.get(part, (0, 0))
            counts[part] = hits + right(item, text), asked + 1
    return counts
