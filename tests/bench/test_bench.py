"""`llava-tools bench`: the requests of a workload, and the report; nothing depends on speed."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from llava_tools import model_cache
from llava_tools.bench import report
from llava_tools.bench.contenders import AnswerTiming, BackendContender
from llava_tools.bench.workload import Measurements, Workload, make_image, measure
from llava_tools.cli.main import main
from llava_tools.core.requests import Message, Request, SamplingParams
from llava_tools.errors import EngineClosedError
from llava_tools.options import EngineOptions
from llava_tools.testing import ScriptedBackend

WORKLOAD = Workload(rounds=2, at_once=3, tokens=5, seed=9)
TEXT = "a red circle on a blue ground"


@pytest.fixture
def backends(monkeypatch: pytest.MonkeyPatch) -> dict[str | None, ScriptedBackend]:
    """Scripted engines by `base_url`, instead of real ones."""
    engines: dict[str | None, ScriptedBackend] = {}

    def load(options: EngineOptions) -> ScriptedBackend:
        return engines.setdefault(options.base_url, ScriptedBackend([TEXT]))

    monkeypatch.setattr(model_cache, "engines", model_cache.ModelCache(load))
    return engines


def test_all_contenders_get_the_same_requests() -> None:
    first, second = ScriptedBackend([TEXT]), ScriptedBackend([TEXT])
    rounds: list[int] = []
    measured = measure(
        [BackendContender("first", first), BackendContender("second", second)],
        WORKLOAD,
        rounds.append,
    )
    assert rounds == [0, 1, 2]
    assert [item.name for item in measured] == ["first", "second"]
    assert len(first.requests) == 3 * (3 + 3)
    assert sorted(map(repr, first.requests)) == sorted(map(repr, second.requests))


def test_round_has_two_new_images() -> None:
    backend = ScriptedBackend([TEXT])
    measure([BackendContender("engine", backend)], WORKLOAD)
    rounds = [backend.requests[start : start + 6] for start in range(0, 18, 6)]
    earlier: set[str] = set()
    for requests in rounds:
        handles = [request.messages[0].images[0].handle for request in requests]
        assert len(set(handles[:3])) == 1
        assert len(set(handles[3:])) == 2
        assert set(handles).isdisjoint(earlier)
        earlier |= set(handles)
        assert len({request.messages[0].text for request in requests}) == 6
        assert [request.sampling.max_tokens for request in requests[:3]] == [1, 1, 5]


def test_timing_counts_tokens_after_the_first() -> None:
    request = Request((Message("user", ("What?",)),), SamplingParams(max_tokens=4))
    timing = BackendContender("engine", ScriptedBackend([TEXT])).run(request)
    assert timing.tokens == 4
    assert 0 < timing.first <= timing.total
    assert AnswerTiming(0.5, 1.0, 6).tokens_per_s == 10
    assert AnswerTiming(0.5, 0.5, 1).tokens_per_s is None


def test_images_differ_for_every_seed_and_number() -> None:
    handles = {make_image(seed, number).handle for seed in range(3) for number in range(40)}
    assert len(handles) == 120
    assert make_image(1, 2).handle == make_image(1, 2).handle


def test_failing_contender_ends_the_benchmark() -> None:
    broken = ScriptedBackend()
    broken.close()
    with pytest.raises(EngineClosedError):
        measure([BackendContender("engine", broken)], WORKLOAD)


MEASURED = [
    Measurements("here", 0.1, 0.02, 0.5, 60.0),
    Measurements("generate", 0.2, 0.2, 2.0, 30.0),
    Measurements("short", 0.4, 0.2, 1.0),
]


def test_ratios_are_relative_to_generate_or_else_to_the_first() -> None:
    result = report.as_dict(MEASURED, WORKLOAD)
    assert result["reference"] == "generate"
    here, _, short = result["measured"]
    assert (here["new_image_s"], here["new_image_s_ratio"]) == (0.1, 0.5)
    assert here["tokens_per_s_ratio"] == 2
    assert short["tokens_per_s"] is short["tokens_per_s_ratio"] is None
    assert report.as_dict(MEASURED[::2], WORKLOAD)["reference"] == "here"


def test_table_has_a_line_for_each_contender() -> None:
    lines = report.table(MEASURED, WORKLOAD).splitlines()
    assert "3 at once" in lines[0]
    assert [line.split()[0] for line in lines[1:4]] == ["here", "generate", "short"]
    assert "0.1000 (0.50)" in lines[1]
    assert " - " in lines[3]
    assert len({len(line) for line in lines[:4]}) == 1


def test_h10_plot_has_no_bar_for_a_missing_figure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    figures: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *args, **kwargs: figures.append(figure))
    report.plot(MEASURED, WORKLOAD, tmp_path / "bench.png")
    (axes,) = [axes for axes in figures[0].axes if "tokens/s" in axes.get_title()]
    widths = [bar.get_width() for bar in axes.patches if isinstance(bar, Rectangle)]
    assert widths[:2] == [60, 30]
    assert math.isnan(widths[2])
    assert len({axes.get_ylim() for axes in figures[0].axes}) == 1
    assert [text.get_text() for text in axes.texts] == ["60", "30", ""]


def test_command_prints_one_json_line_last(
    backends: dict[str | None, ScriptedBackend],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    plot = tmp_path / "bench.png"
    command = ["bench", "--model", "tiny", "--no-generate", "--base-url", "http://h:1/v1"]
    assert main([*command, "--rounds", "1", "--at-once", "2", "--plot", str(plot)]) == 0
    *table, line = capsys.readouterr().out.splitlines()
    result = json.loads(line)
    assert [item["name"] for item in result["measured"]] == [
        "scripted",
        "scripted at http://h:1/v1",
    ]
    assert result["workload"]["at_once"] == 2
    assert result["cores"] > 0
    assert table[1].startswith("scripted ")
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert set(backends) == {None, "http://h:1/v1"}


def test_server_alone_needs_no_local_model(
    backends: dict[str | None, ScriptedBackend], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "--base-url", "http://h:1/v1", "--rounds", "1"]) == 0
    assert set(backends) == {"http://h:1/v1"}


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--rounds", "0"], "rounds=0"),
        (["--at-once", "0"], "at_once=0"),
        (["--tokens", "1"], "tokens=1"),
        (["--plot", "bench.txt"], "bench.txt"),
        (["--plot", "nowhere/bench.png"], "nowhere"),
        (["--base-url", "http://h/v1", "--base-url", "http://h/v1"], "twice"),
    ],
)
def test_impossible_options_are_refused_before_anything_is_loaded(
    backends: dict[str | None, ScriptedBackend],
    options: list[str],
    reason: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["bench", *options]) == 2
    assert reason in capsys.readouterr().err
    assert not backends


def test_plot_without_matplotlib_names_the_extra(
    backends: dict[str | None, ScriptedBackend],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["bench", "--plot", str(tmp_path / "bench.png")]) == 2
    assert "the extra 'bench'. Run: python -m pip install" in capsys.readouterr().err
    assert not backends
