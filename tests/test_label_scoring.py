"""`Llava.choose` and `Llava.score`, over a script and on the embedded model."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from llava_tools import Llava, label_scoring, open_image
from llava_tools.core.backend import calibration_of
from llava_tools.core.calibration import Calibration, Scaling, read_calibration
from llava_tools.core.requests import Message, Request
from llava_tools.errors import RequestError
from llava_tools.testing import ScriptedBackend

ROOT = Path(__file__).parent.parent
IMAGES, TINY = ROOT / "examples" / "images", ROOT / "llava_tools" / "tiny"
PROBABILITIES = {"cat": 0.06, "dog": 0.02, "a very old horse": 0.12}


def _scripted() -> tuple[Llava, ScriptedBackend]:
    backend = ScriptedBackend(
        scores=lambda request, label: math.log(PROBABILITIES.get(label, 1e-9))
    )
    return Llava(backend=backend), backend


def test_probabilities_sum_to_one_among_the_labels() -> None:
    model, backend = _scripted()
    choice = model.choose("What is it?", Image.new("RGB", (4, 4)), list(PROBABILITIES))
    assert choice.label == str(choice) == "a very old horse"
    assert choice.probabilities == pytest.approx({"cat": 0.3, "dog": 0.1, "a very old horse": 0.6})
    (request,) = backend.requests
    assert len(request.messages[0].images) == 1
    assert request.messages[0].text == f"What is it?\n{label_scoring.SHORT_ANSWER}"


@pytest.mark.parametrize(("abstain", "label"), [(None, "cat"), (0, "cat"), (0.7, "cat"), (1, None)])
def test_abstain_needs_a_minimum_probability(abstain: float | None, label: str | None) -> None:
    model, _ = _scripted()
    choice = model.choose("What is it?", (), ["cat", "dog"], abstain=abstain)
    assert choice.label == label
    assert choice.probabilities == pytest.approx({"cat": 0.75, "dog": 0.25})


@pytest.mark.parametrize("abstain", [-0.1, 1.1, "0.5", True, math.nan])
def test_invalid_threshold_raises(abstain: object) -> None:
    with pytest.raises(RequestError, match="abstain"):
        Llava("no/model").choose("?", (), ["a"], abstain=abstain)


@pytest.mark.parametrize("labels", [[], "yes", ["a", " b"], ["a", "a"], [1]])
def test_invalid_labels_raise_before_loading(labels: object) -> None:
    with pytest.raises(RequestError, match="label"):
        Llava("no/model").choose("?", (), labels)


def test_question_and_text_must_be_strings() -> None:
    with pytest.raises(RequestError, match="question is a list"):
        Llava("no/model").choose(["?"], (), ["a"])
    with pytest.raises(RequestError, match="text is a NoneType"):
        Llava("no/model").score(None, Image.new("RGB", (4, 4)))


async def test_async_twins_give_the_same_results() -> None:
    model, _ = _scripted()
    image = Image.new("RGB", (4, 4))
    assert await model.achoose("?", image, ["cat", "dog"]) == model.choose(
        "?", image, ["cat", "dog"]
    )
    assert await model.ascore("a dog", image) == model.score("a dog", image)


def test_score_is_the_share_of_yes() -> None:
    probabilities = {"Yes": 0.2, "yes": 0.4, "No": 0.1, "no": 0.1}
    backend = ScriptedBackend(scores=lambda request, label: math.log(probabilities[label]))
    score = Llava(backend=backend).score('a "dog" {x}', Image.new("RGB", (4, 4)))
    assert score == pytest.approx(0.75)
    assert 'show "a "dog" {x}"?' in backend.requests[0].messages[0].text


async def test_a_calibration_is_applied_to_both_twins() -> None:
    calibration = Calibration("m", "", "d", Scaling(2.0, 0.0, 9), Scaling(1.0, -1.0, 9))
    backend = ScriptedBackend(
        scores=lambda request, label: math.log(0.4 if label in ("Yes", "yes", "cat") else 0.1),
        calibration=calibration,
    )
    model, image = Llava(backend=backend), Image.new("RGB", (4, 4))
    choice = model.choose("?", image, ["cat", "dog"], abstain=0.7)
    assert choice.label is None  # 0.8 of the raw probabilities
    assert choice.probabilities == pytest.approx({"cat": 2 / 3, "dog": 1 / 3})
    assert await model.achoose("?", image, ["cat", "dog"], abstain=0.7) == choice
    score = model.score("a cat", image)
    assert score == pytest.approx(1 / (1 + math.exp(1) / 4))
    assert await model.ascore("a cat", image) == score


@given(st.lists(st.floats(-5000, 0), min_size=1, max_size=8), st.none() | st.floats(0, 1))
def test_probabilities_of_any_scores(scores: list[float], abstain: float | None) -> None:
    labels = [str(number) for number in range(len(scores))]
    choice = label_scoring.classify(labels, scores, abstain)
    assert sum(choice.probabilities.values()) == pytest.approx(1)
    best = max(choice.probabilities.values())
    if abstain is None or best > abstain:
        assert choice.probabilities[str(choice)] == best
    else:
        assert choice.label is None or best == abstain


@pytest.fixture(scope="module")
def tiny() -> Iterator[Llava]:
    with Llava() as model:
        yield model


@pytest.mark.slow
def test_embedded_model_chooses_and_scores(tiny: Llava) -> None:
    colours = ["red", "green", "blue", "yellow", "purple"]
    choice = tiny.choose("What colour is the star?", IMAGES / "night.png", colours)
    assert choice.label == "yellow"
    assert choice.probabilities["yellow"] > 0.9
    star = tiny.score("a yellow star", IMAGES / "night.png")
    assert star > 0.5 > tiny.score("a red square", IMAGES / "night.png")


@pytest.mark.slow
def test_the_embedded_models_calibration_belongs_to_its_weights(tiny: Llava) -> None:
    calibration = calibration_of(tiny.backend)
    assert calibration == read_calibration(TINY / "calibration.json")
    assert calibration.model == tiny.backend.model_name
    assert min(calibration.choice.count, calibration.yes_no.count) > 500


@pytest.mark.slow
def test_score_of_a_label_equals_the_logprobs_of_its_answer(tiny: Llava) -> None:
    question, night = "What colour is the star?", IMAGES / "night.png"
    answer = tiny.ask(question, night, logprobs=True)
    request = Request((Message("user", (open_image(night), question)),))
    (score,) = tiny.backend.score(request, [answer.text])
    assert score == pytest.approx(sum(token.logprob for token in answer.logprobs), abs=1e-4)
