"""More families of tools that are asked for naturally: measure, book, order, adjust, rename."""

from __future__ import annotations

from typing import Any

import numpy as np

from recipes.tiny_llava.words import pick

from .kit import Tool, new_tool, string
from .names import PLACES, named, subject
from .values import decimal, foreign, proper, word

_MEASURES = (
    ("tall", "height"),
    ("heavy", "weight"),
    ("long", "length"),
    ("wide", "width"),
    ("old", "age"),
    ("fast", "speed"),
    ("hot", "temperature"),
    ("loud", "noise"),
    ("bright", "light"),
    ("expensive", "price"),
    ("far away", "distance"),
    ("busy", "traffic"),
    ("full", "load"),
    ("big", "size"),
)


def measure(rng: np.random.Generator) -> Tool:
    """What speed does the wheel have in hour 12? How old is Vel Marin, the tower?"""
    thing = subject(rng)
    how, what = pick(rng, _MEASURES)
    ending = what if rng.random() < 0.7 else pick(rng, ("value", "rate", "report", "check", "info"))
    name = named(rng, thing, ending)
    if rng.random() < 0.4:
        name = named(rng, pick(rng, ("get", "check", "measure", "estimate")), thing, ending)
    told = f"{pick(rng, ('Tell how', 'Say how', 'Measure how', 'How'))} {how} {{}} {thing} is."
    if rng.random() < 0.5:
        key = pick(rng, ("hour", "year", "week", "floor", "page", "minute", "month", "number"))
        asks: tuple[str, ...] = (
            f"{{what|which}} {what} does the {thing} have {{in|on|at}} {key} <{key}>?",
            f"how {how} does the {thing} get {{in|by|on}} {key} <{key}>?",
            f"{{give me|i need|show|predict}} the {thing}'s {what} {{in|for|at}} {key} <{key}>"
            "{|.}",
            f"{key} <{key}>: how {how} {{is|was}} the {thing}{{|?}}",
        )
        return new_tool(
            rng,
            name,
            told.format("the"),
            {key: {"type": "integer"}},
            topic=what,
            asks=asks,
            about=thing,
        )
    key = pick(rng, (thing, f"{thing}_name", "name", "which", "of"))
    slot = f"<{key}>"
    asks = (
        f"how {how} {{is|was|would be}} {slot}, the {thing}?",
        f"{{find out|tell me|i want to know|say}} how {how} the {thing} {slot} is{{|.}}",
        f"what {what} {{has|does}} the {thing} {slot}{{| have}}?",
        f"the {what} of the {thing} {{called |named |}}{slot}{{|?|, please}}",
    )
    schema = {key: string(rng, f"Which {thing}.")}
    return new_tool(
        rng, name, told.format("a"), schema, topic=what, asks=asks, make={key: proper}, about=thing
    )


def book(rng: np.random.Generator) -> Tool:
    """Two tickets of the circus in Vel Marin, please."""
    thing = subject(rng)
    verb = pick(rng, ("book", "reserve", "buy", "rent", "get", "hire", "request"))
    place = pick(rng, (*PLACES, "target", "goal", "name"))
    many = pick(rng, ("count", "people", "persons", "nights", "units", "items", "copies", "hours"))
    spoken = many if many != "count" else pick(rng, ("places", "pieces", "of them"))
    asks = (
        f"{verb} <{many}> {spoken} {{for|of}} the {thing} {{in|at|for}} <{place}>{{|.}}",
        f"{{we need|get us|please get|find me}} a {thing} {{in|near|at}} <{place}> "
        f"{{for|with}} <{many}> {spoken}{{|.}}",
        f"{{for|in}} <{place}>, {{a {thing} with|the {thing},}} <{many}> {spoken}{{|.|, please}}",
        f"<{many}> {spoken} {{by|with|of}} {thing}, {{for|going to|in}} <{place}>{{|.}}",
    )
    schema: dict[str, Any] = {place: string(rng), many: {"type": "integer"}}
    if rng.random() < 0.4:
        schema = dict(reversed(schema.items()))
    told = f"{verb.capitalize()} {pick(rng, ('a', 'some', 'the'))} {thing}."
    make = {place: proper, many: lambda r: int(r.integers(1, 40))}
    return new_tool(rng, named(rng, verb, thing), told, schema, asks=asks, make=make, about=thing)


