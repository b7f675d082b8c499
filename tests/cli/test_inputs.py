"""Images on the command line: typos, patterns, standard input, PDFs and private hosts."""

from __future__ import annotations

import io
import os
import shlex
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from llava_tools.cli import inputs
from llava_tools.cli.main import main
from llava_tools.testing import ScriptedBackend
from tests.retrieval.documents import write_pdf


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with two images and a PDF."""
    for name in ("photo.png", "my garden.png"):
        Image.new("RGB", (8, 4), "red").save(tmp_path / name)
    write_pdf(tmp_path / "report.pdf", ["The total is 42 euro"])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _error(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Return the only line that a command prints, an error."""
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    return err.removeprefix("llava-tools: error: ").rstrip("\n")


def _suggestion(error: str) -> list[str]:
    """Return the words of the command that an error suggests, as a shell splits them."""
    return shlex.split(error[error.rindex("llava-tools ") :])[1:]


def test_h1_misspelt_file_is_no_question(
    backend: ScriptedBackend, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (["phto.png"], ["photo.png", "phto.png"], ["phto.png", "What is this?"]):
        error = _error(["ask", *words], capsys)
        assert "There is no file 'phto.png'" in error
        assert "Did you mean 'photo.png'?" in error
    assert not backend.requests


def test_h1_file_with_an_index_is_no_question(
    backend: ScriptedBackend, capsys: pytest.CaptureFixture[str]
) -> None:
    error = _error(["ask", "photo.png", "--index", "my index"], capsys)
    assert "'photo.png' is a file" in error
    assert _suggestion(error) == ["ask", "--index", "my index", "What is this?"]


def test_h1_standard_input_is_no_question(
    backend: ScriptedBackend, capsys: pytest.CaptureFixture[str]
) -> None:
    error = _error(["ask", "photo.png", "-"], capsys)
    assert "question is missing" in error
    assert _suggestion(error) == ["ask", "photo.png", "-", "What is this?"]


def test_words_with_a_suffix_in_a_question_are_no_files(backend: ScriptedBackend) -> None:
    long = "Is it " + "x" * 5000
    for question in ("Is it in logo.png?", "What is in logo.png", "Why U.S.A.?", long):
        assert main(["ask", "photo.png", question]) == 0
        assert backend.requests[-1].messages[-1].text == question


def test_h2_image_from_standard_input(
    backend: ScriptedBackend,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def pipe(data: bytes) -> None:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))

    pipe((folder / "photo.png").read_bytes())
    assert main(["ask", "-", "What?", "-q"]) == 0
    assert capsys.readouterr() == ("It is red.\n", "")
    assert backend.requests[0].messages[-1].images[0].size == (8, 4)
    pipe(b"")
    assert "is empty" in _error(["ask", "-", "What?"], capsys)
    assert "named twice" in _error(["ask", "-", "-", "What?"], capsys)


def test_h2_standard_input_that_is_a_terminal_is_refused(
    backend: ScriptedBackend, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal = io.TextIOWrapper(io.BytesIO())
    monkeypatch.setattr(terminal, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("sys.stdin", terminal)
    assert "a terminal" in _error(["ask", "-", "What?"], capsys)


def test_h2_patterns_are_expanded(
    backend: ScriptedBackend, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ask", "*.png", "What?"]) == 0
    images = backend.requests[0].messages[-1].images
    assert [image.source for image in images] == ["my garden.png", "photo.png"]
    capsys.readouterr()
    assert "no file '*.bmp'" in _error(["ask", "*.bmp", "What?"], capsys)
    Image.new("RGB", (8, 4)).save(folder / "[a].png")
    assert inputs.expand_patterns(["[a].png", "http://h/?*", "n*"]) == [
        "[a].png",
        "http://h/?*",
        "n*",
    ]


def test_h2_question_before_its_images_is_one_error_with_a_command(
    backend: ScriptedBackend, capsys: pytest.CaptureFixture[str]
) -> None:
    error = _error(["ask", "What's this?", "my garden.png"], capsys)
    assert "question has to come last" in error
    assert _suggestion(error) == ["ask", "my garden.png", "What's this?"]
    assert main(_suggestion(error)) == 0


def test_h2_question_without_quotes_is_one_error_with_a_command(
    backend: ScriptedBackend, capsys: pytest.CaptureFixture[str]
) -> None:
    error = _error(["ask", "photo.png", "What", "is", "this?"], capsys)
    assert _suggestion(error) == ["ask", "photo.png", "What is this?"]
    error = _error(["ask", "--index", "i", "What", "is", "this?"], capsys)
    assert _suggestion(error) == ["ask", "--index", "i", "What is this?"]


def test_long_words_are_not_repeated_in_suggestions(
    backend: ScriptedBackend, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (["a" * 5_000, "What?"], ["What?" * 500, "photo.png"]):
        error = _error(["ask", *words], capsys)
        assert len(error) < 500
        assert "quote" in error


@pytest.mark.skipif(not os.path.exists("/proc/kmsg"), reason="no kernel log")
def test_a_file_that_would_wait_is_one_error(
    backend: ScriptedBackend, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "/proc/kmsg" in _error(["ask", "/proc/kmsg", "What?"], capsys)


def test_h2_suggestions_are_quoted_for_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.name", "nt")
    words = ["llava-tools", "ask", "my garden.png", 'Is it "red"?']
    assert inputs.command(*words[1:]) == subprocess.list2cmdline(words)


def test_h3_pdf_names_the_index_command(
    backend: ScriptedBackend, capsys: pytest.CaptureFixture[str]
) -> None:
    error = _error(["ask", "report.pdf", "What is the total?"], capsys)
    assert "'report.pdf' is a PDF" in error
    assert "llava-tools index report.pdf --to report-index" in error
    assert _suggestion(error)[:3] == ["ask", "--index", "report-index"]


def test_h3_indexing_a_bad_pdf_says_what_is_wrong(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "bad.pdf").write_bytes(b"%PDF-1.7 junk")
    (folder / "text.pdf").write_bytes(b"only words")
    assert main(["index", "bad.pdf", "text.pdf", "--to", "index"]) == 3
    plan, bad, text = capsys.readouterr().err.splitlines()
    assert "0 documents to index, 0 unchanged, 2 skipped" in plan
    assert "bad.pdf' is broken, or has no pages" in bad
    assert "text.pdf' is not a PDF: its header is missing" in text


def test_h4_private_host_names_the_flag(
    backend: ScriptedBackend, capsys: pytest.CaptureFixture[str]
) -> None:
    url = "http://127.0.0.1:9/a.png"  # the discard port, where nothing listens
    error = _error(["ask", url, "What?"], capsys)
    assert error.endswith("If you trust it, add --allow-host 127.0.0.1")
    error = _error(["ask", url, "What?", "--allow-host", "h", "--allow-host", "127.0.0.1"], capsys)
    assert "cannot be fetched" in error
    assert "not a host's name" in _error(["ask", url, "q", "--allow-host", "http://x"], capsys)
