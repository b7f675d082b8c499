"""Documents whose names and text layers hold escape sequences, on the command line."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from llava_tools import Llava
from llava_tools.cli.ask import _format_citations
from llava_tools.cli.main import main
from llava_tools.retrieval import PageIndex, ask
from llava_tools.testing import ScriptedBackend, ScriptedEmbedder
from tests.retrieval.hostile_pdfs import write_escape_sequences

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no such names there")


@pytest.fixture
def index(tmp_path: Path) -> str:
    folder = tmp_path / "in"
    folder.mkdir()
    write_escape_sequences(folder / "a\x1b[31mred\x07.pdf")
    PageIndex(tmp_path / "index", ScriptedEmbedder()).update([folder])
    return str(tmp_path / "index")


def test_f8_text_layers_and_names_of_files_are_shown_harmlessly(
    index: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["search", index, "pump", "--mode", "text"]) == 0
    shown = capsys.readouterr().out
    assert r"a\x1b[31mred\x07.pdf, page 1" in shown
    assert r"pump \x1b]0;owned \u202e noise" in shown
    assert all(character.isprintable() or character == "\n" for character in shown)


def test_f8_names_with_line_feeds_stay_on_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A name cannot pass itself off as another result."""
    folder, where = tmp_path / "in", str(tmp_path / "index")
    folder.mkdir()
    name = "a\n2. b\u2028\r\n.pdf"
    write_escape_sequences(folder / name)
    PageIndex(where, ScriptedEmbedder()).update([folder])
    assert main(["search", where, "pump", "--mode", "text"]) == 0
    assert (
        capsys.readouterr()
        .out.splitlines()[0]
        .startswith(rf"1. {folder}/a\n2. b\u2028\r\n.pdf, page 1")
    )
    assert main(["documents", "list", where]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1
    backend = ScriptedBackend(["42"])
    answer = ask(PageIndex(where, ScriptedEmbedder()), "pump?", Llava(backend=backend), mode="text")
    (line, _) = _format_citations(answer, []).splitlines()
    assert line.strip() == rf"{folder}/a\n2. b\u2028\r\n.pdf, page 1"


def test_f8_json_has_the_text_itself_in_escapes(
    index: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["search", index, "pump", "--mode", "text", "--json"]) == 0
    shown = capsys.readouterr().out
    assert all(character.isprintable() or character == "\n" for character in shown)
    (hit,) = json.loads(shown)
    assert hit["snippet"] == "pump \x1b]0;owned \u202e noise"
    assert hit["document"].endswith("a\x1b[31mred\x07.pdf")


def test_f1_f9_skipped_names_and_empty_folders_are_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad\x1b[2J.pdf").write_bytes(b"<html>")
    paths = [str(tmp_path / "empty"), str(tmp_path / "bad\x1b[2J.pdf")]
    assert main(["index", *paths, "--to", str(tmp_path / "index"), "--yes"]) == 3
    errors = capsys.readouterr().err
    assert f"skipped {tmp_path / 'empty'}: There are no PDFs or images in it.\n" in errors
    assert rf"skipped {tmp_path}/bad\x1b[2J.pdf: " in errors
    assert "is not a PDF but a web page." in errors
    assert "\x1b" not in errors
