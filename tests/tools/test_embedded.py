"""The tools with the embedded model; its boxes and reading are too unreliable to test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llava_tools import Llava, tools
from llava_tools.images.access import ImageResolver
from llava_tools.images.store import ImageStore

IMAGES = Path(__file__).parents[2] / "examples" / "images"
BACKGROUNDS = {
    "meadow": "green",
    "night": "black",
    "paper": "white",
    "sea": "blue",
    "sunset": "orange",
}
QUESTION = "What is the colour of the background?"


class Visual:
    """The embedded model and the example images."""

    def __init__(self, model: Llava) -> None:
        self.model = model
        self.resolver = ImageResolver(ImageStore())
        self.handles = {name: self.resolver.add(IMAGES / f"{name}.png") for name in BACKGROUNDS}

    def call(self, name: str, **arguments: Any) -> Any:
        return tools.call(self.model, name, arguments, self.resolver)


@pytest.fixture(scope="module")
def visual() -> Iterator[Visual]:
    with Llava() as model:
        yield Visual(model)


@pytest.mark.parametrize("name", BACKGROUNDS)
def test_look_and_choose_agree_on_the_colour(visual: Visual, name: str) -> None:
    image, colour = visual.handles[name], BACKGROUNDS[name]
    assert visual.call("look", image=image, question=QUESTION).text == colour
    labels = list(BACKGROUNDS.values())
    chosen = visual.call("choose", image=image, question=QUESTION, labels=labels, abstain=0.5)
    assert chosen.label == colour


def test_compare(visual: Visual) -> None:
    night, sea, meadow = (visual.handles[name] for name in ("night", "sea", "meadow"))
    result = visual.call("compare", images=[night, sea, meadow], question=QUESTION)
    assert (result.same, result.answers) == (False, ("black", "blue", "green"))
    assert visual.call("compare", images=[night, night], question=QUESTION).same


@pytest.mark.parametrize("name", BACKGROUNDS)
def test_numbers_and_boxes_are_well_formed(visual: Visual, name: str) -> None:
    image = visual.handles[name]
    assert 0 <= visual.call("count", image=image, things="shapes").count <= 999
    located = visual.call("locate", image=image, thing="the star")
    assert (located.certainty > 0.5) is (name == "night")
    if located.box is not None:
        zoomed = visual.call("zoom", image=image, box=list(located.box), question=QUESTION)
        assert zoomed.width == located.box.x2 - located.box.x1
