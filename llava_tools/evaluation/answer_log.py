"""`AnswerLog`: the answers to a benchmark's samples on disk, from which a killed run resumes."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from llava_tools.core.outputs import FinishReason
from llava_tools.errors import RequestError
from llava_tools.evaluation.data_files.writing import append_line, writing
from llava_tools.images.sources import shorten


@dataclass(frozen=True)
class LoggedAnswer:
    """An answer as a line of the log.

    Attributes:
        id: Of the sample.
        answer: The model's text, surrounding white space removed.
        prompt_tokens: Tokens of the prompt, those of the image included.
        completion_tokens: Tokens of the answer.
        finish_reason: `length` if the answer was cut off at its limit.
    """

    id: str
    answer: str
    prompt_tokens: int
    completion_tokens: int
    finish_reason: FinishReason


class AnswerLog:
    """A file of JSON lines, an answer each, which are written as they come.

    There may be one object for a file at a time; `run_folder` locks its folder. A kill leaves at
    most the last line incomplete, and opening the file removes that line.

    Args:
        path: The file; created if missing, in a folder that exists.
        ids: Of all samples of the benchmark.

    Attributes:
        answers: The texts by the ids of their samples.

    Raises:
        RequestError: The file has answers to other samples, two to one, or a damaged line; or it
            cannot be written.
    """

    def __init__(self, path: Path, ids: Collection[str]) -> None:
        self._path = path
        whole = _read(path)
        self.answers = _parse(path, whole, ids)
        with writing(path):
            self._file = path.open("ab", buffering=0)
            self._file.truncate(len(whole))

    def append(self, answer: LoggedAnswer) -> None:
        """Write an answer.

        Raises:
            RequestError: It cannot be written, as on a full disk.
        """
        line = json.dumps(asdict(answer), ensure_ascii=False).encode(errors="surrogatepass") + b"\n"
        with writing(self._path):
            append_line(self._file, line)
        self.answers[answer.id] = answer.answer

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_answers(path: Path, ids: Collection[str]) -> dict[str, str]:
    """Return the answers of a log, without writing to it; see `AnswerLog`."""
    return _parse(path, _read(path), ids)


def _read(path: Path) -> bytes:
    """Return the whole lines of a file; none if it is missing."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise RequestError(f"{path} cannot be read: {error.strerror}.", "Check it.") from error
    return data[: data.rfind(b"\n") + 1]


def _parse(path: Path, data: bytes, ids: Collection[str]) -> dict[str, str]:
    """Return the answers in some lines."""
    answers: dict[str, str] = {}
    for number, line in enumerate(data.splitlines(), start=1):
        try:
            answer = LoggedAnswer(**json.loads(line))
            if not (isinstance(answer.id, str) and isinstance(answer.answer, str)):
                raise TypeError("no text")
        except (TypeError, ValueError, RecursionError) as error:
            raise RequestError(
                f"Line {number} of {path} is no answer.", "Remove the line; it is answered again."
            ) from error
        if answer.id in answers:
            raise RequestError(
                f"{path} has two answers to the sample {shorten(answer.id)}.",
                f"Remove one; the second is in line {number}.",
            )
        if answer.id not in ids:
            raise RequestError(
                f"{path} has an answer to {shorten(answer.id)}, which is no sample of the data.",
                "Choose another output folder, or the data that it belongs to.",
            )
        answers[answer.id] = answer.answer
    return answers
