"""Labelled questions: read, refused by number, scored, calibrated and plotted."""

from __future__ import annotations

import json
import math
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from llava_tools.core.calibration import UNCHANGED
from llava_tools.core.requests import Request
from llava_tools.errors import ImageError, RequestError
from llava_tools.evaluation.trust import labelled
from llava_tools.evaluation.trust.calibrating import calibrate, measure_effects
from llava_tools.evaluation.trust.calibration import Outcome
from llava_tools.evaluation.trust.labelled import (
    LabelledQuestion,
    LabelledStatement,
    predict,
    read_labelled,
)
from llava_tools.evaluation.trust.reliability import plot_reliability
from llava_tools.testing import ScriptedBackend

QUESTION = {"image": "a.png", "question": "What?", "labels": ["cat", "dog"], "answer": "dog"}
STATEMENT = {"image": "a.png", "shows": "a collar", "answer": "No"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    return tmp_path


def _write(folder: Path, content: Any) -> Path:
    path = folder / "labelled.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_both_forms_are_read(folder: Path) -> None:
    assert read_labelled(_write(folder, [QUESTION, STATEMENT])) == [
        LabelledQuestion(folder / "a.png", "What?", ("cat", "dog"), 1),
        LabelledStatement(folder / "a.png", "a collar", False),
    ]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"more": 1}, "has other fields: image, question, labels, answer, more"),
        ({"image": ""}, "image is '', not a text"),
        ({"image": "none.png"}, "there is no image"),
        ({"image": "x" * 300}, "there is no image"),
        ({"question": 7}, "question is 7, not a text"),
        ({"answer": "cow"}, "the answer 'cow' is not one of two or more labels"),
        ({"labels": ["dog"]}, "the answer 'dog' is not one of two or more labels"),
        ({"labels": "dog"}, "labels is 'dog', not a list"),
        ({"labels": ["dog", "dog"]}, "The label 'dog' is given twice"),
        ({"labels": ["dog", 3]}, "3 cannot be a label"),
    ],
)
def test_a_bad_record_is_named(folder: Path, change: dict[str, Any], reason: str) -> None:
    with pytest.raises(RequestError) as caught:
        read_labelled(_write(folder, [QUESTION, STATEMENT, QUESTION | change]))
    assert str(caught.value).startswith("Record 3 of ")
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "is no JSON"),
        ({}, "has no records"),
        ([], "has no records"),
        ([3], "Record 1 of .* has other fields: int"),
        ([STATEMENT | {"answer": "maybe"}], "Record 1 of .*the answer is 'maybe'. Write yes or no"),
        ([STATEMENT | {"shows": " "}], "Record 1 of .*shows is ' ', not a text"),
    ],
)
def test_a_bad_file_is_refused(folder: Path, content: Any, reason: str) -> None:
    with pytest.raises(RequestError, match=reason):
        read_labelled(_write(folder, content))
    with pytest.raises(RequestError, match="cannot be read: No such file"):
        read_labelled(folder / "none.json")


def _scores(request: Request, label: str) -> float:
    chances = {"cat": 0.9, "dog": 0.1, "Yes": 0.4, "yes": 0.4, "No": 0.1, "no": 0.1}
    return math.log(chances[label])


def test_predictions_come_in_the_order_of_the_records(folder: Path) -> None:
    right = QUESTION | {"answer": "cat"}
    records = read_labelled(_write(folder, [QUESTION, STATEMENT, right, STATEMENT, QUESTION]))
    backend = ScriptedBackend(scores=_scores)
    done: list[int] = []
    predictions = predict(backend, records, done.append)
    assert done == [1, 2, 3, 4, 5]
    assert [item.right for item in predictions.choices] == [1, 0, 1]
    assert predictions.choices[0].scores == [math.log(0.9), math.log(0.1)]
    assert [item.odds for item in predictions.statements] == pytest.approx([math.log(4)] * 2)
    texts = {request.messages[0].text for request in backend.requests}
    assert texts == {
        "What?\nAnswer the question using a single word or phrase.",
        'Does this figure show "a collar"? Please answer yes or no.',
    }


def test_an_image_that_is_none_is_named(folder: Path) -> None:
    (folder / "b.png").write_bytes(b"no image")
    records = read_labelled(_write(folder, [QUESTION, QUESTION | {"image": "b.png"}]))
    with pytest.raises(ImageError, match=r"b\.png"):
        predict(ScriptedBackend(), records, lambda done: None)


def test_after_an_interrupt_no_record_begins_and_none_is_waited_for(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()
    executor = ThreadPoolExecutor(8)
    ended: list[str] = []

    def score(request: Request, label: str) -> float:
        text = request.messages[0].text
        if "First?" not in text:
            release.wait(10)
        ended.append(text)
        return -1.0

    def interrupt(done: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(labelled, "ThreadPoolExecutor", lambda count: executor)
    records = read_labelled(_write(folder, [QUESTION | {"question": "First?"}] + [QUESTION] * 200))
    backend = ScriptedBackend(scores=score)
    with pytest.raises(KeyboardInterrupt):
        predict(backend, records, interrupt)
    assert all("First?" in text for text in ended)
    assert not release.is_set()
    release.set()
    executor.shutdown()
    assert len(backend.requests) < 20


def test_a_model_that_is_too_sure_is_made_less_sure(folder: Path) -> None:
    right = QUESTION | {"answer": "cat"}
    records = read_labelled(_write(folder, [right, right, right, QUESTION, QUESTION] * 20))
    backend = ScriptedBackend(scores=_scores)
    predictions = predict(backend, records, lambda done: None)
    calibration = calibrate(backend, predictions, "a hundred cats")
    assert (calibration.model, calibration.fingerprint) == ("scripted", "")
    assert calibration.choice.count == 100
    assert calibration.choice.temperature > 3  # 0.9 sure and right in 0.6
    assert calibration.yes_no == UNCHANGED
    effect = measure_effects(predictions)["choice"]
    figures = effect.figures(0.8)
    assert figures["ece_before"] == pytest.approx(0.3)
    assert figures["ece_after"] < 0.02
    assert (figures["count"], figures["accuracy"]) == (100, 0.6)
    assert figures["abstain"] == pytest.approx(0.6, abs=0.01)
    assert "yes_no" not in measure_effects(predictions)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_few_records_are_measured(folder: Path, number: int) -> None:
    records = read_labelled(_write(folder, [QUESTION, STATEMENT] * number))
    predictions = predict(ScriptedBackend(scores=_scores), records, lambda done: None)
    effects = measure_effects(predictions)
    assert [len(effect.after) for effect in effects.values()] == [number, number]


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_a_reliability_plot_is_written(tmp_path: Path, suffix: str) -> None:
    outcomes = [Outcome(number / 20, number % 3 > 0) for number in range(21)]
    path = tmp_path / f"plot{suffix}"
    plot_reliability({"before": outcomes, "after": outcomes[:1]}, path)
    assert path.stat().st_size > 1000
    if suffix == ".svg":
        assert "<svg" in path.read_text()
