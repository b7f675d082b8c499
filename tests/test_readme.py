"""The README is true: CI runs its commands, its files exist, and its Python blocks run as pasted."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
#: Blocks of docs that need a server or files of the reader's own are not run.
RUNNABLE = [(ROOT / "README.md"), ROOT / "docs" / "langchain.md"]
BLOCKS = [
    (path, block)
    for path in RUNNABLE
    for block in re.findall(r"```python\n(.*?)\n```", path.read_text(), flags=re.DOTALL)
]
MOST_LINES = 150


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= MOST_LINES


def test_ci_runs_the_commands_of_the_readme() -> None:
    first, second, *_ = re.findall(r"```sh\n(.*?)\n```", README, flags=re.DOTALL)
    lines = (ROOT / ".ci" / "run").read_text().splitlines()
    assert lines.index(first) < lines.index(second)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[\w-]+)?\)", page.read_text())
    assert not [link for link in links if not (page.parent / link).exists()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_paths_in_docs_exist(page: Path) -> None:
    pattern = r"(?:examples|benchmarks|llava_tools|recipes|tests|docs)/[\w/]+\.(?:py|md|png|pdf)"
    assert not [name for name in re.findall(pattern, page.read_text()) if not (ROOT / name).exists()]


def test_the_architecture_names_every_module_and_folder() -> None:
    tree = (ROOT / "docs" / "architecture.md").read_text()
    package = ROOT / "llava_tools"
    names = {path.name for path in package.glob("[a-z]*.py")}
    names |= {f"{path.name}/" for path in package.iterdir() if (path / "__init__.py").exists()}
    assert not [name for name in names if name not in tree]


@pytest.mark.slow
@pytest.mark.parametrize(("page", "block"), BLOCKS)
def test_python_blocks_run_as_pasted(page: Path, block: str, tmp_path: Path) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    done = subprocess.run(
        [sys.executable, "-c", block], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip(), page
