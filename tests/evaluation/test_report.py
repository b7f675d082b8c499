"""The table, the list of data sets and the plot say what a figure is worth."""

from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib.figure import Figure

from llava_tools.errors import RequestError
from llava_tools.evaluation import radar, report
from llava_tools.evaluation.catalog import TASKS
from llava_tools.evaluation.manifest import Manifest
from llava_tools.evaluation.result import Evaluation, TaskResult
from llava_tools.evaluation.task import Score
from tests.evaluation.made_tasks import JudgedTask, NumberTask, ServedTask, write_data

RESULTS = (
    TaskResult(ServedTask(), 20_000, 20_000, None, Path("out/submission.json")),
    TaskResult(NumberTask(), 100, 8_910, Score(85.26, 100)),
    TaskResult(JudgedTask(), 218, 218, None),
)


def _table(*results: TaskResult) -> str:
    manifest = Manifest({"name": "my-llava", "commit": "abc123"}, {})
    return report.table(Evaluation(Path("out"), manifest, results, (NumberTask(),)))


def _row(title: str, table: str) -> str:
    return next(line for line in table.splitlines() if line.startswith(title))


def test_a_table_has_own_and_published_figures() -> None:
    table = _table(TaskResult(NumberTask(), 8_910, 8_910, Score(85.26, 8_910)))
    assert table.splitlines()[0] == "model: my-llava, abc123"
    cells = "Numbers 85.3 8,910 80.0 90.0 accuracy, %"
    assert _row("Numbers", table).split() == cells.split()
    assert "LLaVA 1.5 7B" in table


def test_columns_of_a_table_align() -> None:
    header, *rows = _table(*RESULTS).splitlines()[2:6]
    end = header.index("13B") + len("13B")
    assert len(rows) == 3
    assert all(row[:end].endswith(" 90.0") for row in rows)


def test_a_limited_figure_never_stands_without_saying_so() -> None:
    table = _table(*RESULTS)
    assert "85.3  100 of 8,910 (limited)" in _row("Numbers", table)
    assert (
        "Numbers: limited to 100 of 8,910 samples: not comparable with the published figures."
        in table
    )


def test_what_is_missing_is_named_with_the_next_step() -> None:
    table = _table(*RESULTS)
    assert "needs a server" in _row("Served", table)
    assert "Served: needs a server, which scores out/submission.json" in table
    assert "needs a judge" in _row("Judged", table)
    assert "Judged: needs a judge: run it again with --judge-url and --judge-model." in table
    assert "Numbers: no data; they are at https://example.org/numbers (1 kB)" in table


def test_notes_of_a_score_are_shown() -> None:
    result = TaskResult(NumberTask(), 5, 5, Score(1.0, 5, notes=("Scored without X.",)))
    assert "Numbers: Scored without X." in _table(result)


def test_the_list_says_where_each_data_set_is_to_be_had() -> None:
    text = report.catalog(TASKS)
    values = report.catalog_as_dict(TASKS)
    assert list(values) == [task.name for task in TASKS]
    for task in TASKS:
        for part in (task.name, task.title, task.source.url, task.source.size, task.source.licence):
            assert part in text
        for name, what in task.source.files.items():
            assert str(Path("DIR", task.folder, name)) in text
            assert what in text


def test_the_list_says_which_files_are_there(tmp_path: Path) -> None:
    (write_data(tmp_path) / "questions.json").unlink()
    here = report.catalog([NumberTask()], tmp_path)
    assert "questions (missing)" in here
    assert "images (missing)" not in here
    assert "not here yet" not in here
    assert "not here yet" in report.catalog([NumberTask()], tmp_path / "other")


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_a_plot_is_written(tmp_path: Path, suffix: str) -> None:
    radar.plot(RESULTS, "my-llava", tmp_path / f"plot{suffix}")
    assert (tmp_path / f"plot{suffix}").stat().st_size > 1_000


def test_a_plot_scales_each_axis_by_the_published_13b(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda self, *args, **settings: drawn.append(self))
    radar.plot(RESULTS, "my-llava", tmp_path / "plot.png")
    (axes,) = drawn[0].axes
    small, large, own = (list(line.get_ydata()) for line in axes.lines)
    assert small == pytest.approx([80 / 90] * 4)
    assert large == [1.0] * 4
    assert own[1] == pytest.approx(85.26 / 90)
    assert all(value != value for place, value in enumerate(own) if place != 1)  # NaN: no point
    labels = [label.get_text() for label in axes.get_xticklabels()]
    assert labels == [
        "Served\n(needs a server)",
        "Numbers\n85.3 (limited: 100)",
        "Judged\n(needs a judge)",
    ]
    assert "published figure of LLaVA 1.5 13B" in axes.get_title()


def test_a_plot_of_two_axes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="needs 3 benchmarks, and there are 2"):
        radar.plot(RESULTS[:2], "my-llava", tmp_path / "plot.png")
