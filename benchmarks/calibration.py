"""Calibration, selective answers and the guard against hallucinated objects, on drawn images.

Fits the embedded model's calibration on images of the training renderer, and measures it on other
images of both renderers: the calibration error of choices before and after; accuracy of all answers
and of the surest 80 %; and POPE's three settings, with the model's own answers and with the
calibrated probability that the thing is there. What is scored is kept in a file, so that a stopped
run goes on where it was.

    python -m benchmarks.calibration --rows rows.jsonl [--out calibration.json] [--plot FILE]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

from benchmarks.drawn_questions import (
    FIT,
    KINDS,
    REPORT,
    SETTINGS,
    ChoiceQuestion,
    ExistenceQuestion,
    choice_question,
    existence_questions,
)
from benchmarks.machine import describe
from llava_tools import Llava
from llava_tools.core.calibration import Calibration, Scaling
from llava_tools.core.requests import Message, Request
from llava_tools.evaluation.trust.calibrating import calibrate
from llava_tools.evaluation.trust.calibration import (
    ExistencePrediction,
    Outcome,
    Prediction,
    accuracy,
    expected_calibration_error,
)
from llava_tools.evaluation.trust.labelled import Predictions
from llava_tools.evaluation.trust.reliability import plot_reliability
from llava_tools.evaluation.trust.selective import accuracy_at_coverage, area_under_risk_coverage
from llava_tools.images import ImageRef
from llava_tools.label_scoring import (
    YES_OR_NO,
    log_odds,
    short_answer_question,
    shows_question,
)
from recipes.drawn_world import RENDERERS, Renderer

Row = dict[str, Any]
Question = ChoiceQuestion | ExistenceQuestion
COVERAGE = 0.8
DATA = "drawn images of the training renderer, apart from those of training"


@dataclass(frozen=True)
class Sizes:
    """How many questions there are for each kind, and how many images for existence."""

    fit_choices: int
    fit_images: int
    choices: int
    images: int


def questions(sizes: Sizes) -> Iterator[tuple[str, Question]]:
    """Yield the questions, each with the split that it belongs to."""
    for question in fitted_existence(sizes.fit_images):
        yield "fit", question
    for seed in range(FIT, FIT + sizes.fit_choices):
        for kind in KINDS:
            if (choice := choice_question("training", kind, seed)) is not None:
                yield "fit", choice
    for renderer in RENDERERS:
        for question in existence_questions(renderer, REPORT, sizes.images):
            yield "report", question
    for seed in range(REPORT, REPORT + sizes.choices):
        for renderer in RENDERERS:
            for kind in KINDS:
                if (choice := choice_question(renderer, kind, seed)) is not None:
                    yield "report", choice


def fitted_existence(images: int) -> Iterator[ExistenceQuestion]:
    """Yield questions, half of them about what is there, the rest of the settings in turn."""
    settings = cycle(SETTINGS)
    for question in existence_questions("training", FIT, images):
        if question.setting == "there" or question.setting == next(settings):
            yield question


def key(split: str, question: Question) -> str:
    """Return what names a question in the file of rows."""
    if isinstance(question, ChoiceQuestion):
        return f"{split} {question.renderer} {question.seed} {question.kind}"
    return f"{split} {question.renderer} {question.seed} {question.setting} {question.thing}"


def score(model: Llava, split: str, question: Question) -> Row:
    """Return the scores of a question's labels, and for existence POPE's answer, in words."""
    row: Row = {"key": key(split, question), "split": split, "renderer": question.renderer}
    if isinstance(question, ChoiceQuestion):
        text = short_answer_question(question.question)
        scores = _score(model, question.image, text, question.labels)
        right = question.labels.index(question.answer)
        return row | {"kind": question.kind, "scores": scores, "right": right}
    scores = _score(model, question.image, shows_question(question.thing), YES_OR_NO)
    row |= {"setting": question.setting, "scores": scores}
    if split == "report":
        text = short_answer_question(question.question)
        row["answer"] = model.ask(text, question.image, max_tokens=8).text
    return row


def _score(model: Llava, image: ImageRef, text: str, labels: Sequence[str]) -> list[float]:
    return model.backend.score(Request((Message("user", (image, text)),)), labels)


def collect(model: Llava, sizes: Sizes, path: Path) -> list[Row]:
    """Score what the file does not have yet; return all rows of these questions."""
    lines = path.read_text().splitlines() if path.exists() else []
    done = {row["key"]: row for row in map(json.loads, lines)}
    wanted: list[str] = []

    def work() -> Iterator[tuple[str, Question]]:
        for split, question in questions(sizes):
            name = key(split, question)
            wanted.append(name)
            if name not in done:
                yield split, question

    with path.open("a", buffering=1) as file, ThreadPoolExecutor(8) as executor:
        for row in executor.map(lambda item: score(model, *item), work()):
            file.write(json.dumps(row) + "\n")
            done[row["key"]] = row
    return [done[name] for name in wanted]


def prediction(row: Row) -> Prediction:
    """Return the scores of a choice's row."""
    return Prediction(row["scores"], row["right"])


def statement(row: Row) -> ExistencePrediction:
    """Return the odds of an existence question's row."""
    return ExistencePrediction(log_odds(row["scores"]), row["setting"] == "there")


def choice_figures(rows: Sequence[Row], scaling: Scaling) -> dict[str, float]:
    """Return the calibration error before and after, and accuracies."""
    before = [prediction(row).outcome() for row in rows]
    after = [prediction(row).outcome(scaling) for row in rows]
    return _figures(before, after)


