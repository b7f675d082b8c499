"""Answers that are JSON of a schema: what a text says, or what a picture shows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from llava_tools.chat.tool_calls import write_json
from recipes.tiny_llava.words import pick
from recipes.tiny_llava.world import Scene

from .asking import fill, listed, pairs, said
from .kit import properties
from .values import integer, made_up, proper, value, word

Ask = Callable[[np.random.Generator], tuple[str, str]]
"""Makes a question and the JSON that answers it."""

_EXTRACT = (
    "<told>{|.}",
    "{extract|read|give me|note|fill in|return} {the data|the fields|the values|it}: <told>",
    "{what does this say|here is the data|take this}: <told>",
)
_PERSON = (
    "<name> is <age> years old and {lives in|comes from|works in} <city>.",
    "{my friend|this is|here is} <name>, <age>, {from|of|living in} <city>.",
    "<name> from <city> {turned|is now|is} <age>{|.}",
)
_SHOWN = (
    "{describe|look at|analyse|read} {the|this} {picture|image|drawing}{|.}",
    "{what is|what do you see} in the {picture|image}?",
    "{fill in|return|give me} {the fields|what you see|the data}{|.}",
)


def form(rng: np.random.Generator) -> tuple[dict[str, Any], Ask]:
    """A flat object whose fields a text gives."""
    if rng.random() < 0.3:
        return _person(rng)
    fields = properties(rng, int(rng.integers(1, 5)))
    schema = _object(rng, fields)

    def make(rng: np.random.Generator) -> tuple[str, str]:
        values = {name: value(rng, schema) for name, schema in fields.items()}
        told = pairs(rng, values)
        if rng.random() < 0.3:
            told = [f"the {n.replace('_', ' ')} is {said(rng, v)}" for n, v in values.items()]
        if rng.random() < 0.3:
            rng.shuffle(told)
        return fill(rng, _EXTRACT, {"told": listed(told)}), write_json(values)

    return schema, make


def _person(rng: np.random.Generator) -> tuple[dict[str, Any], Ask]:
    order = ["name", "age", "city"]
    rng.shuffle(order)
    kept = order[: int(rng.integers(1, 4))]
    fields = {n: {"type": "integer" if n == "age" else "string"} for n in kept}

    def make(rng: np.random.Generator) -> tuple[str, str]:
        name = pick(rng, (made_up, proper, word))(rng)
        known = {"name": name[0].upper() + name[1:], "age": integer(rng, signed=False) % 100}
        known["city"] = made_up(rng).capitalize()
        slots = {key: str(told) for key, told in known.items()}
        return fill(rng, _PERSON, slots), write_json({key: known[key] for key in kept})

    return _object(rng, fields), make


def form_of_scene(rng: np.random.Generator, scene: Scene) -> tuple[dict[str, Any], Ask]:
    """A flat object about what a picture shows."""
    hue = pick(rng, ("color", "colour"))
    known: dict[str, Any] = {pick(rng, ("count", "number", "shapes")): len(scene.shapes)}
    if scene.background is not None:
        known["background"] = scene.background
    if len(scene.shapes) == 1:
        known |= {hue: scene.shapes[0].colour, "shape": scene.shapes[0].kind}
    names = [str(name) for name in rng.permutation(list(known))]
    names = names[: int(rng.integers(1, len(names) + 1))]
    fields = {n: {"type": "integer" if isinstance(known[n], int) else "string"} for n in names}
    answer = write_json({name: known[name] for name in names})

    def make(rng: np.random.Generator) -> tuple[str, str]:
        asked = fill(rng, _SHOWN, {})
        return asked[0].upper() + asked[1:], answer

    return _object(rng, fields), make


def _object(rng: np.random.Generator, fields: dict[str, Any]) -> dict[str, Any]:
    schema = {"type": "object", "properties": fields, "required": list(fields)}
    return {**schema, "title": word(rng).capitalize()} if rng.random() < 0.5 else schema
