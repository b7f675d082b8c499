"""The guard against answers about what an image does not show."""

from __future__ import annotations

import math
from typing import Any

import pytest
from PIL import Image

from llava_tools import Llava, tools
from llava_tools.core.calibration import Calibration, Scaling
from llava_tools.core.requests import Request
from llava_tools.errors import RequestError
from llava_tools.images.access import ImageResolver
from llava_tools.images.store import ImageStore
from llava_tools.testing import ScriptedBackend
from llava_tools.tools import TOOLS, AbsentResult, result_type, select_tools

ANSWERS = {"bounding box": "[0.25, 0.5, 0.5, 0.75]", "How many": "3"}
CALLS: dict[str, dict[str, Any]] = {
    "locate": {"thing": "the car"},
    "count": {"things": "the car"},
    "look": {"question": "What colour is it?", "about": "the car"},
    "choose": {"question": "What colour?", "labels": ["red", "blue"], "about": "the car"},
    "zoom": {"box": [0, 0, 40, 20], "question": "What colour is it?", "about": "the car"},
    "show_evidence": {"question": "What colour is it?", "about": "the car"},
}


def _respond(request: Request) -> str:
    text = request.messages[-1].text
    return next((answer for words, answer in ANSWERS.items() if words in text), "red")


class Guarded:
    """A model that sees a car with some probability, and an image."""

    def __init__(self, probability: float, yes_no: Scaling | None = None) -> None:
        def score(request: Request, label: str) -> float:
            if 'show "the car"' not in request.messages[-1].text:
                return -1.0
            return math.log((probability if label.lower() == "yes" else 1 - probability) / 2)

        calibration = Calibration("m", "", "d", yes_no=yes_no or Scaling())
        self.backend = ScriptedBackend(_respond, scores=score, calibration=calibration)
        self.resolver = ImageResolver(ImageStore())
        self.image = self.resolver.add(Image.new("RGB", (400, 200), "navy"))

    def call(self, name: str, threshold: float | None = 0.5, **arguments: Any) -> Any:
        model = Llava(backend=self.backend)
        arguments = {"image": self.image} | arguments
        return tools.call(model, name, arguments, self.resolver, existence_threshold=threshold)

    @property
    def questions(self) -> list[str]:
        return [request.messages[-1].text for request in self.backend.requests]


@pytest.mark.parametrize("name", CALLS)
def test_a_tool_refuses_what_is_not_there_and_asks_nothing_else(name: str) -> None:
    scene = Guarded(0.2)
    result = scene.call(name, **CALLS[name])
    assert result == AbsentResult(thing="the car", certainty=0.2)
    assert str(result) == (
        '"the car" is not there (certainty 0.20), so there is no answer about it.'
    )
    assert scene.questions == ['Does this figure show "the car"? Please answer yes or no.']


@pytest.mark.parametrize("name", CALLS)
def test_a_tool_answers_about_what_is_there(name: str) -> None:
    scene, unguarded = Guarded(0.8), Guarded(0.8)
    without_about = {key: value for key, value in CALLS[name].items() if key != "about"}
    expected = unguarded.call(name, None, **without_about)
    assert type(expected) is not AbsentResult
    assert scene.call(name, **CALLS[name]) == expected


def test_a_question_that_supposes_nothing_is_not_checked() -> None:
    scene = Guarded(0.2)
    assert scene.call("look", question="What colour is it?").text == "red"
    assert scene.questions == ["What colour is it?"]


def test_zoom_checks_the_region() -> None:
    scene = Guarded(0.2)
    scene.call("zoom", **CALLS["zoom"])
    (request,) = scene.backend.requests
    assert request.messages[0].images[0].size == (40, 20)


def test_the_calibrated_probability_decides() -> None:
    assert type(Guarded(0.6).call("count", things="the car")) is not AbsentResult
    biased = Guarded(0.6, Scaling(1.0, -1.0, 100))
    result = biased.call("count", things="the car")
    expected = 1 / (1 + math.exp(1 - math.log(0.6 / 0.4)))
    assert result == AbsentResult(thing="the car", certainty=round(expected, 3))


def test_without_a_threshold_tools_are_as_ever() -> None:
    assert select_tools() == list(TOOLS.values())
    assert [type(item) for item in select_tools(existence_threshold=0.5)] == [
        type(item) for item in TOOLS.values()
    ]


def test_arguments_and_results_say_what_is_checked() -> None:
    guarded = {tool.name: tool for tool in select_tools(existence_threshold=0.5)}
    for name, tool in guarded.items():
        added = set(tool.arguments.model_fields) - set(TOOLS[name].arguments.model_fields)
        assert added == ({"about"} if name in ("look", "choose", "zoom") else set())
        assert tool.can_refuse is (name in CALLS)
        assert (AbsentResult in getattr(result_type(tool), "__args__", ())) is tool.can_refuse
    schema = guarded["look"].parameters["properties"]["about"]
    assert "supposes to be in the picture" in schema["description"]
    assert "about" not in guarded["look"].parameters["required"]


@pytest.mark.parametrize("threshold", [-0.1, 1.5, "0.5", True, math.nan])
def test_an_impossible_threshold_is_refused(threshold: Any) -> None:
    with pytest.raises(RequestError, match=r"existence_threshold=.* is not possible"):
        select_tools(existence_threshold=threshold)


async def test_the_async_twin_refuses_alike() -> None:
    scene = Guarded(0.2)
    (tool,) = select_tools(["locate"], existence_threshold=0.5)
    arguments = tool.parse({"image": scene.image, "thing": "the car"})
    model = Llava(backend=scene.backend)
    result = await tool.arun(model, arguments, scene.resolver)
    assert result == tool.run(model, arguments, scene.resolver)
    assert type(result) is AbsentResult


def test_a_stored_refusal_is_restored() -> None:
    result = AbsentResult(thing="a car", certainty=0.1)
    assert AbsentResult.model_validate_json(result.model_dump_json()) == result
