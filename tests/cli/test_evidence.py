"""`llava-tools ask --evidence`: the drawing, the box, and what is refused before the answer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from llava_tools.cli.main import main
from llava_tools.testing import ScriptedBackend
from tests.evidence.scripted import DEPENDENT, SQUARE, depends_on_square


@pytest.fixture
def square(backend: ScriptedBackend, tmp_path: Path) -> str:
    """An image that the scripted answer depends on a part of."""
    backend._scores_without = depends_on_square
    SQUARE.save(tmp_path / "square.png")
    return str(tmp_path / "square.png")


def test_the_drawing_is_written_and_the_box_printed(
    square: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "evidence.PNG"
    assert main(["ask", square, "What?", "--evidence", str(path), "-q"]) == 0
    out = capsys.readouterr()
    box = f"{list(DEPENDENT)} of 240 x 240"
    assert out.out == f"It is red.\n  depends on box {box}\n    {path}\n"
    with Image.open(path) as drawing:
        assert (drawing.format, drawing.size) == ("PNG", (480, 480))


def test_json_has_box_and_path(
    square: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "evidence.png"
    assert main(["ask", square, "What?", "--evidence", str(path), "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["answer"] == "It is red."
    expected = {"box": list(DEPENDENT), "size": [240, 240], "exported": str(path)}
    assert value["evidence"] == expected


def test_without_the_flag_json_is_as_before(
    square: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ask", square, "What?", "--json"]) == 0
    assert "evidence" not in json.loads(capsys.readouterr().out)


def test_an_answer_that_depends_on_nothing_says_so(
    backend: ScriptedBackend, image: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "evidence.png"
    assert main(["ask", image, "What?", "--evidence", str(path)]) == 0
    assert "  depends on no single part of the image\n" in capsys.readouterr().out
    assert path.exists()


def test_the_system_message_is_part_of_the_measured_conversation(
    square: str, backend: ScriptedBackend, tmp_path: Path
) -> None:
    path = str(tmp_path / "evidence.png")
    assert main(["ask", square, "What?", "--evidence", path, "--system", "Be brief."]) == 0
    answered, measured = backend.requests
    assert answered.messages == measured.messages
    assert measured.messages[0].content == ("Be brief.",)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["What?", "--evidence", "a.png"], "this one has 0 images. Name one image."),
        (["IMAGE", "IMAGE", "What?", "--evidence", "a.png"], "this one has 2 images."),
        (["IMAGE", "What?", "--evidence", "a.jpg"], "'a.jpg' is no name of one. Use a name like"),
        (["IMAGE", "What?", "--evidence", ""], "is no name of one"),
        (["IMAGE", "What?", "--evidence", "no/a.png"], "There is no folder 'no' for the file"),
        (["IMAGE", "What?", "--evidence", "folder.png"], "is no name of one"),
        (["What?", "--index", "x", "--evidence", "a.png"], "Use --export to write the cited pages"),
    ],
    ids=["no image", "two images", "JPEG", "empty", "no folder", "folder", "index"],
)
def test_what_cannot_be_drawn_is_refused_before_the_answer(
    backend: ScriptedBackend,
    image: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    reason: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.png").mkdir()
    assert main(["ask", *(image if word == "IMAGE" else word for word in words)]) == 2
    out = capsys.readouterr()
    assert (out.out, out.err.count("\n")) == ("", 1)
    assert reason in out.err
    assert not backend.requests


def test_a_server_is_refused_before_it_answers(
    backend: ScriptedBackend,
    image: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(backend, "measures_evidence", False, raising=False)
    path = tmp_path / "evidence.png"
    assert main(["ask", image, "What?", "--evidence", str(path)]) == 2
    out = capsys.readouterr()
    assert (out.out, out.err.count("\n")) == ("", 1)
    assert "Leave out base_url." in out.err
    assert not backend.requests


def test_a_file_that_cannot_be_written_is_named(
    square: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / f"{'x' * 300}.png"
    assert main(["ask", square, "What?", "--evidence", str(path)]) == 2
    assert "cannot be written: File name too long. Use another file." in capsys.readouterr().err


def test_an_empty_answer_is_an_error(
    backend: ScriptedBackend, image: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    backend._script = [" "]
    assert main(["ask", image, "What?", "--evidence", str(tmp_path / "a.png")]) == 1
    assert "The answer is empty" in capsys.readouterr().err
