"""The twelve benchmarks by name, in the order of LLaVA 1.5's paper."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from importlib import import_module

from llava_tools.errors import RequestError
from llava_tools.evaluation.task import Task

#: Each benchmark's class, in the module of `tasks/` that has its name; loaded when it is chosen.
_CLASSES = {
    "vqav2": "Vqav2",
    "gqa": "Gqa",
    "vizwiz": "VizWiz",
    "scienceqa": "ScienceQA",
    "textvqa": "TextVQA",
    "pope": "Pope",
    "mme": "Mme",
    "mmbench": "MMBench",
    "mmbench_cn": "MMBenchCN",
    "seed_bench": "SeedBench",
    "llava_bench": "LlavaBench",
    "mm_vet": "MMVet",
}
#: The names, in the paper's order.
NAMES = tuple(_CLASSES)
#: Stands for all of them.
ALL = "all"


def find_task(name: str) -> Task:
    """Return a benchmark.

    Raises:
        RequestError: There is none of that name.
    """
    if name not in _CLASSES:
        raise _unknown(name)
    module = import_module(f"llava_tools.evaluation.tasks.{name}")
    task: Task = getattr(module, _CLASSES[name])()
    return task


def find_tasks(names: Iterable[str] = NAMES) -> list[Task]:
    """Return some benchmarks, each once, in the paper's order.

    Raises:
        RequestError: There is none of a name.
    """
    chosen = set(names)
    if unknown := sorted(chosen - _CLASSES.keys()):
        raise _unknown(unknown[0])
    return [find_task(name) for name in NAMES if name in chosen]


def parse_names(text: str) -> list[str]:
    """Return the names in a list that is separated by commas, or those of all for `all`.

    Raises:
        RequestError: There is no benchmark of a name, or no name.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise RequestError(f"tasks={text!r} names no benchmark.", f"Known: {', '.join(NAMES)}.")
    if names == [ALL]:
        return list(NAMES)
    for name in names:
        if name not in _CLASSES:
            raise _unknown(name)
    return names


def _unknown(name: str) -> RequestError:
    """Return the error for a name that is no benchmark's; titles count as near names."""
    plain = name.lower().replace("-", "_").replace(" ", "_")
    near = get_close_matches(plain, NAMES, n=2, cutoff=0.5)
    hint = f"Did you mean {' or '.join(map(repr, near))}? " if near else ""
    return RequestError(f"There is no benchmark {name!r}.", f"{hint}Known: {', '.join(NAMES)}.")
