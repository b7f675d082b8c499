"""Texts that spell the structure of prompts, in everything that users import, call or send."""

from __future__ import annotations

import json
import random
from functools import partial

from langchain_core.exceptions import LangChainException
from pydantic import ValidationError

from llava_tools.core.requests import Request
from llava_tools.errors import ImageError, OutputError, RequestError
from llava_tools.testing import ScriptedBackend
from tests.hardening.attack import Attack, Tally
from tests.hardening.markers import draw
from tests.hardening.places import open_places
from tests.hardening.places.place import Place, make_backend
from tests.hardening.prompt_structure import KINDS, SERVED_KINDS, check_structure, kind_of
from tests.hardening.surfaces.surface import RefusalError

#: The text whose prompt has the right structure.
HARMLESS = "xyz"


def record(place: Place, text: str, backend: ScriptedBackend) -> list[Request]:
    """Send a text and return the requests that reach the model."""
    backend.requests.clear()
    try:
        place.send(text)
    except OutputError:  # the model's answer is not what is tried
        if not backend.requests:
            raise
    return list(backend.requests)


def outcome(
    place: Place,
    harmless: list[Request],
    backend: ScriptedBackend,
    kind: str,
    text: str,
    *,
    served: bool,
) -> str:
    """Compare the structures of prompts with those of a harmless text in the same place."""
    try:
        forged = record(place, text, backend)
    except (RequestError, ImageError, RefusalError, LangChainException) as error:
        if len(str(error).splitlines()) != 1:
            raise AssertionError(repr(error)) from error
        return "refused"
    except ValidationError:
        return "refused by the framework"
    if len(forged) != len(harmless):
        raise AssertionError(f"{len(forged)} requests, not {len(harmless)}")
    for request, right in zip(forged, harmless, strict=True):
        check_structure(kind_of(kind), request, right, served=served, lines=place.lines)
    return "the same through a server" if served else "the same"


def attack(count: int, seed: int) -> Tally:
    """Put drawn texts into all places in turn, for all kinds of tokenizers."""
    rng, tally = random.Random(seed), Tally()
    backend = make_backend()
    with open_places(backend) as places:
        names = list(places)
        rng.shuffle(names)
        harmless: dict[str, list[Request]] = {}
        for number in range(count):
            name, kind = names[number % len(names)], rng.choice(KINDS)
            text, served = draw(rng), rng.random() < 0.4 and kind in SERVED_KINDS
            place = places[name]
            what = f"{name}, {kind}{', served' if served else ''}: {json.dumps(text)}"
            if name not in harmless:
                harmless[name] = _record_harmless(place, backend)
            run = partial(outcome, place, harmless[name], backend, kind, text, served=served)
            tally.add(run, what)
    return tally


def _record_harmless(place: Place, backend: ScriptedBackend) -> list[Request]:
    """Return the requests of a harmless text; none where even that is refused."""
    try:
        return record(place, HARMLESS, backend)
    except (RequestError, RefusalError, LangChainException):
        return []


ATTACK = Attack(
    "conversations",
    "texts that spell structure, in messages, bodies and calls",
    attack,
    10_000,
    400,
)
