"""`llava-tools convert` passes on its flags and prints what it wrote."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from llava_tools.cli import convert
from llava_tools.cli.main import main
from llava_tools.conversion import Converted, ConvertOptions
from tests.original_layout import write_original


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[ConvertOptions]:
    found: list[ConvertOptions] = []

    def record(options: ConvertOptions, progress: Callable[[int, int], None]) -> Converted:
        found.append(options)
        progress(1, 7)
        return Converted(options.out, 14_130_000_000, "float16")

    monkeypatch.setattr(convert, "convert", record)
    return found


def test_flags_set_options(calls: list[ConvertOptions], capsys: pytest.CaptureFixture[str]) -> None:
    words = ["convert", "org/model", "--out", "new", "--clip", "org/clip", "--dtype", "float16"]
    words += ["--revision", "main", "--clip-revision", "v1", "--local-files-only"]
    words += ["--base", "org/vicuna"]
    assert main(["convert", "org/model", "--out", "new"]) == 0
    assert main(words) == 0
    assert calls == [
        ConvertOptions("org/model", Path("new")),
        ConvertOptions(
            "org/model", Path("new"), "org/clip", "org/vicuna", "float16", "main", "v1", True
        ),
    ]
    out, err = capsys.readouterr()
    assert out == "new: 14.1 GB, float16\n" * 2
    assert err == "llava-tools: note: 1 of 7 weight files written\n" * 2


def test_quiet_prints_no_progress(
    calls: list[ConvertOptions], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["convert", "org/model", "--out", "new", "--quiet"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ([], "required: source, --out"),
        (["org/model"], "required: --out"),
        (["./nowhere", "--out", "OUT"], "There is no model './nowhere'"),
        (["x", "--out", "OUT", "--dtype", "int8"], "dtype='int8' is not possible"),
        (["SOURCE", "--out", "SOURCE"], "exists, and is not an empty folder"),
    ],
)
def test_wrong_use_prints_one_line_and_exits_with_2(
    words: list[str], reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "SOURCE").mkdir()
    (tmp_path / "SOURCE" / "config.json").write_text("{}")
    paths = {"OUT": str(tmp_path / "OUT"), "SOURCE": str(tmp_path / "SOURCE")}
    try:
        code: object = main(["convert", *(paths.get(word, word) for word in words)])
    except SystemExit as error:
        code = error.code
    err = capsys.readouterr().err
    assert code == 2
    assert err.count("\n") == 1
    assert reason in err


def test_a_folder_is_converted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    original = write_original(tmp_path)
    assert main(["convert", str(original.folder), "--out", str(tmp_path / "new")]) == 0
    assert (tmp_path / "new" / "model.safetensors").is_file()
    assert capsys.readouterr().out == f"{tmp_path / 'new'}: less than 0.1 GB, float32\n"
