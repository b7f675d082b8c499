"""Small benchmarks for tests: two questions about each of some images of one colour."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

from PIL import Image

from llava_tools.core.requests import Request
from llava_tools.evaluation.task import Answers, Judge, Progress, Sample, Score, Source, Task

#: Questions about each image.
QUESTIONS = 2


class NumberTask(Task):
    """The truth is the number in the question; a rule scores it."""

    name: ClassVar[str] = "pope"
    title: ClassVar[str] = "Numbers"
    folder: ClassVar[str] = "numbers"
    metric: ClassVar[str] = "accuracy, %"
    published: ClassVar[tuple[float, float]] = (80.0, 90.0)
    scored_by: ClassVar[Literal["rule", "server", "judge"]] = "rule"
    source: ClassVar[Source] = Source(
        "https://example.org/numbers",
        "1 kB",
        "CC0",
        {"questions.json": "questions", "images/": "images"},
    )

    def load(self, folder: Path) -> list[Sample]:
        """Read the questions."""
        return [
            Sample(str(number), text, folder / "images" / image, {"number": number}, 16)
            for number, (text, image) in enumerate(
                json.loads((folder / "questions.json").read_text(encoding="utf-8"))
            )
        ]

    def score(self, samples: Sequence[Sample], answers: Answers) -> Score | None:
        """Return the percentage of right answers."""
        right = sum(answers[s.id] == str(s.truth["number"]) for s in samples)
        return Score(100 * right / len(samples), len(samples), {"right": right})


class ServedTask(NumberTask):
    """A server scores it."""

    name: ClassVar[str] = "vqav2"
    title: ClassVar[str] = "Served"
    scored_by: ClassVar[Literal["rule", "server", "judge"]] = "server"

    def score(self, samples: Sequence[Sample], answers: Answers) -> None:
        """The truth is not public."""

    def write_submission(
        self, samples: Sequence[Sample], answers: Answers, folder: Path
    ) -> Path | None:
        """Write the answers."""
        path = folder / "submission.json"
        path.write_text(json.dumps([answers[sample.id] for sample in samples]), encoding="utf-8")
        return path


class JudgedTask(NumberTask):
    """A judge scores it."""

    name: ClassVar[str] = "mm_vet"
    title: ClassVar[str] = "Judged"
    scored_by: ClassVar[Literal["rule", "server", "judge"]] = "judge"

    def score(self, samples: Sequence[Sample], answers: Answers) -> None:
        """A judge is needed."""

    def judge(
        self,
        samples: Sequence[Sample],
        answers: Answers,
        folder: Path,
        judge: Judge,
        progress: Progress | None = None,
    ) -> Score | None:
        """Have each answer judged."""
        marks = [float(judge.reply(answers[sample.id])) for sample in samples]
        if progress is not None:
            progress(len(samples), len(samples))
        return Score(sum(marks) / len(marks), len(marks))


class FixedJudge:
    """Gives every answer the same mark, or fails."""

    model = "fixed"
    max_concurrent_requests = 1

    def __init__(self, mark: str = "50", error: Exception | None = None) -> None:
        self._mark = mark
        self._error = error

    def reply(
        self, prompt: str, *, system: str = "", max_tokens: int = 1024, temperature: float = 0.0
    ) -> str:
        """Return the mark."""
        if self._error is not None:
            raise self._error
        return self._mark


def write_data(data: Path, images: int = 10, folder: str = NumberTask.folder) -> Path:
    """Write a data set of `QUESTIONS` questions an image into a data directory; return its folder.

    The questions of an image stand apart from each other.
    """
    path = data / folder
    (path / "images").mkdir(parents=True)
    for number in range(images):
        Image.new("RGB", (8, 8), (number % 256, 7, 9)).save(path / "images" / f"{number}.png")
    entries = [
        (f"Which number is {number}?", f"{number % images}.png")
        for number in range(QUESTIONS * images)
    ]
    (path / "questions.json").write_text(json.dumps(entries), encoding="utf-8")
    return path


def samples_of(data: Path, images: int = 10) -> list[Sample]:
    """Write a data set and return its samples."""
    return NumberTask().load(write_data(data, images))


def right_answer(request: Request) -> str:
    """Answer a question with its number."""
    return request.messages[-1].text.removeprefix("Which number is ").rstrip("?")