def _figures(before: Sequence[Outcome], after: Sequence[Outcome]) -> dict[str, float]:
    return {
        "count": len(after),
        "ece_before": round(expected_calibration_error(before), 4),
        "ece_after": round(expected_calibration_error(after), 4),
        "accuracy": round(accuracy(after), 4),
        "accuracy_at_80": round(accuracy_at_coverage(after, COVERAGE), 4),
        "aurc": round(area_under_risk_coverage(after), 4),
    }


def pope_figures(answers: Sequence[bool], truths: Sequence[bool]) -> dict[str, float]:
    """Return POPE's five figures, with yes as the positive class."""
    right_yes = sum(answer and truth for answer, truth in zip(answers, truths, strict=True))
    right = sum(answer is truth for answer, truth in zip(answers, truths, strict=True))
    precision = right_yes / max(sum(answers), 1)
    recall = right_yes / sum(truths)
    return {
        "accuracy": round(right / len(truths), 4),
        "precision": round(precision, 4),
        "recall": round(recall, 4),
        "f1": round(2 * precision * recall / max(precision + recall, 1e-9), 4),
        "yes": round(sum(answers) / len(truths), 4),
    }


def pope(rows: Sequence[Row], scaling: Scaling) -> dict[str, dict[str, dict[str, float]]]:
    """Return the figures of each setting by method."""
    found = {}
    for setting in SETTINGS:
        chosen = [row for row in rows if row["setting"] in ("there", setting)]
        truths = [row["setting"] == "there" for row in chosen]
        methods = {
            "without": [row["answer"].strip().lower().startswith("yes") for row in chosen],
            "uncalibrated": [statement(row).probability() >= 0.5 for row in chosen],
            "guard": [statement(row).probability(scaling) >= 0.5 for row in chosen],
        }
        found[setting] = {name: pope_figures(answers, truths) for name, answers in methods.items()}
    return found


def report(rows: Sequence[Row], calibration: Calibration, renderer: Renderer) -> dict[str, Any]:
    """Return the figures of one renderer."""
    held_out = [row for row in rows if row["split"] == "report" and row["renderer"] == renderer]
    choices = [row for row in held_out if "kind" in row]
    existence = [row for row in held_out if "setting" in row]
    balanced = [r for s in SETTINGS for r in existence if r["setting"] in ("there", s)]
    scaling = calibration.yes_no
    return {
        "choices": choice_figures(choices, calibration.choice),
        "kinds": {
            kind: choice_figures([r for r in choices if r["kind"] == kind], calibration.choice)
            for kind in KINDS
        },
        "existence": _figures(
            [statement(row).outcome() for row in balanced],
            [statement(row).outcome(scaling) for row in balanced],
        ),
        "pope": pope(existence, scaling),
    }


def plot(rows: Sequence[Row], calibration: Calibration, path: Path) -> None:
    """Write the reliability diagrams of choices and existence on both renderers' images."""
    held_out = [row for row in rows if row["split"] == "report"]
    choices = [prediction(row) for row in held_out if "kind" in row]
    existence = [statement(row) for row in held_out if "setting" in row]
    panels = {
        "choices, before": [item.outcome() for item in choices],
        "choices, after": [item.outcome(calibration.choice) for item in choices],
        "yes or no, before": [item.outcome() for item in existence],
        "yes or no, after": [item.outcome(calibration.yes_no) for item in existence],
    }
    plot_reliability(panels, path)


def show(figures: dict[str, Any]) -> None:
    """Print the figures of one renderer."""
    titled = {"all choices": figures["choices"], **figures["kinds"], "yes/no": figures["existence"]}
    for title, values in titled.items():
        print(
            f"  {title:14} {values['count']:5}  ECE {values['ece_before']:.3f} -> "
            f"{values['ece_after']:.3f}  right {values['accuracy']:.3f}, at 80 % "
            f"{values['accuracy_at_80']:.3f}"
        )
    for setting, methods in figures["pope"].items():
        for method, values in methods.items():
            print(f"  {setting:12} {method:12} {json.dumps(values)}")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=Path, required=True, help="file of scores, made or resumed")
    parser.add_argument("--fit-choices", type=int, default=40, help="for each kind")
    parser.add_argument("--fit-images", type=int, default=180, help="for existence")
    parser.add_argument("--choices", type=int, default=60, help="for each kind and renderer")
    parser.add_argument("--images", type=int, default=125, help="for existence, each renderer")
    parser.add_argument("--out", type=Path, help="write the calibration to this file")
    parser.add_argument("--plot", type=Path, help="reliability diagrams: a .png, .svg or .pdf")
    arguments = parser.parse_args()
    sizes = Sizes(arguments.fit_choices, arguments.fit_images, arguments.choices, arguments.images)
    with Llava() as model:
        rows = collect(model, sizes, arguments.rows)
        fitted = [row for row in rows if row["split"] == "fit"]
        predictions = Predictions(
            [prediction(row) for row in fitted if "kind" in row],
            [statement(row) for row in fitted if "setting" in row],
        )
        calibration = calibrate(model.backend, predictions, DATA)
    if arguments.out is not None:
        calibration.write(arguments.out)
    if arguments.plot is not None:
        plot(rows, calibration, arguments.plot)
    print(calibration)
    result: dict[str, Any] = {"benchmark": "calibration"}
    for renderer in RENDERERS:
        print(f"{renderer} renderer")
        result[renderer] = report(rows, calibration, renderer)
        show(result[renderer])
    scalings = {"choice": vars(calibration.choice), "yes_no": vars(calibration.yes_no)}
    print(json.dumps(result | scalings | describe()))


if __name__ == "__main__":
    main()
