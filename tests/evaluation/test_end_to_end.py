"""All twelve benchmarks on drawn data: loaded, answered by the embedded model, killed, resumed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from llava_tools import Llava
from llava_tools.cli.main import main
from llava_tools.evaluation.catalog import ALL, TASKS, find_tasks, parse_names
from llava_tools.evaluation.evaluate import rescore
from llava_tools.evaluation.options import EvalOptions
from llava_tools.evaluation.report import table
from llava_tools.evaluation.task import Sample, Task
from recipes.drawn_benchmarks import write_benchmarks
from tests.fake_server import FakeServer
from tests.server.live_server import LiveServer

NAMES = parse_names(ALL)
#: Batches of other sizes do not change an answer in float32.
MODEL = ("--model", "tiny", "--dtype", "float32")


@pytest.fixture(scope="module")
def authors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data as their authors publish them: all truth is there."""
    folder = tmp_path_factory.mktemp("authors")
    write_benchmarks(folder, 12, layout="authors")
    return folder


@pytest.fixture(scope="module")
def llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as LLaVA sets them up: its question files, and splits that servers score."""
    folder = tmp_path_factory.mktemp("llava")
    write_benchmarks(folder, 12)
    return folder


def grade(body: dict[str, Any]) -> str:
    """Reply as a judge whose grades depend on the prompt alone."""
    prompt = body["messages"][-1]["content"]
    if "Assistant 2" in prompt:
        return f"8 {1 + len(prompt) % 9}\nBecause."
    return f"0.{len(prompt) % 10}"


def _right(task: Task, sample: Sample) -> str:
    truth = sample.truth
    if task.name in ("vqav2", "vizwiz", "textvqa"):
        return str(Counter(truth["answers"]).most_common(1)[0][0])
    if task.name == "scienceqa":
        return "ABCDE"[truth["answer"]]
    return str(truth["label"] if "label" in truth else truth["answer"])


@pytest.mark.parametrize("task", [t for t in TASKS if t.scored_by != "judge"], ids=lambda t: t.name)
def test_right_answers_reach_the_best_figure(task: Task, authors: Path) -> None:
    samples = task.load(authors / task.folder)
    score = task.score(samples, {sample.id: _right(task, sample) for sample in samples})
    assert score is not None
    assert score.value == pytest.approx(task.maximum)


@pytest.mark.parametrize(
    "name", ["gqa", "textvqa", "scienceqa", "pope", "mme", "seed_bench", "mm_vet"]
)
def test_question_files_of_llava_say_what_the_authors_files_say(
    name: str, authors: Path, llava: Path
) -> None:
    (task,) = find_tasks([name])
    sets = [
        {(sample.question, _name(sample, data)) for sample in task.load(data / task.folder)}
        for data in (authors, llava)
    ]
    assert sets[0] == sets[1]


def _name(sample: Sample, data: Path) -> str:
    if sample.image is None:
        return ""
    assert isinstance(sample.image, Path)
    return str(sample.image.relative_to(data))


def test_twelve_figures_and_a_plot(
    authors: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, plot = tmp_path / "out", tmp_path / "radar.png"
    with FakeServer(grade, kind="strict", models=("judge",)) as judge:
        words = ["eval", "--data", authors, *MODEL, "--limit", "2", "--out", out]
        words += ["--judge-url", judge.url, "--plot", plot, "--json"]
        assert main([str(word) for word in words]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown == json.loads((out / "results.json").read_text())
    assert list(shown["tasks"]) == NAMES
    for name, result in shown["tasks"].items():
        assert 0 <= result["value"] <= find_tasks([name])[0].maximum
        assert result["limited"]
        assert _answers(out)[name]
        assert any("not comparable with the published figures" in note for note in result["notes"])
    assert plot.read_bytes().startswith(b"\x89PNG")

    assert main(["eval", "--score", str(out)]) == 0
    rows = capsys.readouterr().out.splitlines()[2:]
    assert rows[0].split() == [
        "benchmark",
        "this",
        "run",
        "samples",
        "LLaVA",
        "1.5",
        "7B",
        "13B",
        "figure",
    ]
    for row, task in zip(rows[1:], TASKS, strict=False):
        value = shown["tasks"][task.name]["value"]
        published = [f"{figure:.1f}" for figure in task.published]
        assert row.startswith(task.title)
        assert row.endswith(f"{published[1]}  {task.metric}")
        assert published[0] in row
        assert ("needs a judge" if task.scored_by == "judge" else f" {value:.1f} ") in row


@pytest.mark.slow
def test_killed_runs_go_on_to_the_same_figures(authors: Path, tmp_path: Path) -> None:
    with FakeServer(grade, kind="strict", models=("judge",)) as judge:
        words = ["--data", authors, *MODEL, "--at-once", "2", "--judge-url", judge.url]
        whole, broken = tmp_path / "whole", tmp_path / "broken"
        assert _wait(_start(*words, "--out", whole)) == 0
        prompts = Counter(_prompts(judge))

        kept: dict[str, list[str]] = {}
        for step in ("vqav2: 3 of", "mme: 9 of", "seed_bench: 7 of", "llava_bench: 5 of 12 judged"):
            assert _wait(_start(*words, "--out", broken), kill_at=step) == -9
            now = _answers(broken)
            for name, lines in kept.items():
                assert now[name][: len(lines)] == lines
            kept = now
        assert _wait(_start(*words, "--out", broken)) == 0
        again = Counter(_prompts(judge)) - prompts

    assert _answers(broken).keys() == set(NAMES)
    for name, lines in _answers(broken).items():
        ids = [json.loads(line)["id"] for line in lines]
        samples = find_tasks([name])[0].load(authors / find_tasks([name])[0].folder)
        assert sorted(ids) == sorted(sample.id for sample in samples)
        assert lines[: len(kept.get(name, ()))] == kept.get(name, [])
        assert sorted(lines) == sorted(_answers(whole)[name])
    assert _results(broken) == _results(whole)
    assert set(again) == set(prompts)
    # Judged again is at most what was under way when the run was killed.
    assert (again - prompts).total() <= 8


@pytest.mark.slow
def test_figures_over_http_are_those_in_process(
    authors: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    local, remote = tmp_path / "local", tmp_path / "remote"
    with FakeServer(grade, kind="strict", models=("judge",)) as judge:
        words = ["eval", "--data", str(authors), "--judge-url", judge.url]
        assert main([*words, *MODEL, "--out", str(local)]) == 0
        with LiveServer(Llava("tiny", dtype="float32")) as server:
            url = f"{server.url}/v1"
            assert main([*words, "--base-url", url, "--out", str(remote)]) == 0
    assert _results(remote) == _results(local)
    for name, lines in _answers(remote).items():
        assert sorted(lines) == sorted(_answers(local)[name])
    capsys.readouterr()


@pytest.mark.slow
def test_servers_get_submissions_and_scoring_again_needs_no_model(
    llava: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["eval", "--data", str(llava), *MODEL, "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    results = json.loads((out / "results.json").read_text())["tasks"]
    needs = {name: result["needs"] for name, result in results.items() if result["needs"]}
    assert needs == {
        "vqav2": "a server",
        "vizwiz": "a server",
        "llava_bench": "a judge",
        "mm_vet": "a judge",
    }
    submitted = json.loads(Path(results["vqav2"]["submission"]).read_text())
    questions = _lines(llava / "vqav2" / "llava_vqav2_mscoco_test2015.jsonl")
    answered = _lines(llava / "vqav2" / "llava_vqav2_mscoco_test-dev2015.jsonl")
    assert [entry["question_id"] for entry in submitted] == [q["question_id"] for q in questions]
    assert sum(bool(entry["answer"]) for entry in submitted) == len(answered) < len(questions)
    submitted = json.loads(Path(results["vizwiz"]["submission"]).read_text())
    images = [line["image"] for line in _lines(llava / "vizwiz" / "llava_test.jsonl")]
    assert [entry["image"] for entry in submitted] == images
    assert table(rescore(EvalOptions(), out)) == shown.rstrip("\n")


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def _answers(out: Path) -> dict[str, list[str]]:
    """Return the whole lines of each log."""
    return {
        path.parent.name: path.read_text().rpartition("\n")[0].splitlines()
        for path in out.glob("*/answers.jsonl")
    }


def _results(out: Path) -> dict[str, Any]:
    """Return results without the output folder's own paths."""
    text = (out / "results.json").read_text().replace(str(out), "OUT")
    tasks: dict[str, Any] = json.loads(text)["tasks"]
    return tasks


def _prompts(judge: FakeServer) -> list[str]:
    return [body["messages"][-1]["content"] for body in judge.requests]


def _start(*words: object) -> tuple[subprocess.Popen[bytes], int]:
    """Start the command with a terminal for its progress, whose other end is returned."""
    ours, terminal = os.openpty()
    command = [sys.executable, "-m", "llava_tools", "eval", *map(str, words)]
    process = subprocess.Popen(command, stderr=terminal, stdout=subprocess.DEVNULL)
    os.close(terminal)
    return process, ours


def _wait(started: tuple[subprocess.Popen[bytes], int], kill_at: str | None = None) -> int:
    """Read the progress to the end, or kill the process at once when a text comes."""
    process, terminal = started
    shown = ""
    with os.fdopen(terminal, "rb", buffering=0) as stream:
        while True:
            try:
                part = stream.read(4096)
            except OSError:  # the process has ended
                break
            if not part:
                break
            shown += part.decode(errors="replace")
            if kill_at is not None and kill_at in shown:
                process.kill()
                break
        code = process.wait()
    assert kill_at is None or code == -9, shown
    return code
