"""Visual tools without a framework: what planners read, and what the model is sent."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from llava_tools import tools
from llava_tools.core.requests import Request
from llava_tools.images import ImageRef
from llava_tools.images.access import ImageResolver
from llava_tools.images.store import ImageStore
from llava_tools.model import Llava
from llava_tools.testing import ScriptedBackend
from tests.golden import inputs as i
from tests.golden.plain import outcome, plain_json, request_as_dict

WIDE = i.image((400, 200), "navy")
TALL = i.image((100, 400), "white")
HANDLE = WIDE.handle
UNKNOWN = "img_000000000000000000000000"

#: Probabilities of labels; of all others 0.1.
CHANCES = {"Yes": 0.6, "yes": 0.2, "No": 0.15, "no": 0.05, "cat": 0.5, "dog": 0.25}


def chance(request: Request, label: str) -> float:
    return round(math.log(CHANCES.get(label, 0.1)), 6)


@dataclass(frozen=True)
class Page:
    document: str
    page: int
    snippet: str
    image: ImageRef


class Shelf:
    """An index of two pages."""

    def search(self, query: str, k: int) -> Sequence[Page]:
        pages = [Page("a.pdf", 2, f"says {query}", WIDE), Page("b.pdf", 1, "", TALL)]
        return [] if query == "nothing" else pages[:k]

    def open(self, hit: Page) -> ImageRef:
        return hit.image


def scripted(*script: str) -> ScriptedBackend:
    return ScriptedBackend(script or ("A blue field.",), scores=chance)


def known_images() -> ImageStore:
    known = ImageStore()
    known.add(WIDE)
    known.add(TALL)
    return known


def shown_to_model(backend: ScriptedBackend) -> list[dict[str, Any]]:
    return [request_as_dict(request) for request in backend.requests]


def called(name: str, arguments: object, *script: str) -> dict[str, Any]:
    """Return a tool's result or error, and what the model was sent."""
    backend = scripted(*script)

    def run() -> dict[str, Any]:
        found = tools.call(
            Llava(backend=backend), name, arguments, ImageResolver(known_images()), index=Shelf()
        )
        return {"text": str(found), "data": json.loads(found.model_dump_json())}

    return {"result": outcome(run), "requests": shown_to_model(backend)}


def arguments_of(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Return a call's arguments, with the wide image where they name none."""
    imageless = "images" in arguments or name == "find"
    return arguments if imageless else {"image": HANDLE, **arguments}


def call_of(name: str, *script: str, **arguments: Any) -> Callable[[], Any]:
    return partial(called, name, arguments_of(name, arguments), *script)


BOTH = [HANDLE, TALL.handle]
HERE = "[0.25, 0.5, 0.5, 0.75]"

#: Name of the case, name of the tool, arguments, script.
CALLS: list[tuple[str, str, dict[str, Any], tuple[str, ...]]] = [
    ("look", "look", {"question": "What is it?"}, ()),
    ("look, cut off", "look", {"question": "What?"}, ("word " * 300,)),
    ("look at a tall one", "look", {"image": TALL.handle, "question": "What?"}, ("White.",)),
    ("describe", "describe", {}, ()),
    ("describe briefly", "describe", {"detail": "brief"}, ()),
    ("read", "read_text", {}, ("STOP\nHERE ü",)),
    ("locate", "locate", {"thing": "the car"}, (HERE,)),
    ("locate in the padding", "locate", {"thing": "the car"}, ("[0.2, 0.0, 0.6, 0.2]",)),
    ("count", "count", {"things": "red cars"}, ("3",)),
    ("compare, same", "compare", {"images": BOTH, "question": "What?"}, ("A cat.", "the cat")),
    ("compare, other", "compare", {"images": BOTH, "question": "What?"}, ("A cat.", "A dog.")),
    ("compare together", "compare", {"images": BOTH, "question": "What?", "together": True}, ()),
    ("choose", "choose", {"question": "Which?", "labels": ["cat", "dog", "cow"]}, ()),
    ("choose nothing", "choose", {"question": "?", "labels": ["dog", "cow"], "abstain": 0.9}, ()),
    ("zoom", "zoom", {"box": [10, 20, 60, 500]}, ()),
    ("zoom and ask", "zoom", {"box": [-5, 0, 50, 50], "question": "What?"}, ()),
    ("find", "find", {"query": "coffee"}, ()),
    ("find one", "find", {"query": "coffee", "k": 1}, ()),
    ("find nothing", "find", {"query": "nothing"}, ()),
]

#: Calls that go wrong; a planner reads the errors.
WRONG_CALLS: list[tuple[str, str, dict[str, Any], tuple[str, ...]]] = [
    ("unknown image", "look", {"image": UNKNOWN, "question": "What?"}, ()),
    ("a path as image", "look", {"image": "a.png", "question": "What?"}, ()),
    ("a URL as image", "look", {"image": "http://example.org/a.png", "question": "What?"}, ()),
    ("one unknown of two", "compare", {"images": [HANDLE, UNKNOWN], "question": "What?"}, ()),
    ("no question", "look", {}, ()),
    ("empty question", "look", {"question": ""}, ()),
    ("a number as question", "look", {"question": 3}, ()),
    ("invented argument", "look", {"question": "What?", "colour": "red"}, ()),
    ("bad detail", "describe", {"detail": "long"}, ()),
    ("one image to compare", "compare", {"images": [HANDLE], "question": "What?"}, ()),
    ("one label", "choose", {"question": "?", "labels": ["cat"]}, ()),
    ("a label twice", "choose", {"question": "?", "labels": ["cat", "cat"]}, ()),
    ("bad threshold", "choose", {"question": "?", "labels": ["cat", "dog"], "abstain": 2}, ()),
    ("box without an area", "zoom", {"box": [500, 0, 600, 10]}, ()),
    ("box of three", "zoom", {"box": [1, 2, 3]}, ()),
    ("too many pages", "find", {"query": "coffee", "k": 99}, ()),
    ("a count in words", "count", {"things": "cars"}, ("three",)),
    ("a count below zero", "count", {"things": "cars"}, ("-3",)),
    ("a box out of range", "locate", {"thing": "the car"}, ("[0.2, 0.3, 0.4, 7]",)),
    ("a box cut off", "locate", {"thing": "the car"}, ("[0.2, 0.3",)),
]


def _described(resolver: ImageResolver | None) -> list[dict[str, Any]]:
    described = tools.openai_tools(resolver=resolver, index=Shelf())
    for tool in described:
        parameters = tool["function"]["parameters"]
        tool["order_of_arguments"] = list(parameters["properties"])
    return [plain_json(tool) for tool in described]


def _in_a_folder() -> list[dict[str, Any]]:
    return _described(ImageResolver(ImageStore(), [Path(__file__).parent]))


CASES: dict[str, Callable[[], Any]] = {
    **{
        f"call: {name}": call_of(tool, *script, **arguments)
        for name, tool, arguments, script in CALLS
    },
    **{
        f"wrong: {name}": call_of(tool, *script, **arguments)
        for name, tool, arguments, script in WRONG_CALLS
    },
    "call: arguments as JSON": partial(
        called, "look", json.dumps({"image": HANDLE, "question": "?"})
    ),
    "wrong: broken JSON": partial(called, "look", '{"image": '),
    "described": partial(_described, None),
    "described where folders are allowed": _in_a_folder,
    "names": lambda: list(tools.TOOLS),
}
