"""GQA: questions about the objects of an image and their relations, each with one answer."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from llava_tools.evaluation.data_files.entries import Entry, by_identifier, read_lines
from llava_tools.evaluation.data_files.files import image_path, read_json
from llava_tools.evaluation.task import Answers, Sample, Score, Source, Task, read_error
from llava_tools.label_scoring import SHORT_ANSWER

_LLAVA = "llava_gqa_testdev_balanced.jsonl"
_QUESTIONS = "testdev_balanced_questions.json"
#: Where its files may be: in the folder, or in the one that LLaVA has for them.
_FOLDERS = ("", "data", "questions", "data/questions")
_IMAGE_FOLDERS = ("images", "data/images")


class Gqa(Task):
    """GQA 1.2, testdev_balanced."""

    name = "gqa"
    title = "GQA"
    folder = "gqa"
    metric = "accuracy, %"
    published = (62.0, 63.3)
    scored_by = "rule"
    source = Source(
        url="https://cs.stanford.edu/people/dorarad/gqa/download.html",
        size="1.4 GB of questions, 20 GB of images",
        licence="see the page",
        files={
            f"data/{_QUESTIONS}": "questions and answers, version 1.2; may be accompanied by "
            f"LLaVA's file, {_LLAVA}",
            "data/images/": "images",
        },
    )

    def load(self, folder: Path) -> list[Sample]:
        """Read the questions and, if they are there, the answers."""
        images = _find(folder, _IMAGE_FOLDERS)
        if images is None:
            raise read_error(folder, f"it must hold {' or '.join(_IMAGE_FOLDERS)}")
        path = _find(folder, [f"{place}/{_QUESTIONS}".lstrip("/") for place in _FOLDERS])
        questions = {} if path is None else _read_questions(path)
        if (folder / _LLAVA).is_file():
            lines = by_identifier(read_lines(folder / _LLAVA), "question_id").values()
            return [_sample_of_llava(images, line, questions) for line in lines]
        if path is None:
            raise read_error(folder, f"it must hold data/{_QUESTIONS} or {_LLAVA}")
        return [_sample(images, name, entry) for name, entry in questions.items()]

    def score(self, samples: Sequence[Sample], answers: Answers) -> Score | None:
        """Return the share of answers that are the right one, as GQA's evaluation does.

        None if only LLaVA's file is there, which has no answers.
        """
        if not samples or any("answer" not in sample.truth for sample in samples):
            return None
        parts: dict[str, list[float]] = {}
        scores = []
        for sample in samples:
            truth = sample.truth
            right = float(_prediction(answers[sample.id]) == truth["answer"])
            scores.append(right)
            structural, semantic = truth["structural"], truth["semantic"]
            parts.setdefault("open" if structural == "query" else "binary", []).append(right)
            parts.setdefault(f"structural type {structural}", []).append(right)
            parts.setdefault(f"semantic type {semantic}", []).append(right)
        named = {f"{name}, %": _percent(values) for name, values in sorted(parts.items())}
        return Score(_percent(scores), len(samples), named)

    def write_submission(
        self, samples: Sequence[Sample], answers: Answers, folder: Path
    ) -> Path | None:
        """Write the predictions that GQA's `eval.py --tier testdev_balanced` reads."""
        results = [
            {"questionId": sample.id, "prediction": _prediction(answers[sample.id])}
            for sample in samples
        ]
        path = folder / "testdev_balanced_predictions.json"
        path.write_text(json.dumps(results), encoding="utf-8")
        return path


def _prediction(answer: str) -> str:
    """Return an answer as LLaVA submits it."""
    return answer.rstrip(".").lower()


def _percent(scores: Sequence[float]) -> float:
    # In the order of the official code, so that even the last digit is the same.
    return sum(scores) / len(scores) * 100


def _find(folder: Path, names: Sequence[str]) -> Path | None:
    """Return the first path that exists."""
    return next((folder / name for name in names if (folder / name).exists()), None)


def _read_questions(path: Path) -> dict[str, Entry]:
    """Return the questions that count, by their names."""
    value = read_json(path)
    if not isinstance(value, dict) or not value:
        raise read_error(path, "it is no object with a question under each name")
    questions = {}
    for name, item in value.items():
        entry = Entry(item, path, f"question {name!r}")
        if not isinstance(item, dict):
            raise entry.error("it is no object")
        if item.get("isBalanced", True):
            questions[name] = entry
    return questions


def _truth(entry: Entry) -> dict[str, str]:
    types = entry.values.get("types")
    if not isinstance(types, dict):
        raise entry.error("there is no 'types' with its structural and its semantic one")
    kinds = Entry(types, entry.path, entry.place)
    return {
        "answer": entry.text("answer"),
        "structural": kinds.text("structural"),
        "semantic": kinds.text("semantic"),
    }


def _sample(images: Path, name: str, entry: Entry) -> Sample:
    image = image_path(images, f"{entry.text('imageId')}.jpg")
    return Sample(name, f"{entry.text('question')}\n{SHORT_ANSWER}", image, _truth(entry))


def _sample_of_llava(images: Path, line: Entry, questions: Mapping[str, Entry]) -> Sample:
    name = line.text("question_id")
    truth = {}
    if questions:
        if name not in questions:
            raise line.error(f"{_QUESTIONS} has no question {name!r}")
        truth = _truth(questions[name])
    return Sample(name, line.text("text"), image_path(images, line.text("image")), truth)
