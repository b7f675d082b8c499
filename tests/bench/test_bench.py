"""`llava-tools bench`: what is asked of whom, and what is told of it; no clock decides."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from llava_tools import registry
from llava_tools.bench import Behind, Figures, Plan, Run, measure, report
from llava_tools.bench.workload import make_image
from llava_tools.cli.main import main
from llava_tools.core.requests import Message, Request, SamplingParams
from llava_tools.errors import EngineClosedError
from llava_tools.options import EngineOptions
from llava_tools.testing import ScriptedBackend

PLAN = Plan(rounds=2, at_once=3, tokens=5, seed=9)
TEXT = "a red circle on a blue ground"


@pytest.fixture
def backends(monkeypatch: pytest.MonkeyPatch) -> dict[str | None, ScriptedBackend]:
    """Scripted engines by `base_url`, in the place of whatever would be loaded."""
    made: dict[str | None, ScriptedBackend] = {}

    def load(options: EngineOptions) -> ScriptedBackend:
        return made.setdefault(options.base_url, ScriptedBackend([TEXT]))

    monkeypatch.setattr(registry, "_engines", registry._Shelf(load))
    return made


def test_everybody_is_asked_the_same() -> None:
    one, other = ScriptedBackend([TEXT]), ScriptedBackend([TEXT])
    done: list[int] = []
    measured = measure([Behind("one", one), Behind("other", other)], PLAN, done.append)
    assert done == [0, 1, 2]
    assert [figures.name for figures in measured] == ["one", "other"]
    assert len(one.requests) == 3 * (3 + 3)
    assert sorted(map(repr, one.requests)) == sorted(map(repr, other.requests))


def test_a_round_asks_of_a_new_image_of_a_known_one_and_of_both_at_once() -> None:
    backend = ScriptedBackend([TEXT])
    measure([Behind("one", backend)], PLAN)
    rounds = [backend.requests[start : start + 6] for start in range(0, 18, 6)]
    seen: set[str] = set()
    for asked in rounds:
        handles = [request.messages[0].images[0].handle for request in asked]
        assert len(set(handles[:3])) == 1
        assert len(set(handles[3:])) == 2
        assert set(handles).isdisjoint(seen)
        seen |= set(handles)
        assert len({request.messages[0].text for request in asked}) == 6
        assert [request.sampling.max_tokens for request in asked[:3]] == [1, 1, 5]


def test_tokens_are_those_that_came_after_the_first() -> None:
    asked = Request((Message("user", ("What?",)),), SamplingParams(max_tokens=4))
    run = Behind("one", ScriptedBackend([TEXT])).run(asked)
    assert run.tokens == 4
    assert 0 < run.first <= run.total
    assert Run(0.5, 1.0, 6).tokens_per_s == 10
    assert Run(0.5, 0.5, 1).tokens_per_s is None


def test_images_are_new_for_every_seed_and_number() -> None:
    handles = {make_image(seed, number).handle for seed in range(3) for number in range(40)}
    assert len(handles) == 120
    assert make_image(1, 2).handle == make_image(1, 2).handle


def test_who_cannot_answer_ends_it() -> None:
    broken = ScriptedBackend()
    broken.close()
    with pytest.raises(EngineClosedError):
        measure([Behind("one", broken)], PLAN)


MEASURED = [
    Figures("here", 0.1, 0.02, 60.0, 0.5),
    Figures("generate", 0.2, 0.2, 30.0, 2.0),
    Figures("short", 0.4, 0.2, None, 1.0),
]


def test_ratios_are_to_generate_or_else_to_the_first() -> None:
    told = report.as_dict(MEASURED, PLAN)
    assert told["reference"] == "generate"
    here, _, short = told["measured"]
    assert (here["new_picture_s"], here["new_picture_s_ratio"]) == (0.1, 0.5)
    assert here["tokens_per_s_ratio"] == 2
    assert short["tokens_per_s"] is short["tokens_per_s_ratio"] is None
    assert report.as_dict(MEASURED[::2], PLAN)["reference"] == "here"


def test_the_table_has_a_line_for_everybody() -> None:
    lines = report.table(MEASURED, PLAN).splitlines()
    assert "3 at once" in lines[0]
    assert [line.split()[0] for line in lines[1:4]] == ["here", "generate", "short"]
    assert "0.1000 (0.50)" in lines[1]
    assert " - " in lines[3]
    assert len({len(line) for line in lines[:4]}) == 1


def test_the_command_ends_with_one_json_line(
    backends: dict[str | None, ScriptedBackend],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    plot = tmp_path / "bench.png"
    said = ["bench", "--model", "tiny", "--no-generate", "--base-url", "http://h:1/v1"]
    assert main([*said, "--rounds", "1", "--at-once", "2", "--plot", str(plot)]) == 0
    *table, line = capsys.readouterr().out.splitlines()
    told = json.loads(line)
    assert [one["name"] for one in told["measured"]] == ["scripted", "scripted at http://h:1/v1"]
    assert told["plan"]["at_once"] == 2
    assert told["cores"] > 0
    assert table[1].startswith("scripted ")
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert set(backends) == {None, "http://h:1/v1"}


def test_a_server_alone_needs_no_model_here(
    backends: dict[str | None, ScriptedBackend], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "--base-url", "http://h:1/v1", "--rounds", "1"]) == 0
    assert set(backends) == {"http://h:1/v1"}


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (["--rounds", "0"], "rounds=0"),
        (["--at-once", "0"], "at_once=0"),
        (["--tokens", "1"], "tokens=1"),
        (["--plot", "bench.txt"], "bench.txt"),
        (["--plot", "nowhere/bench.png"], "nowhere"),
        (["--base-url", "http://h/v1", "--base-url", "http://h/v1"], "twice"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_anything_is_loaded(
    backends: dict[str | None, ScriptedBackend],
    said: list[str],
    why: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["bench", *said]) == 2
    assert why in capsys.readouterr().err
    assert not backends


def test_a_plot_names_the_extra_that_it_needs(
    backends: dict[str | None, ScriptedBackend],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["bench", "--plot", str(tmp_path / "bench.png")]) == 2
    assert "llava-tools[bench]" in capsys.readouterr().err
    assert not backends
