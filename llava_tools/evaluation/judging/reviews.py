"""Reviews that a judge writes, many at once, each kept in a file as soon as it has come.

The file is JSON Lines in the format of the benchmark's authors. Two further fields, `judge` and
`request_hash`, tell a later run which reviews it need not request again.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llava_tools.errors import OutputError, RequestError, on_one_line
from llava_tools.evaluation.data_files.files import read_text
from llava_tools.evaluation.data_files.writing import append_line, replace_text, writing
from llava_tools.evaluation.task import Judge, Progress

#: Characters of a reply that a note shows.
_SHOWN = 60


@dataclass(frozen=True)
class Attempt:
    """A prompt of a judge; see `llava_tools.evaluation.task.Judge.reply`."""

    prompt: str
    system: str
    max_tokens: int
    temperature: float


@dataclass(frozen=True)
class ReviewRequest:
    """What a judge is to write about an answer.

    Attributes:
        id: Of the sample.
        attempts: The first prompt, and those for the case that earlier replies cannot be parsed.
        fields: What the line in the file has beside the review.
    """

    id: str
    attempts: Sequence[Attempt]
    fields: Mapping[str, Any]

    @property
    def hash(self) -> str:
        """Changes whenever what the judge reads first changes."""
        first = self.attempts[0]
        return hashlib.sha256(f"{first.system}\0{first.prompt}".encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Reviews:
    """The reviews of some answers.

    Attributes:
        lines: The lines of the file, by the ids of the samples, in their order.
        missing: Ids of samples without a review.
        problem: Why the first of these has none.
    """

    lines: Mapping[str, Mapping[str, Any]]
    missing: Sequence[str] = ()
    problem: str = ""

    @property
    def notes(self) -> tuple[str, ...]:
        """What a report says about missing reviews."""
        if not self.missing:
            return ()
        count = len(self.missing) + len(self.lines)
        return (
            f"{len(self.missing)} of {count} reviews are missing, the first since {self.problem}; "
            "the next run requests them again.",
        )


class ReviewFile:
    """Reviews in a file; a review of the same request by the same judge is not requested twice.

    Args:
        path: The file; made if missing. Lines of other samples stay in it.
        parse: Returns the value of a reply, or None if it has none.
        value_name: The line's field for that value.
    """

    def __init__(self, path: Path, parse: Callable[[str], Any], value_name: str) -> None:
        self._path = path
        self._parse = parse
        self._value_name = value_name
        self._lock = threading.Lock()  # guards the file and `_lines`
        self._lines: dict[str, dict[str, Any]] = _read_lines(path)

    def complete(
        self, requests: Sequence[ReviewRequest], judge: Judge, progress: Progress | None = None
    ) -> Reviews:
        """Return the reviews for all requests; request those that the file lacks.

        Raises:
            EngineError: The judge failed, or no reply has a score; reviews that have come are kept.
            RequestError: The judge refuses all prompts, or the file cannot be written.
        """
        pending = [item for item in requests if not self._has(item, judge)]
        for item in pending:  # of another judge or answer
            self._lines.pop(item.id, None)
        self._rewrite(requests)
        show = progress or (lambda done, count: None)
        done = len(requests) - len(pending)
        show(done, len(requests))
        problems: dict[str, str | RequestError] = {}
        pool = ThreadPoolExecutor(judge.max_concurrent_requests, "llava-tools-judge")
        try:
            futures = {pool.submit(self._review, item, judge): item for item in pending}
            for future in as_completed(futures):
                if (problem := future.result()) is not None:
                    problems[futures[future].id] = problem
                done += 1
                show(done, len(requests))
        except Exception:
            pool.shutdown(wait=True, cancel_futures=True)  # reviews that are on their way are kept
            raise
        finally:  # after an interrupt nothing waits: closing the judge ends its requests
            pool.shutdown(wait=False, cancel_futures=True)
        self._rewrite(requests)
        return self._result(requests, problems)

    def _has(self, item: ReviewRequest, judge: Judge) -> bool:
        line = self._lines.get(item.id, {})
        return (line.get("request_hash"), line.get("judge")) == (item.hash, judge.model)

    def _review(self, item: ReviewRequest, judge: Judge) -> str | RequestError | None:
        """Request a review and keep it; return why there is none."""
        reply = ""
        for attempt in item.attempts:
            try:
                reply = judge.reply(
                    attempt.prompt,
                    system=attempt.system,
                    max_tokens=attempt.max_tokens,
                    temperature=attempt.temperature,
                )
            except RequestError as error:  # of this prompt: it is too long, or filtered
                return error
            if (value := self._parse(reply)) is not None:
                self._append(item, judge, reply, value)
                return None
        return f"{len(item.attempts)} replies had no score, the last was {_shortened(reply)!r}"

    def _append(self, item: ReviewRequest, judge: Judge, reply: str, value: Any) -> None:
        line = {
            **item.fields,
            "content": reply,
            self._value_name: value,
            "sample_id": item.id,
            "judge": judge.model,
            "request_hash": item.hash,
        }
        with self._lock:
            with writing(self._path), self._path.open("ab", buffering=0) as file:
                append_line(file, json.dumps(line).encode() + b"\n")
                os.fsync(file.fileno())
            self._lines[item.id] = line

    def _rewrite(self, requests: Sequence[ReviewRequest]) -> None:
        """Write all lines in the samples' order, and drop replaced and broken ones."""
        ids = {item.id: None for item in requests if item.id in self._lines} | self._lines
        replace_text(self._path, "".join(f"{json.dumps(self._lines[key])}\n" for key in ids))

    def _result(
        self, requests: Sequence[ReviewRequest], problems: Mapping[str, str | RequestError]
    ) -> Reviews:
        missing = [item.id for item in requests if item.id in problems]
        lines = {item.id: self._lines[item.id] for item in requests if item.id not in problems}
        first = problems[missing[0]] if missing else ""
        if isinstance(first, RequestError):
            if not lines:
                raise first
            return Reviews(lines, missing, f"the judge refused the prompt ({first.message})")
        if missing and not lines:
            raise OutputError(
                f"None of {len(missing)} reviews has a score, the first since {first}.",
                "Choose another judge: one that answers directly, without thinking first.",
            )
        return Reviews(lines, missing, first)


def judged_path(folder: Path, stem: str, judge: Judge, ending: str) -> Path:
    """Return the path of a file about a judge, such as `mm_vet_gpt-4-grade-1runs.json`."""
    return folder / f"{stem}_{re.sub(r'[^A-Za-z0-9.-]+', '_', judge.model)}{ending}"


def _read_lines(path: Path) -> dict[str, dict[str, Any]]:
    """Return the lines by sample. A killed run may have left the last one broken."""
    lines: dict[str, dict[str, Any]] = {}
    if not path.exists():
        return lines
    texts = read_text(path).split("\n")
    for number, text in enumerate(texts, start=1):
        try:
            line = json.loads(text)
            lines[line["sample_id"]] = line
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            if number == len(texts):  # empty after a whole line
                break
            raise RequestError(
                f"Line {number} of {path} is no review.", "Repair it, or move the file away."
            ) from error
    return lines


def _shortened(text: str) -> str:
    line = on_one_line(text)
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}…"
