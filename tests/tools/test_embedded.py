"""The tools with a model that sees; it boxes and reads too unsurely for that to be asked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llava_tools import Llava, tools
from llava_tools.images.access import ImageResolver
from llava_tools.images.store import ImageStore

IMAGES = Path(__file__).parents[2] / "examples" / "pictures"
BACKGROUNDS = {
    "meadow": "green",
    "night": "black",
    "paper": "white",
    "sea": "blue",
    "sunset": "orange",
}
ASKED = "What is the colour of the background?"


class Eyes:
    """The embedded model and the example images."""

    def __init__(self, model: Llava) -> None:
        self.model = model
        self.resolver = ImageResolver(ImageStore())
        self.handles = {name: self.resolver.add(IMAGES / f"{name}.png") for name in BACKGROUNDS}

    def call(self, name: str, **arguments: Any) -> Any:
        return tools.call(self.model, name, arguments, self.resolver)


@pytest.fixture(scope="module")
def eyes() -> Iterator[Eyes]:
    with Llava() as model:
        yield Eyes(model)


@pytest.mark.parametrize("name", BACKGROUNDS)
def test_looking_and_choosing(eyes: Eyes, name: str) -> None:
    image, colour = eyes.handles[name], BACKGROUNDS[name]
    assert eyes.call("look", image=image, question=ASKED).text == colour
    labels = list(BACKGROUNDS.values())
    chosen = eyes.call("choose", image=image, question=ASKED, labels=labels, abstain=0.5)
    assert chosen.label == colour


def test_comparing(eyes: Eyes) -> None:
    night, sea, meadow = (eyes.handles[name] for name in ("night", "sea", "meadow"))
    found = eyes.call("compare", images=[night, sea, meadow], question=ASKED)
    assert (found.same, found.answers) == (False, ("black", "blue", "green"))
    assert eyes.call("compare", images=[night, night], question=ASKED).same


@pytest.mark.parametrize("name", BACKGROUNDS)
def test_numbers_and_boxes_are_always_well_formed(eyes: Eyes, name: str) -> None:
    image = eyes.handles[name]
    assert 0 <= eyes.call("count", image=image, things="shapes").count <= 999
    located = eyes.call("locate", image=image, thing="the star")
    assert (located.certainty > 0.5) is (name == "night")
    if located.box is not None:
        zoomed = eyes.call("zoom", image=image, box=list(located.box), question=ASKED)
        assert zoomed.width == located.box.x2 - located.box.x1
