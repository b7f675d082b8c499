"""Samples are answered once each, whatever ends a run, and however many are in flight."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from llava_tools.core.requests import Request
from llava_tools.core.retry import RetryingStream
from llava_tools.errors import EngineCrashedError, EngineError, QueueFullError, RequestError
from llava_tools.evaluation import runner
from llava_tools.evaluation.answer_log import AnswerLog
from llava_tools.evaluation.runner import answer_samples
from llava_tools.evaluation.task import Answers, Sample
from llava_tools.images import ImageRef, open_image
from llava_tools.testing import ScriptedBackend
from tests.evaluation.made_tasks import right_answer, samples_of, write_data


def _run(
    backend: ScriptedBackend,
    samples: list[Sample],
    path: Path,
    at_once: int = 4,
    progress: Callable[[int, int], None] | None = None,
) -> Answers:
    with AnswerLog(path, {sample.id for sample in samples}) as log:
        return answer_samples(backend, samples, log, at_once=at_once, progress=progress)


def _logged(path: Path) -> list[str]:
    return [json.loads(line)["id"] for line in path.read_text().splitlines()]


def test_the_request_is_llavas_own(tmp_path: Path) -> None:
    backend = ScriptedBackend(right_answer)
    samples = samples_of(tmp_path, 1)
    _run(backend, samples, tmp_path / "log")
    request = backend.requests[0]
    (message,) = request.messages
    assert message.role == "user"
    assert [type(part).__name__ for part in message.content] == ["ImageRef", "str"]
    assert message.text == samples[0].question
    assert request.sampling.temperature == 0
    assert request.sampling.max_tokens == samples[0].max_tokens
    assert request.constraint.unconstrained


def test_a_sample_without_an_image_is_text_alone(tmp_path: Path) -> None:
    backend = ScriptedBackend(["  four \n"])
    assert _run(backend, [Sample("s", "2 + 2?", None)], tmp_path / "log") == {"s": "four"}
    assert backend.requests[0].messages[0].content == ("2 + 2?",)


def test_half_a_character_becomes_a_replacement(tmp_path: Path) -> None:
    backend = ScriptedBackend(["\ud83d"])
    assert _run(backend, [Sample("s", "Which?", None)], tmp_path / "log") == {"s": "\ufffd"}


def test_an_answer_is_logged_with_tokens_and_finish_reason(tmp_path: Path) -> None:
    samples = [replace(samples_of(tmp_path, 1)[0], max_tokens=2)]
    backend = ScriptedBackend(["one two three"], image_tokens=10)
    _run(backend, samples, tmp_path / "log")
    line = json.loads((tmp_path / "log").read_text())
    prompt = backend.count_tokens(backend.requests[0])
    assert line == {
        "id": "0",
        "answer": "one two",
        "prompt_tokens": prompt,
        "completion_tokens": 2,
        "finish_reason": "length",
    }


@pytest.mark.parametrize("at_once", [1, 2, 7, 64])
def test_answers_do_not_depend_on_how_many_are_in_flight(tmp_path: Path, at_once: int) -> None:
    samples = samples_of(tmp_path)
    answers = _run(ScriptedBackend(right_answer), samples, tmp_path / "log", at_once)
    assert list(answers.items()) == [(str(number), str(number)) for number in range(20)]


def test_questions_about_an_image_follow_each_other(tmp_path: Path) -> None:
    backend = ScriptedBackend(right_answer)
    _run(backend, samples_of(tmp_path, 3), tmp_path / "log", at_once=1)
    assert [right_answer(request) for request in backend.requests] == ["0", "3", "1", "4", "2", "5"]
    images = [request.messages[0].images[0] for request in backend.requests]
    assert images[0] is images[1]


def test_samples_of_one_group_may_have_different_images(tmp_path: Path) -> None:
    backend = ScriptedBackend(right_answer)
    samples = [replace(sample, group="one") for sample in samples_of(tmp_path, 3)]
    _run(backend, samples, tmp_path / "log")
    assert [right_answer(request) for request in backend.requests] == ["0", "1", "2", "3", "4", "5"]
    handles = [request.messages[0].images[0].handle for request in backend.requests]
    assert handles[:3] == handles[3:]
    assert len(set(handles)) == 3


def test_as_many_images_as_wanted_are_in_flight_and_no_more(tmp_path: Path) -> None:
    in_flight, most = set[str](), 0
    lock, together = threading.Lock(), threading.Barrier(3, timeout=10)

    def script(request: Request) -> str:
        nonlocal most
        with lock:
            in_flight.add(number := right_answer(request))
            most = max(most, len(in_flight))
        together.wait()  # breaks unless three threads are here at once
        with lock:
            in_flight.remove(number)
        return number

    _run(ScriptedBackend(script), samples_of(tmp_path, 6), tmp_path / "log", at_once=3)
    assert most == 3


def test_images_are_opened_when_their_turn_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Path] = []
    answered: list[int] = []

    def record(source: Path) -> ImageRef:
        # One image may be open before its first answer.
        assert len(opened) <= sum(answered) // 2 + 1
        opened.append(source)
        return open_image(source)

    monkeypatch.setattr(runner, "open_image", record)

    def script(request: Request) -> str:
        answered.append(1)
        return right_answer(request)

    _run(ScriptedBackend(script), samples_of(tmp_path), tmp_path / "log", at_once=1)
    assert len(opened) == len(set(opened)) == 10


@pytest.mark.parametrize("done", [1, 2, 9, 19])
def test_a_killed_run_resumes_without_loss_or_repetition(tmp_path: Path, done: int) -> None:
    data, log = write_data(tmp_path), tmp_path / "log"
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.evaluation.killed_run", data, log],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if int(line) >= done:
            break
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    process.stdout.close()
    kept = _logged(log) if log.read_text().endswith("\n") else _logged(log)[:-1]
    assert len(kept) >= done
    backend = ScriptedBackend(right_answer)
    samples = samples_of(tmp_path / "again")
    answers = _run(backend, samples, log)
    assert answers == {str(number): str(number) for number in range(20)}
    assert sorted(_logged(log), key=int) == [str(number) for number in range(20)]
    repeated = {right_answer(request) for request in backend.requests}
    assert repeated == set(answers) - set(kept)
    assert len(backend.requests) == 20 - len(kept)


def test_a_finished_run_asks_nothing(tmp_path: Path) -> None:
    samples = samples_of(tmp_path)
    first = _run(ScriptedBackend(right_answer), samples, tmp_path / "log")
    backend = ScriptedBackend(["wrong"])
    assert _run(backend, samples, tmp_path / "log") == first
    assert not backend.requests


def test_progress_counts_earlier_answers(tmp_path: Path) -> None:
    samples = samples_of(tmp_path, 3)
    _run(ScriptedBackend(right_answer), samples[:2], tmp_path / "log")
    seen: list[tuple[int, int]] = []
    _run(
        ScriptedBackend(right_answer),
        samples,
        tmp_path / "log",
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(2, 6), (3, 6), (4, 6), (5, 6), (6, 6)]


def test_a_bad_image_is_named_and_other_answers_stay(tmp_path: Path) -> None:
    samples = samples_of(tmp_path)
    bad = samples[5].image
    assert isinstance(bad, Path)
    good = bad.read_bytes()
    bad.write_bytes(good[:40])
    backend = ScriptedBackend(right_answer)
    with pytest.raises(RequestError, match=r"The sample '5' cannot be answered: .*5\.png"):
        _run(backend, samples, tmp_path / "log", at_once=1)
    kept = _logged(tmp_path / "log")
    assert kept == ["0", "10", "1", "11", "2", "12", "3", "13", "4", "14"]
    bad.write_bytes(good)
    backend = ScriptedBackend(right_answer)
    assert len(_run(backend, samples, tmp_path / "log")) == 20
    assert len(backend.requests) == 10


def test_a_prompt_that_is_too_long_names_its_sample(tmp_path: Path) -> None:
    samples = samples_of(tmp_path, 1)
    backend = ScriptedBackend(right_answer, context_length=100)
    with pytest.raises(RequestError, match="The sample '0' cannot be answered"):
        _run(backend, samples, tmp_path / "log")


def test_a_failing_backend_is_an_error_and_answers_stay(tmp_path: Path) -> None:
    def script(request: Request) -> str:
        if right_answer(request) == "4":
            raise EngineError("It broke.")
        return right_answer(request)

    with pytest.raises(EngineError, match="It broke"):
        _run(ScriptedBackend(script), samples_of(tmp_path), tmp_path / "log", at_once=1)
    assert _logged(tmp_path / "log") == ["0", "10", "1", "11", "2", "12", "3", "13"]


@pytest.mark.parametrize("error", [QueueFullError("Full."), EngineCrashedError("Crashed.")])
def test_an_error_that_passes_is_retried(tmp_path: Path, error: EngineError) -> None:
    left = 2

    def script(request: Request) -> str:
        nonlocal left
        if left:
            left -= 1
            raise error
        return right_answer(request)

    samples = samples_of(tmp_path, 1)
    assert len(_run(ScriptedBackend(script), samples, tmp_path / "log", at_once=1)) == 2


class _Blocked:
    """A pause before chunks that lets some pass and then holds all streams."""

    def __init__(self, passing: int) -> None:
        self._passing = passing
        self._lock = threading.Lock()
        self.held = threading.Semaphore(0)
        self.release = threading.Event()

    def __call__(self) -> None:
        with self._lock:
            self._passing -= 1
            holds = self._passing < 0
        if holds:
            self.held.release()
            self.release.wait(10)


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Python's handler of SIGINT, which a process that began in the background does not have."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, previous)


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_closes_the_streams_and_leaves_a_log_that_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples, blocked = samples_of(tmp_path), _Blocked(6)
    backend = ScriptedBackend(right_answer, pause=blocked)

    class Stream(RetryingStream):
        """Lets go what is blocked once the caller's thread has closed all four streams."""

        closed = 0

        def close(self) -> None:
            super().close()
            if threading.current_thread() is threading.main_thread():
                Stream.closed += 1
                if Stream.closed == 4:
                    blocked.release.set()

    def interrupt(done: int, total: int) -> None:
        if done == 6:  # the others are blocked
            for _ in range(4):
                assert blocked.held.acquire(timeout=10)
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(runner, "RetryingStream", Stream)
    with pytest.raises(KeyboardInterrupt):
        _run(backend, samples, tmp_path / "log", at_once=4, progress=interrupt)
    assert backend.closed_early == 4
    assert len(_logged(tmp_path / "log")) == 6
    assert "llava-tools-evaluation" not in {thread.name for thread in threading.enumerate()}
    again = ScriptedBackend(right_answer)
    assert len(_run(again, samples, tmp_path / "log")) == 20
    assert len(again.requests) == 14


def test_an_error_closes_the_other_streams(tmp_path: Path) -> None:
    blocked = _Blocked(0)

    def script(request: Request) -> str:
        if right_answer(request) == "3":
            for _ in range(3):
                assert blocked.held.acquire(timeout=10)
            blocked.release.set()
            raise EngineError("It broke.")
        return right_answer(request)

    backend = ScriptedBackend(script, pause=blocked)
    with pytest.raises(EngineError, match="It broke"):
        _run(backend, samples_of(tmp_path, 4), tmp_path / "log", at_once=4)
    assert "llava-tools-evaluation" not in {thread.name for thread in threading.enumerate()}
