"""Selection among described options: what the model reads, and the correction of names' bias."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from llava_tools import Llava, open_image
from llava_tools.chat.tool_calls import write_call
from llava_tools.core.constraints import ToolCall
from llava_tools.core.requests import Request
from llava_tools.errors import RequestError
from llava_tools.testing import ScriptedBackend
from llava_tools.tools.selection import NEUTRAL_QUESTION, aselect_option, select_option

NIGHT = Path(__file__).parent.parent.parent / "examples" / "images" / "night.png"
OPTIONS = {"mail": "Sends letters.", "maps": "Finds routes."}


def _call(name: str) -> str:
    return write_call(ToolCall("", name, {}))


def _scripted(probabilities: dict[str, tuple[float, float]]) -> tuple[Llava, ScriptedBackend]:
    """A model with the probabilities of names after a question, and after the neutral one."""

    def score(request: Request, label: str) -> float:
        is_neutral = request.messages[-1].text == NEUTRAL_QUESTION
        (name,) = (name for name in probabilities if _call(name) == label)
        return math.log(probabilities[name][is_neutral])

    backend = ScriptedBackend(scores=score)
    return Llava(backend=backend), backend


def test_options_are_described_as_tools_and_their_calls_scored() -> None:
    model, backend = _scripted({"mail": (0.3, 0.5), "maps": (0.1, 0.5)})
    image = open_image(Image.new("RGB", (4, 4)))
    choice = select_option(model, "Where am I?", [image], OPTIONS)
    assert choice.label == "mail"
    assert choice.probabilities == pytest.approx({"mail": 0.75, "maps": 0.25})
    question, neutral = backend.requests
    assert question.messages[0].content == (image, "Where am I?")
    assert neutral.messages[0].content == (NEUTRAL_QUESTION,)
    for request in backend.requests:
        tools = request.constraint.tools
        assert {tool.name: tool.description for tool in tools} == OPTIONS
        assert request.constraint.tool_choice == "any"


def test_a_name_that_is_always_likely_has_no_advantage() -> None:
    model, _ = _scripted({"mail": (0.6, 0.8), "maps": (0.3, 0.1)})
    choice = select_option(model, "Where am I?", [], OPTIONS)
    assert choice.label == "maps"
    assert choice.probabilities == pytest.approx({"mail": 0.2, "maps": 0.8})


@pytest.mark.parametrize(("abstain", "label"), [(None, "maps"), (0.8, "maps"), (0.9, None)])
async def test_abstain_needs_a_minimum_probability(
    abstain: float | None, label: str | None
) -> None:
    model, _ = _scripted({"mail": (0.2, 1), "maps": (0.8, 1)})
    assert select_option(model, "?", [], OPTIONS, abstain=abstain).label == label
    assert (await aselect_option(model, "?", [], OPTIONS, abstain=abstain)).label == label


@pytest.mark.parametrize(
    ("names", "tool_names"),
    [
        (["e-mail", "maps.v2"], ["e-mail", "maps.v2"]),
        (["e mail!", "Karten für alle"], ["e_mail", "Karten_f_r_alle"]),
        (["a b", "a_b"], ["a_b", "option_2"]),
        (["option_2", "?"], ["option_2", "option_2_"]),
        (["auto", "地图"], ["option_1", "option_2"]),
    ],
)
def test_any_name_can_be_selected(names: list[str], tool_names: list[str]) -> None:
    model, backend = _scripted({tool_names[0]: (0.1, 1), tool_names[1]: (0.3, 1)})
    choice = select_option(model, "?", [], dict.fromkeys(names, "Something."))
    assert choice.label == names[1]
    assert list(choice.probabilities) == names
    for tool, name in zip(backend.requests[0].constraint.tools, names, strict=True):
        numbered = tool.name.startswith("option_") and tool.name != name
        assert tool.description == (f"{name}: Something." if numbered else "Something.")


@pytest.mark.parametrize(
    ("options", "abstain", "message"), [({}, None, "no option"), (OPTIONS, 2, "abstain")]
)
def test_an_impossible_selection_raises_before_loading(
    options: dict[str, str], abstain: float | None, message: str
) -> None:
    with pytest.raises(RequestError, match=message):
        select_option(Llava("no/model"), "?", [], options, abstain=abstain)


@pytest.mark.slow
def test_the_embedded_model_routes_by_what_an_image_shows() -> None:
    """Described colours of drawn shapes; a guess hits one of eight."""
    colours = ("red", "green", "blue", "yellow", "purple", "orange", "black", "white")
    options = {colour: f"Whatever has to do with {colour} things." for colour in colours}
    hits = 0
    with Llava() as model:
        for number in range(16):
            image = Image.new("RGB", (224, 224), "gray")
            place = (20 + 5 * number, 90 - 4 * number)
            box = (*place, place[0] + 80, place[1] + 80)
            ImageDraw.Draw(image).ellipse(box, fill=colours[number % 8])
            question = "What colour is the circle?"
            choice = select_option(model, question, [open_image(image)], options)
            hits += choice.label == colours[number % 8]
    assert hits >= 14
