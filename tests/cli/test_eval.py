"""`llava-tools eval`: the list, a run, its exit codes, an interrupt, and scoring again."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from llava_tools.cli import evaluate as command
from llava_tools.cli.main import main
from llava_tools.errors import EngineError, ServerError
from llava_tools.evaluation import catalog
from llava_tools.evaluation.judging.judge import ServerJudge
from llava_tools.testing import ScriptedBackend
from tests.evaluation.made_tasks import (
    FixedJudge,
    JudgedTask,
    NumberTask,
    ServedTask,
    right_answer,
    write_data,
)


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: ScriptedBackend) -> str:
    """Three small benchmarks, and a model that knows their answers."""
    monkeypatch.setattr(catalog, "TASKS", (ServedTask(), NumberTask(), JudgedTask()))
    monkeypatch.setattr(backend, "_script", right_answer)
    monkeypatch.setattr(backend, "close", lambda: None)  # a test runs several commands
    monkeypatch.chdir(tmp_path)
    write_data(tmp_path / "data")
    return "data"


def test_a_run_prints_a_table_beside_the_published_figures(
    data: str, capsys: pytest.CaptureFixture[str], backend: ScriptedBackend
) -> None:
    assert main(["eval", "--data", data, "--tasks", "pope", "--out", "out"]) == 0
    out, err = capsys.readouterr()
    assert "Numbers" in out
    assert "100.0" in out
    assert "90.0" in out
    assert len(backend.requests) == 20
    assert "embedded model knows drawn shapes" in err
    assert json.loads(Path("out/results.json").read_text())["tasks"]["pope"]["value"] == 100.0


def test_the_output_folder_has_the_models_name_by_default(
    data: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["eval", "--data", data, "--quiet"]) == 0
    assert Path("eval-results/scripted/manifest.json").is_file()
    assert capsys.readouterr().err == ""


def test_json_has_results_and_manifest(data: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", "--data", data, "--limit", "6", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert list(result["tasks"]) == ["vqav2", "pope", "mm_vet"]
    assert result["tasks"]["pope"]["limited"] is True
    assert result["tasks"]["vqav2"]["needs"] == "a server"
    assert result["tasks"]["mm_vet"]["needs"] == "a judge"
    assert result["manifest"]["model"]["name"] == "tiny"
    assert len(result["manifest"]["model"]["sha256"]) == 64


def test_missing_data_are_listed_and_the_exit_code_says_so(
    data: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ServedTask, "folder", "served")
    assert main(["eval", "--data", data]) == 3
    assert "Served: no data; they are at https://example.org/numbers" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["eval"], "data is missing."),
        (["eval", "--data", "nowhere"], "There is no folder nowhere of data sets."),
        (["eval", "--data", "data", "--tasks", "popes"], "There is no benchmark 'popes'."),
        (["eval", "--data", "data", "--limit", "0"], "limit=0 is not possible."),
        (["eval", "--data", "data", "--plot", "a.gif"], "--plot a.gif is not possible."),
        (
            ["eval", "--data", "data", "--tasks", "pope", "--plot", "a.png"],
            "A radar plot needs 3 benchmarks, and there are 1.",
        ),
        (["eval", "--score", "nowhere"], "nowhere has no answers of an evaluation."),
        (["eval", "--data", "data", "--judge-model", "m"], "judge_model='m' has no server."),
    ],
)
def test_what_is_impossible_is_one_line_before_the_model_is_loaded(
    data: str,
    backend: ScriptedBackend,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    line: str,
) -> None:
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"llava-tools: error: {line}")
    assert err.count("\n") == 1
    assert not backend.requests


def test_a_named_benchmark_without_data_is_an_error(
    data: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ServedTask, "folder", "served")
    assert main(["eval", "--data", data, "--tasks", "vqav2"]) == 2
    assert "The data of vqav2 are not in data/served" in capsys.readouterr().err


def test_a_bad_image_is_named_and_the_others_are_scored(
    data: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ServedTask, "folder", "served")
    (write_data(Path(data), folder="served") / "images" / "3.png").write_bytes(b"no image")
    assert main(["eval", "--data", data]) == 2
    out, err = capsys.readouterr()
    assert "error: vqav2: The sample '3' cannot be answered: " in err
    assert "Numbers" in out


def test_a_plot_is_written(data: str) -> None:
    assert main(["eval", "--data", data, "--plot", "radar.png"]) == 0
    assert Path("radar.png").read_bytes().startswith(b"\x89PNG")


def test_a_plot_that_cannot_be_written_is_an_error_after_the_table(
    data: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("radar.png").mkdir()
    assert main(["eval", "--data", data, "--plot", "radar.png"]) == 2
    out, err = capsys.readouterr()
    assert "Numbers" in out
    assert "error: The plot radar.png cannot be written: Is a directory." in err


def test_a_run_says_where_its_answers_are(data: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", "--data", data]) == 0
    assert "answers and results are in eval-results/scripted\n" in capsys.readouterr().err


@pytest.mark.parametrize("flags", [["--limit", "6"], ["--model", "7b"], ["--out", "elsewhere"]])
def test_flags_that_score_does_not_heed_are_refused(
    data: str, capsys: pytest.CaptureFixture[str], flags: list[str]
) -> None:
    assert main(["eval", "--data", data, "--out", "out"]) == 0
    assert main(["eval", "--score", "out", *flags]) == 2
    assert f"error: {flags[0]} is not possible with --score" in capsys.readouterr().err


def test_an_interrupt_ends_the_line_of_the_progress(
    data: str,
    backend: ScriptedBackend,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupt(request: object) -> str:
        if len(backend.requests) == 8:
            signal.raise_signal(signal.SIGINT)
        return right_answer(request)

    backend._script = interrupt
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    words = ["eval", "--data", data, "--tasks", "pope", "--out", "out", "--at-once", "1"]
    assert main(words) == 130
    assert "\nllava-tools: note: the answers so far are in out" in capsys.readouterr().err


def test_a_failing_model_exits_with_1_and_says_how_to_go_on(
    data: str, backend: ScriptedBackend, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(request: object) -> str:
        raise EngineError("It broke.")

    backend._script = fail
    assert main(["eval", "--data", data, "--out", "out"]) == 1
    err = capsys.readouterr().err
    assert "answers so far are in out; the same command goes on" in err
    assert "error: It broke." in err


def test_an_interrupt_exits_with_130_and_resumes(
    data: str, backend: ScriptedBackend, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(request: object) -> str:
        if len(backend.requests) == 8:
            signal.raise_signal(signal.SIGINT)
        return right_answer(request)

    backend._script = interrupt
    words = ["eval", "--data", data, "--tasks", "pope", "--out", "out", "--at-once", "1"]
    assert main(words) == 130
    assert "the same command goes on" in capsys.readouterr().err
    kept = Path("out/pope/answers.jsonl").read_text().splitlines()
    assert len(kept) >= 6  # the interrupt may hit the seventh on its way to the file
    backend._script = right_answer
    assert main(words) == 0
    lines = Path("out/pope/answers.jsonl").read_text().splitlines()
    assert len({json.loads(line)["id"] for line in lines}) == len(lines) == 20


def test_answers_are_judged_without_a_model(
    data: str,
    backend: ScriptedBackend,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Judge(FixedJudge):
        def __init__(self, url: str, model: str | None) -> None:
            assert (url, model) == ("http://judge/v1", "gpt")
            super().__init__("31.5")

        def __enter__(self) -> Judge:
            return self

        def __exit__(self, *_: object) -> None: ...

    assert main(["eval", "--data", data, "--out", "out"]) == 0
    before = len(backend.requests)
    monkeypatch.setattr("llava_tools.evaluation.judging.judge.ServerJudge", Judge)
    words = ["--judge-url", "http://judge/v1", "--judge-model", "gpt"]
    capsys.readouterr()
    assert main(["eval", "--score", "out", *words]) == 0
    assert "31.5" in capsys.readouterr().out
    assert len(backend.requests) == before


def test_a_judge_that_cannot_be_reached_is_an_error(
    data: str, backend: ScriptedBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ServerError("It cannot be reached.")

    monkeypatch.setattr(ServerJudge, "__init__", fail)
    assert main(["eval", "--data", data, "--judge-url", "http://127.0.0.1:9/v1"]) == 1
    assert not backend.requests


def test_the_list_names_all_data_sets(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", "--list"]) == 0
    text = capsys.readouterr().out
    assert main(["eval", "--list", "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert len(values) == 12
    assert all(value["url"] in text for value in values.values())
    assert main(["eval", "--list", "--tasks", "pope"]) == 0
    assert capsys.readouterr().out.startswith("pope: POPE\n")


def test_the_list_loads_no_model_library() -> None:
    program = (
        "import sys; from llava_tools.cli.main import main; main(['eval', '--list'])\n"
        "print([name for name in ('torch', 'transformers', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.endswith("\n[]\n")


@pytest.mark.parametrize("quiet", [True, False])
def test_progress_is_shown_at_a_terminal(
    quiet: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setattr(command, "is_quiet", lambda: quiet)
    clock = iter((0.0, 60.0, 120.0))
    monkeypatch.setattr("llava_tools.cli.evaluate.time.monotonic", lambda: next(clock))
    progress = command._Progress()
    for done in (10, 20, 30):
        progress(NumberTask(), "answered", done, 30)
    err = capsys.readouterr().err
    if quiet:
        assert err == ""
    else:
        lines = [line.strip() for line in err.replace("\x1b[K", "").split("\r")]
        assert lines[1:] == [
            "pope: 10 of 30 answered",
            "pope: 20 of 30 answered, 60 s left",
            "pope: 30 of 30 answered",
        ]


def test_no_progress_is_shown_in_a_file(data: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", "--data", data]) == 0
    assert "answered" not in capsys.readouterr().err
