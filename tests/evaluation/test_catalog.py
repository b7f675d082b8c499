"""The twelve benchmarks by name."""

from __future__ import annotations

import pytest

from llava_tools.errors import RequestError
from llava_tools.evaluation.catalog import TASKS, find_tasks, parse_names
from llava_tools.evaluation.task import Task


def test_the_catalogue_has_the_papers_benchmarks_in_its_order() -> None:
    assert [task.title for task in TASKS] == [
        "VQAv2",
        "GQA",
        "VizWiz",
        "ScienceQA-IMG",
        "TextVQA",
        "POPE",
        "MME",
        "MMBench",
        "MMBench-CN",
        "SEED-Bench",
        "LLaVA-Bench (in the wild)",
        "MM-Vet",
    ]


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_a_benchmark_describes_itself(task: Task) -> None:
    assert task.scored_by in ("rule", "server", "judge")
    assert 0 < task.published[0] <= task.published[1] <= task.maximum
    assert task.metric
    source = task.source
    assert source.url.startswith("https://")
    assert source.size
    assert source.licence
    assert source.files
    assert not [path for path in source.files if path.startswith("/") or ".." in path]


def test_published_figures_are_those_of_the_model_zoo() -> None:
    assert {task.name: task.published for task in TASKS} == {
        "vqav2": (78.5, 80.0),
        "gqa": (62.0, 63.3),
        "vizwiz": (50.0, 53.6),
        "scienceqa": (66.8, 71.6),
        "textvqa": (58.2, 61.3),
        "pope": (85.9, 85.9),
        "mme": (1510.7, 1531.3),
        "mmbench": (64.3, 67.7),
        "mmbench_cn": (58.3, 63.6),
        "seed_bench": (58.6, 61.6),
        "llava_bench": (65.4, 72.5),
        "mm_vet": (31.1, 36.1),
    }


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("pope", ["pope"]),
        (" mme , pope,", ["mme", "pope"]),
        ("all", [task.name for task in TASKS]),
        (" all ", [task.name for task in TASKS]),
    ],
)
def test_names_are_parsed(text: str, names: list[str]) -> None:
    assert parse_names(text) == names


def test_named_benchmarks_come_once_in_the_papers_order() -> None:
    assert [task.name for task in find_tasks(["pope", "gqa", "pope"])] == ["gqa", "pope"]


@pytest.mark.parametrize(
    ("name", "near"),
    [("popee", "pope"), ("MM-Vet", "mm_vet"), ("seedbench", "seed_bench"), ("vqa", "vqav2")],
)
def test_an_unknown_name_is_an_error_with_the_nearest_one(name: str, near: str) -> None:
    with pytest.raises(RequestError, match=f"no benchmark '{name}'.*'{near}'.*Known: vqav2"):
        parse_names(f"pope,{name}")
    with pytest.raises(RequestError, match="no benchmark"):
        find_tasks([name])


@pytest.mark.parametrize("text", ["", " , "])
def test_no_name_is_an_error(text: str) -> None:
    with pytest.raises(RequestError, match="names no benchmark"):
        parse_names(text)