def order(rng: np.random.Generator) -> Tool:
    """Bring me a round cake, hot: on."""
    thing = subject(rng)
    verb = pick(rng, ("make", "bring", "buy", "prepare", "deliver", "choose"))
    kind = pick(rng, ("kind", "type", "form", "style", "colour", "mode"))
    also = pick(rng, ("hot", "fast", "gift", "extra", "cover", "salt", "urgent"))
    options = [word(rng) for _ in range(int(rng.integers(2, 5)))]
    schema: dict[str, Any] = {kind: {"type": "string", "enum": options}}
    asks: tuple[str, ...] = (
        f"{{{verb}|{verb} me|get me|we want|please {verb}}} {{a|the|one}} <{kind}> {thing}{{|.}}",
        f"{{a|one}} {thing} of {{the|}} {kind} <{kind}>{{|, please|.}}",
    )
    if rng.random() < 0.6:
        schema[also] = {"type": "boolean"}
        asks = (
            f"{{{verb}|get me|we want}} {{a|one}} <{kind}> {thing}, {also}{{:|}} <{also}>{{|.}}",
            f"{{a|one}} {thing}, {kind} <{kind}>, {also} <{also}>{{|, please|.}}",
        )
    told = f"{verb.capitalize()} a {thing}."
    return new_tool(rng, named(rng, verb, thing), told, schema, asks=asks, about=thing)


def adjust(rng: np.random.Generator) -> Tool:
    """Make the oven 21.5 degrees."""
    thing = subject(rng)
    verb = pick(rng, ("set", "adjust", "change", "control", "heat", "fix"))
    key = pick(rng, ("degrees", "level", "volume", "percent", "speed", "value", "limit"))
    asks = (
        f"{{make|{verb}|bring|put}} the {thing} {{at|to|}} <{key}> {key}{{|.}}",
        f"the {thing} {{must|has to|ought to|will}} {{have|be at|get}} <{key}> {key}{{|.}}",
        f"{thing}: <{key}> {key}{{|.|, please}}",
        f"i want <{key}> {key} {{for|from}} the {thing}{{|.}}",
    )
    schema = {key: {"type": "number"}}
    told = f"{verb.capitalize()} the {pick(rng, (key, 'value'))} of the {thing}."
    make = {key: lambda r: decimal(r) if r.random() < 0.7 else int(r.integers(1, 200))}
    return new_tool(rng, named(rng, verb, thing), told, schema, asks=asks, make=make, about=thing)


def entitle(rng: np.random.Generator) -> Tool:
    """From now, call the boat 'Лукоморье'."""
    thing = subject(rng)
    name = pick(rng, (f"{thing}_name", "name", "title", "new_name", f"{thing}_title", "label"))
    verb = pick(rng, ("call", "entitle", "label", "retitle", "update", "change"))
    slot = f'{{\'<{name}>\'|"<{name}>"|"<{name}>"|<{name}>}}'
    asks = (
        f"{{from today|from now|please|}} {{call|name|label}} {{the|my|our}} {thing} {slot}{{|.}}",
        f"{{the|my|our}} {thing} is {{now|from today}} {{called|named}} {slot}{{|.}}",
        f"{{change|set}} the {thing}'s {{name|title}} to {slot}{{|.}}",
        f"{slot} {{is to be|becomes}} the {thing}'s {{new |}}name{{|.}}",
    )
    told = f"{pick(rng, ('Change', 'Set', 'Update'))} the name of a {thing}."
    make = {name: lambda r: foreign(r) if r.random() < 0.5 else proper(r)}
    return new_tool(
        rng, named(rng, verb, thing), told, {name: string(rng)}, asks=asks, make=make, about=thing
    )
