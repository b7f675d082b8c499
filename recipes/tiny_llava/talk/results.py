"""What tools give back, and what is then said of it.

The rule is plain, so that it can be learned: words are passed on, a lone value is put into a
sentence about what was asked for, a failure is said to be one.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from recipes.tiny_llava.words import pick

from .asking import Asked, listed
from .names import NOUNS
from .values import decimal, integer, proper, sentence, text, word

_STATUS = ("ok", "done", "success", "OK", "true", "saved", "null", "None")
_FAULTS = (
    "missing {}",
    "no {} was found",
    "unknown {}",
    "the {} is not there",
    "{} must be a number",
    "timeout of the {}",
)


@dataclass(frozen=True, slots=True)
class Result:
    """A tool's text, whether it failed, and what is said of it."""

    text: str
    answer: str
    failed: bool = False


def result_of(rng: np.random.Generator, asked: Asked) -> Result:
    """What a tool might give back for a request."""
    chance = rng.random()
    if chance < 0.1:
        fault = pick(rng, _FAULTS).format(word(rng))
        fault = fault.capitalize() + "." if rng.random() < 0.5 else fault
        return Result(fault, f"That did not work: {fault}", failed=True)
    if chance < 0.18:
        return Result(pick(rng, _STATUS), "Done.")
    if chance < 0.42:
        told = sentence(rng)
        opening = pick(rng, ("It is", "It's", "There is a", "The", "Created", "Found", "Added"))
        told = f"{opening} {told}" if rng.random() < 0.7 else told.capitalize()
        told += "." if rng.random() < 0.7 else ""
        return Result(told, told)
    if chance < 0.65:
        return _record(rng)
    value = _value(rng)
    return Result(str(value), f"The {asked.tool.topic or 'result'} is {value}.")


def _record(rng: np.random.Generator) -> Result:
    """A JSON object of one or two fields."""
    names = ["result", "value", "answer"] if rng.random() < 0.4 else [pick(rng, NOUNS)]
    names = [pick(rng, names)]
    if rng.random() < 0.35:
        names.append(pick(rng, [noun for noun in NOUNS if noun not in names]))
    values = {name: _value(rng) for name in names}
    said = listed([f"the {name} is {value}" for name, value in values.items()])
    return Result(json.dumps(values, ensure_ascii=False), f"{said[0].upper()}{said[1:]}.")


def _value(rng: np.random.Generator) -> Any:
    chance = rng.random()
    if chance < 0.5:
        return integer(rng)
    if chance < 0.6:
        return decimal(rng)
    if chance < 0.8:
        return word(rng)
    return proper(rng).split(" ")[0].rstrip(",") if chance < 0.9 else text(rng).split(" ")[0]
