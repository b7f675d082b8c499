"""F10: `llava-tools index` says what it will do, and asks at a terminal."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from llava_tools import model_cache
from llava_tools.cli import index_plan
from llava_tools.cli.main import main
from llava_tools.retrieval import IndexProgress, PageIndex, StepRates
from tests.cli.test_documents import _Embedder
from tests.retrieval.documents import write_pdf


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The command that indexes a PDF of two pages."""
    load: Any = model_cache.ModelCache(lambda options: _Embedder())
    monkeypatch.setattr(model_cache, "embeddings", load)
    write_pdf(tmp_path / "a.pdf", ["A cover page", "The total is 42 euro"])
    return ["index", str(tmp_path / "a.pdf"), "--to", str(tmp_path / "index")]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_f10_plan_is_printed_and_nothing_is_written(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, "--plan"]) == 0
    out, err = capsys.readouterr()
    assert "1 documents to index, 0 unchanged, 0 skipped\n2 pages: about 1 s, and about 0.0" in out
    assert "vision tower: scripted, of the model tiny" in out
    assert "warning: this vision tower, of the embedded model, knows drawn scenes only" in err
    assert main([*command, "--plan", "--json", "--keep-images", "-q"]) == 0
    out, err = capsys.readouterr()
    plan = json.loads(out)
    assert (plan["documents"], plan["pages"], plan["model"]) == (1, 2, "tiny")
    assert (plan["is_toy"], plan["keeps_images"], err) == (True, True, "")
    assert not (tmp_path / "index").exists()


def test_f10_scripts_need_no_confirmation(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, "--keep-images"]) == 0
    out, err = capsys.readouterr()
    assert "2 pages added" in out
    assert "2 pages: about 1 s" in err
    assert "MB of index, with the images of its pages" in err
    assert "knows drawn scenes only" in err
    assert "Begin?" not in err
    assert PageIndex(tmp_path / "index").store.keeps_images
    assert main(command) == 0
    assert "knows drawn scenes" not in capsys.readouterr().err  # there is nothing to encode


@pytest.mark.parametrize(
    ("answer", "flags", "indexed"),
    [("\n", [], True), ("y\n", [], True), ("n\n", [], False), ("", ["--yes"], True)],
)
def test_f10_terminal_confirms_a_new_index_of_the_toy_vision_tower(
    command: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    answer: str,
    flags: list[str],
    indexed: bool,
) -> None:
    error = Terminal()
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    monkeypatch.setattr(sys, "stderr", error)
    assert main([*command, *flags]) == 0
    assert ("Begin? [Y/n]" in error.getvalue()) is not bool(flags)
    assert (tmp_path / "index").exists() is indexed
    assert ("nothing was indexed" in error.getvalue()) is not indexed


def test_damaged_index_is_mended_with_a_note(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command) == 0
    versions = tmp_path / "index" / "documents.lance" / "_versions"
    min(versions.glob("*.manifest")).write_bytes(b"")
    capsys.readouterr()
    assert main(command) == 0
    err = capsys.readouterr().err
    assert "cannot be used" in err
    assert "Trying to mend it." in err
    assert main(["search", str(tmp_path / "index"), "total", "--mode", "text"]) == 0


def test_progress_bar_has_the_rate_and_time_left_of_each_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    error = Terminal()
    monkeypatch.setattr(sys, "stderr", error)
    with index_plan.show_progress() as show:
        show(IndexProgress(10, 110, 5.0, StepRates(20.0, 2.5, 400.0)))
        assert "render 20/s (5 s left), encode 2.5/s (40 s left), write 400/s" in error.getvalue()
        show(IndexProgress(110, 110, 50.0, StepRates(20.0, 2.5, 400.0), "search indexes"))
    assert "110/110" in error.getvalue()
    assert "search indexes" in error.getvalue()


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "1 s"), (59, "59 s"), (600, "10 min"), (9000, "2.5 h")]
)
def test_times_are_written_for_people(seconds: float, text: str) -> None:
    assert index_plan.format_seconds(seconds) == text
