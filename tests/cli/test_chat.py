"""`llava-tools chat`: several turns, images between them, errors in a terminal and in a pipe."""

from __future__ import annotations

import io
from typing import Protocol

import pytest

from llava_tools.cli.main import main
from llava_tools.testing import ScriptedBackend


class TypeLines(Protocol):
    """Sets the lines of standard input."""

    def __call__(self, *lines: str, terminal: bool = False) -> None: ...


@pytest.fixture
def type_lines(monkeypatch: pytest.MonkeyPatch) -> TypeLines:
    """A function that sets what standard input holds, and whether it is a terminal."""

    def set_lines(*lines: str, terminal: bool = False) -> None:
        stdin = io.TextIOWrapper(io.BytesIO("\n".join([*lines, ""]).encode()))
        monkeypatch.setattr(stdin, "isatty", lambda: terminal, raising=False)
        monkeypatch.setattr("sys.stdin", stdin)

    return set_lines


def test_later_questions_have_the_history(
    backend: ScriptedBackend, image: str, type_lines: TypeLines, capsys: pytest.CaptureFixture[str]
) -> None:
    type_lines("What colour?", "", "Sure?", f"/image {image}", "And this?")
    assert main(["chat", image, "-q", "--system", "Be short.", "--max-tokens", "2"]) == 0
    assert capsys.readouterr() == ("It is\n" * 3, "")
    last = backend.requests[-1]
    assert [message.role for message in last.messages] == ["system"] + 2 * [
        "user",
        "assistant",
    ] + ["user"]
    assert [message.text for message in last.messages[1:]] == [
        "What colour?",
        "It is",
        "Sure?",
        "It is",
        "And this?",
    ]
    assert [len(message.images) for message in last.messages] == [0, 1, 0, 0, 0, 1]
    assert last.sampling.max_tokens == 2


def test_exit_and_clear(
    backend: ScriptedBackend, image: str, type_lines: TypeLines, capsys: pytest.CaptureFixture[str]
) -> None:
    type_lines("What?", "/clear", "Hello?", "/exit", "More?")
    assert main(["chat", image]) == 0
    assert [len(request.messages) for request in backend.requests] == [1, 1]
    assert not backend.requests[1].messages[0].images
    assert "red.png, 8 x 4 pixels" in capsys.readouterr().err


def test_error_in_a_terminal_keeps_the_conversation(
    backend: ScriptedBackend, image: str, type_lines: TypeLines, capsys: pytest.CaptureFixture[str]
) -> None:
    type_lines("What?", "/image nope.png", "/imag x", "/image", "x " * 5000, "Sure?", terminal=True)
    assert main(["chat", image]) == 0
    out, err = capsys.readouterr()
    assert out.count("It is red.") == 2
    assert "There is no file 'nope.png'" in err
    assert "There is no command /imag. Did you mean /image?" in err
    assert "/image names no file" in err
    assert "Type /clear." in err
    assert len(backend.requests[-1].messages) == 3


def test_error_in_a_pipe_ends_it(
    backend: ScriptedBackend, type_lines: TypeLines, capsys: pytest.CaptureFixture[str]
) -> None:
    type_lines("/image nope.png", "What?")
    assert main(["chat", "-q"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not backend.requests
    assert main(["chat", "-"]) == 2


def test_interrupt_stops_an_answer_and_keeps_what_came(
    backend: ScriptedBackend, type_lines: TypeLines, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[None] = []

    def pause() -> None:
        pauses.append(None)
        if len(pauses) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(backend, "_pause", pause)
    type_lines("What?", "Sure?", terminal=True)
    assert main(["chat"]) == 0
    assert [message.text.strip() for message in backend.requests[1].messages] == [
        "What?",
        "It is",
        "Sure?",
    ]
    assert backend.closed_early == 1
