"""The README's commands are the ones that CI runs, and its tree is the real one."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_ci_runs_the_commands_of_the_readme() -> None:
    first, second, *_ = re.findall(r"```sh\n(.*?)\n```", README, flags=re.DOTALL)
    lines = (ROOT / ".ci" / "run").read_text().splitlines()
    assert lines.index(first) < lines.index(second)


def test_every_file_that_the_readme_names_is_there() -> None:
    named = re.findall(r"(?:examples|benchmarks|llava_tools)/[\w/]+\.(?:py|md|png)", README)
    assert len(named) > 3
    missing = [name for name in named if not (ROOT / name).is_file()]
    assert not missing


def test_the_tree_names_every_module() -> None:
    tree = README.split("llava_tools/\n", 1)[1].split("```", 1)[0]
    modules = [path.name for path in (ROOT / "llava_tools").glob("[a-z]*.py")]
    assert [name for name in modules if name not in tree] == []
