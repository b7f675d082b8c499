"""Answers on disk: written at once, read back whole, refused if they belong elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from llava_tools.errors import RequestError
from llava_tools.evaluation.answer_log import AnswerLog, LoggedAnswer, read_answers

IDS = ("a", "b", "c")


def _logged(id_: str, text: str = "yes") -> LoggedAnswer:
    return LoggedAnswer(id_, text, 600, 2, "stop")


def _write(path: Path, *ids: str) -> None:
    with AnswerLog(path, IDS) as log:
        for id_ in ids:
            log.append(_logged(id_))


@pytest.mark.parametrize(
    "text",
    ["", "two\nlines\r\nand\x85more\u2028", 'a "quote" \\', "你好 é", "\x00\x1b", "\ud800 alone"],
)
def test_an_answer_is_read_back_as_it_was(tmp_path: Path, text: str) -> None:
    path = tmp_path / "answers.jsonl"
    with AnswerLog(path, IDS) as log:
        log.append(_logged("a", text))
        log.append(_logged("b"))
    assert read_answers(path, IDS) == {"a": text, "b": "yes"}


def test_an_answer_is_on_disk_before_the_log_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    with AnswerLog(path, IDS) as log:
        log.append(_logged("a"))
        assert read_answers(path, IDS) == {"a": "yes"}


def test_a_torn_last_line_is_removed_at_every_length(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    _write(path, "a", "b")
    whole = path.read_bytes()
    second = whole.index(b"\n") + 1
    for cut in range(second, len(whole)):
        path.write_bytes(whole[:cut])
        with AnswerLog(path, IDS) as log:
            assert log.answers == {"a": "yes"}
            log.append(_logged("b"))
        assert path.read_bytes() == whole


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("{}\n", "Line 1 of .* is no answer"),
        ("[1]\n", "Line 1 of .* is no answer"),
        ("nonsense\n", "Line 1 of .* is no answer"),
        ("\x00\x00\n", "Line 1 of .* is no answer"),
    ],
)
def test_a_damaged_line_is_refused(tmp_path: Path, lines: str, message: str) -> None:
    path = tmp_path / "answers.jsonl"
    path.write_text(lines)
    with pytest.raises(RequestError, match=message):
        AnswerLog(path, IDS)
    assert path.read_text() == lines


def test_two_answers_to_a_sample_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    _write(path, "a", "b")
    path.write_bytes(path.read_bytes() * 2)
    with pytest.raises(RequestError, match=r"two answers to the sample 'a'.*line 3"):
        AnswerLog(path, IDS)


def test_an_answer_to_another_sample_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    _write(path, "a", "b")
    with pytest.raises(RequestError, match="answer to 'b', which is no sample"):
        AnswerLog(path, ("a", "c"))


def test_a_file_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "answers.jsonl").mkdir()
    with pytest.raises(RequestError, match="cannot be read"):
        AnswerLog(tmp_path / "answers.jsonl", IDS)
    with pytest.raises(RequestError, match="cannot be written"):
        AnswerLog(tmp_path / "missing" / "answers.jsonl", IDS)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with AnswerLog(tmp_path / "answers.jsonl", IDS) as log:
        log.append(_logged("a"))
        with Path("/dev/full").open("wb", buffering=0) as full:
            monkeypatch.setattr(log, "_file", full)
            with pytest.raises(RequestError, match="cannot be written: No space left"):
                log.append(_logged("b"))
        assert log.answers == {"a": "yes"}
