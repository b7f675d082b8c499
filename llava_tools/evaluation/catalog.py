"""The twelve benchmarks by name, in the order of LLaVA 1.5's paper."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from llava_tools.errors import RequestError
from llava_tools.evaluation.task import Task
from llava_tools.evaluation.tasks.gqa import Gqa
from llava_tools.evaluation.tasks.llava_bench import LlavaBench
from llava_tools.evaluation.tasks.mm_vet import MMVet
from llava_tools.evaluation.tasks.mmbench import MMBench
from llava_tools.evaluation.tasks.mmbench_cn import MMBenchCN
from llava_tools.evaluation.tasks.mme import Mme
from llava_tools.evaluation.tasks.pope import Pope
from llava_tools.evaluation.tasks.scienceqa import ScienceQA
from llava_tools.evaluation.tasks.seed_bench import SeedBench
from llava_tools.evaluation.tasks.textvqa import TextVQA
from llava_tools.evaluation.tasks.vizwiz import VizWiz
from llava_tools.evaluation.tasks.vqav2 import Vqav2

#: All benchmarks, in the paper's order.
TASKS: tuple[Task, ...] = (
    Vqav2(),
    Gqa(),
    VizWiz(),
    ScienceQA(),
    TextVQA(),
    Pope(),
    Mme(),
    MMBench(),
    MMBenchCN(),
    SeedBench(),
    LlavaBench(),
    MMVet(),
)
#: Stands for all of them.
ALL = "all"


def find_tasks(names: Iterable[str]) -> list[Task]:
    """Return some benchmarks, each once, in the paper's order.

    Raises:
        RequestError: There is none of a name.
    """
    chosen = set(names)
    if unknown := chosen - set(_names()):
        raise _unknown(min(unknown))
    return [task for task in TASKS if task.name in chosen]


def parse_names(text: str) -> list[str]:
    """Return the names in a list that is separated by commas, or those of all for `all`.

    Raises:
        RequestError: There is no benchmark of a name, or no name.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    known = _names()
    if not names:
        raise RequestError(f"tasks={text!r} names no benchmark.", f"Known: {', '.join(known)}.")
    for name in names:
        if name not in known and names != [ALL]:
            raise _unknown(name)
    return known if names == [ALL] else names


def _names() -> list[str]:
    return [task.name for task in TASKS]


def _unknown(name: str) -> RequestError:
    """Return the error for a name that is no benchmark's; titles count as near names."""
    plain = name.lower().replace("-", "_").replace(" ", "_")
    near = get_close_matches(plain, _names(), n=2, cutoff=0.5)
    hint = f"Did you mean {' or '.join(map(repr, near))}? " if near else ""
    return RequestError(f"There is no benchmark {name!r}.", f"{hint}Known: {', '.join(_names())}.")
