"""Labelled questions about a user's own images, and the model's scores for them.

A file is a JSON list of records of two forms. An image is a path relative to the file.

    {"image": "a.jpg", "question": "What animal is it?", "labels": ["cat", "dog"], "answer": "cat"}
    {"image": "a.jpg", "shows": "a red collar", "answer": "no"}

The first form is a question of `Llava.choose`, the second one of `Llava.score`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llava_tools.core.backend import Backend, check_labels
from llava_tools.core.requests import Message, Request
from llava_tools.errors import RequestError
from llava_tools.evaluation.trust.calibration import ExistencePrediction, Prediction
from llava_tools.images import open_image
from llava_tools.label_scoring import (
    YES_OR_NO,
    log_odds,
    short_answer_question,
    shows_question,
)

#: Questions in flight, which share batches.
_AT_ONCE = 8
_FORMS = ({"image", "question", "labels", "answer"}, {"image", "shows", "answer"})
_HINT = (
    "Write {image, question, labels, answer}, or {image, shows, answer} with the answer yes or no."
)


@dataclass(frozen=True)
class LabelledQuestion:
    """A question, its possible answers and the position of the right one."""

    image: Path
    question: str
    labels: tuple[str, ...]
    right: int


@dataclass(frozen=True)
class LabelledStatement:
    """A text, and whether the image shows what it describes."""

    image: Path
    shows: str
    is_shown: bool


Record = LabelledQuestion | LabelledStatement


@dataclass(frozen=True)
class Predictions:
    """The model's scores for labelled questions and statements, in the order of the records."""

    choices: Sequence[Prediction]
    statements: Sequence[ExistencePrediction]


def read_labelled(path: Path) -> list[Record]:
    """Read a file of labelled questions.

    Raises:
        RequestError: The file is missing or no JSON list, or a record is not of one of the two
            forms, or its image is missing; the message has the record's number, from 1.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise RequestError(f"{path} cannot be read: {error.strerror}.", "Check --data.") from None
    except (ValueError, RecursionError) as error:
        raise RequestError(f"{path} is no JSON: {error}.", "Write a JSON list.") from None
    if not isinstance(content, list) or not content:
        raise RequestError(f"{path} has no records.", "Write a JSON list of them.")
    return [_record(path, number, item) for number, item in enumerate(content, start=1)]


def _record(path: Path, number: int, content: Any) -> Record:
    name = f"Record {number} of {path}"
    if not isinstance(content, Mapping) or content.keys() not in _FORMS:
        found = ", ".join(content) if isinstance(content, Mapping) else type(content).__name__
        raise RequestError(f"{name} has other fields: {found:.200}.", _HINT)
    for field in ("image", "answer", "question" if "question" in content else "shows"):
        if not isinstance(content[field], str) or not content[field].strip():
            raise RequestError(f"{name}: {field} is {content[field]!r:.80}, not a text.", _HINT)
    image = path.parent / content["image"]
    if not _is_file(image):
        raise RequestError(f"{name}: there is no image {image}.", "Write a path relative to it.")
    answer = content["answer"]
    if "shows" in content:
        if answer.lower() not in ("yes", "no"):
            raise RequestError(f"{name}: the answer is {answer!r:.80}.", "Write yes or no.")
        return LabelledStatement(image, content["shows"], answer.lower() == "yes")
    labels = content["labels"]
    if not isinstance(labels, list):
        raise RequestError(f"{name}: labels is {labels!r:.80}, not a list.", _HINT)
    try:
        check_labels(labels)
    except RequestError as error:
        raise RequestError(f"{name}: {error.message}", error.hint) from None
    if answer not in labels or len(labels) < 2:
        raise RequestError(
            f"{name}: the answer {answer!r:.80} is not one of two or more labels.",
            "Write it as one of the labels.",
        )
    return LabelledQuestion(image, content["question"], tuple(labels), labels.index(answer))


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # such as a name that is too long
        return False


def predict(
    backend: Backend, records: Sequence[Record], progress: Callable[[int], None]
) -> Predictions:
    """Score the labels of records with a model, some at once.

    Args:
        backend: The model.
        records: Of `read_labelled`.
        progress: Called with the number of records that are done.

    Raises:
        RequestError: An image cannot be read; the message names it.
        EngineError: The model could not finish, or a server reports no log-probabilities.
    """
    choices: list[Prediction] = []
    statements: list[ExistencePrediction] = []
    executor = ThreadPoolExecutor(_AT_ONCE)
    try:
        scored = executor.map(lambda record: _score(backend, record), records)
        for number, (record, scores) in enumerate(zip(records, scored, strict=True), start=1):
            if isinstance(record, LabelledQuestion):
                choices.append(Prediction(scores, record.right))
            else:
                statements.append(ExistencePrediction(log_odds(scores), record.is_shown))
            progress(number)
    finally:  # after an error or an interrupt, no further record begins, and nothing waits
        executor.shutdown(wait=False, cancel_futures=True)
    return Predictions(choices, statements)


def _score(backend: Backend, record: Record) -> list[float]:
    image = open_image(record.image)
    if isinstance(record, LabelledQuestion):
        text, labels = short_answer_question(record.question), record.labels
    else:
        text, labels = shows_question(record.shows), YES_OR_NO
    return backend.score(Request((Message("user", (image, text)),)), labels)


def halves(number: int) -> Iterator[tuple[range, range]]:
    """Yield the positions of two halves of some records, and then the same the other way round.

    What is fitted on the first is measured on the second. Every other record is in one half.
    """
    even, odd = range(0, number, 2), range(1, number, 2)
    yield even, odd
    yield odd, even
