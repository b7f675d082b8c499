"""Reviews: what is requested, kept and requested again."""

from __future__ import annotations

import errno
import json
import threading
from pathlib import Path
from typing import Any

import pytest

from llava_tools.errors import OutputError, RequestError, ServerError
from llava_tools.evaluation.judging.reviews import Attempt, ReviewFile, ReviewRequest, Reviews
from tests.evaluation.scripted_judge import ScriptedJudge


def _requests(count: int, **changed: str) -> list[ReviewRequest]:
    return [
        ReviewRequest(
            str(number),
            [Attempt(changed.get(f"n{number}", f"Prompt {number}"), "", 16, 0.0)] * 2,
            {"question_id": number},
        )
        for number in range(count)
    ]


def _parse(reply: str) -> int | None:
    return int(reply) if reply.isdecimal() else None


def _complete(path: Path, requests: list[ReviewRequest], judge: Any, **options: Any) -> Reviews:
    return ReviewFile(path, _parse, "score").complete(requests, judge, **options)


def _ids(path: Path) -> list[str]:
    return [json.loads(line)["sample_id"] for line in path.read_text().splitlines()]


def test_lines_are_in_the_order_of_the_samples_whenever_they_come(tmp_path: Path) -> None:
    path = tmp_path / "reviews.jsonl"
    second_came = threading.Event()

    def script(prompt: str) -> str:
        if prompt == "Prompt 0":
            assert second_came.wait(10)
        if prompt == "Prompt 1":
            second_came.set()
        return "5"

    reviews = _complete(path, _requests(3), ScriptedJudge(script, at_once=2))
    assert _ids(path) == list(reviews.lines) == ["0", "1", "2"]


def test_a_broken_last_line_is_dropped_and_requested_again(tmp_path: Path) -> None:
    path = tmp_path / "reviews.jsonl"
    judge = ScriptedJudge(lambda prompt: "5")
    _complete(path, _requests(3), judge)
    path.write_text(path.read_text()[:-20])
    _complete(path, _requests(3), judge)
    assert [prompt for prompt, _ in judge.prompts[3:]] == ["Prompt 2"]
    assert _ids(path) == ["0", "1", "2"]


def test_a_broken_line_in_the_middle_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "reviews.jsonl"
    path.write_text('{"sample_id": "0"\n{"sample_id": "1"}\n')
    with pytest.raises(RequestError, match=r"Line 1 of .* is no review"):
        ReviewFile(path, _parse, "score")


def test_reviews_of_samples_that_are_not_wanted_now_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "reviews.jsonl"
    judge = ScriptedJudge(lambda prompt: "5")
    _complete(path, _requests(4), judge)
    assert list(_complete(path, _requests(2), judge).lines) == ["0", "1"]
    _complete(path, _requests(4), judge)
    assert len(judge.prompts) == 4


def test_a_changed_prompt_replaces_its_review(tmp_path: Path) -> None:
    path = tmp_path / "reviews.jsonl"
    _complete(path, _requests(3), ScriptedJudge(lambda prompt: "5"))
    judge = ScriptedJudge(lambda prompt: "7")
    reviews = _complete(path, _requests(3, n1="Another"), judge)
    assert [reviews.lines[key]["score"] for key in "012"] == [5, 7, 5]
    assert [prompt for prompt, _ in judge.prompts] == ["Another"]
    assert _ids(path) == ["0", "1", "2"]


def test_reviews_that_came_before_a_failure_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "reviews.jsonl"
    judge = ScriptedJudge(lambda prompt: "5", at_once=3)
    judge.fails_after = 5
    with pytest.raises(ServerError):
        _complete(path, _requests(9), judge)
    assert len(_ids(path)) == 5
    judge.fails_after = None
    assert len(_complete(path, _requests(9), judge).lines) == 9
    assert len(judge.prompts) == 9


def test_a_review_that_cannot_be_written_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "reviews.jsonl"
    judge = ScriptedJudge(lambda prompt: "5")
    with monkeypatch.context() as patch:
        patch.setattr("llava_tools.evaluation.judging.reviews.append_line", fail)
        with pytest.raises(RequestError, match=r"reviews\.jsonl cannot be written: No space left"):
            _complete(path, _requests(3), judge)
    assert _complete(path, _requests(3), judge).missing == []


def test_an_interrupt_keeps_reviews_and_does_not_wait(tmp_path: Path) -> None:
    path = tmp_path / "reviews.jsonl"
    release = threading.Event()

    def script(prompt: str) -> str:
        if prompt == "Prompt 1":
            assert release.wait(10)
        return "5"

    def interrupt(done: int, count: int) -> None:
        if done == 1:
            raise KeyboardInterrupt

    judge = ScriptedJudge(script, at_once=2)
    with pytest.raises(KeyboardInterrupt):
        _complete(path, _requests(2), judge, progress=interrupt)
    assert _ids(path) == ["0"]
    release.set()


def test_refused_prompts_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "reviews.jsonl"

    def script(prompt: str) -> str:
        if prompt == "Prompt 1":
            raise RequestError("The server refused the request: filtered.")
        return "5"

    reviews = _complete(path, _requests(3), ScriptedJudge(script))
    assert reviews.missing == ["1"]
    assert reviews.notes == (
        "1 of 3 reviews are missing, the first since the judge refused the prompt "
        "(The server refused the request: filtered.); the next run requests them again.",
    )


def test_if_all_prompts_are_refused_the_refusal_is_raised(tmp_path: Path) -> None:
    def script(prompt: str) -> str:
        raise RequestError("The server refused the request: no max_tokens.")

    with pytest.raises(RequestError, match="no max_tokens"):
        _complete(tmp_path / "reviews.jsonl", _requests(3), ScriptedJudge(script))


def test_a_judge_that_never_writes_a_score_is_an_error(tmp_path: Path) -> None:
    judge = ScriptedJudge(lambda prompt: "I think it is good.")
    with pytest.raises(OutputError, match=r"None of 3 reviews has a score, .* 'I think it is good"):
        _complete(tmp_path / "reviews.jsonl", _requests(3), judge)


def test_control_characters_of_a_reply_do_not_reach_notes(tmp_path: Path) -> None:
    judge = ScriptedJudge(
        lambda prompt: "5" if prompt == "Prompt 1" else "\x1b[2J no\nscore " + "x" * 500
    )
    (note,) = _complete(tmp_path / "reviews.jsonl", _requests(2), judge).notes
    assert note.isprintable()
    assert len(note) < 250
