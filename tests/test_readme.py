"""README and docs are true: CI runs the commands, links and messages exist, Python blocks run."""

from __future__ import annotations

import ast
import inspect
import itertools
import pkgutil
import re
import shlex
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

import llava_tools
from llava_tools.cli.main import build_parser

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "SECURITY.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
#: Blocks of the other pages need a server or files of the reader's own.
RUNNABLE = [
    ROOT / "README.md",
    *(
        ROOT / "docs" / f"{name}.md"
        for name in (
            "index",
            "langchain",
            "llama_index",
            "llama_index_multi_modal",
            "security",
            "structured_output",
            "tools",
            "trust",
        )
    ),
]
MOST_LINES = 150
#: Classes of the adapters, whose docstrings have examples.
CLASSES = [
    "langchain_llava.ChatLlava",
    "langchain_llava.LlavaEmbeddings",
    "langchain_llava.LlavaPageLoader",
    "langchain_llava.LlavaPageRetriever",
    "langchain_llava.LlavaSelector",
    "langchain_llava.LlavaToolkit",
    "llama_index.embeddings.llava.LlavaEmbedding",
    "llama_index.llms.llava.Llava",
    "llama_index.readers.llava.LlavaPageReader",
    "llama_index.retrievers.llava.LlavaPageRetriever",
]

#: Runs the Python blocks of a page, each in a namespace of its own, and prints how much each wrote.
RUN_BLOCKS = """
import contextlib, io, re, sys
blocks = re.findall(r"```python\\n(.*?)\\n```", open(sys.argv[1]).read(), flags=re.DOTALL)
for number, block in enumerate(blocks):
    with contextlib.redirect_stdout(io.StringIO()) as output:
        code = compile(block, f"block {number} of {sys.argv[1]}", "exec", dont_inherit=True)
        exec(code, {"__name__": "__main__"})
    print(len(output.getvalue().strip()))
"""


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
    assert not [
        name for name in re.findall(pattern, page.read_text()) if not (ROOT / name).exists()
    ]


def test_the_architecture_names_every_module_and_folder() -> None:
    tree = (ROOT / "docs" / "architecture.md").read_text()
    package = ROOT / "llava_tools"
    names = {path.name for path in package.glob("[a-z]*.py")}
    names |= {f"{path.name}/" for path in package.iterdir() if (path / "__init__.py").exists()}
    assert not [name for name in names if name not in tree]


def test_the_reference_names_all_that_the_package_exports() -> None:
    reference = (ROOT / "docs" / "reference.md").read_text().splitlines()
    assert not [name for name in llava_tools.__all__ if f"::: llava_tools.{name}" not in reference]


def test_the_site_has_every_page() -> None:
    site = (ROOT / "mkdocs.yml").read_text()
    assert not [path for path in (ROOT / "docs").glob("*.md") if f": {path.name}\n" not in site]


def test_project_urls_lead_to_one_repository() -> None:
    site = (ROOT / "mkdocs.yml").read_text()
    (repository,) = re.findall(r"^  repository: (\S+)$", site, flags=re.MULTILINE)
    texts = [site, (ROOT / "pyproject.toml").read_text()]
    texts += [path.read_text() for path in (ROOT / ".github").rglob("*.yml")]
    for text in texts:
        for url in re.findall(r"https://github\.com/[^\s\"')]+", text):
            assert urlsplit(url).path.startswith(urlsplit(repository).path), url


def test_messages_in_troubleshooting_exist() -> None:
    page = (ROOT / "docs" / "troubleshooting.md").read_text()
    messages = re.findall(r"^\| `([^`]+)` \|", page, flags=re.MULTILINE)
    assert len(messages) > 50
    texts = set(_texts_of_source())
    assert not [message for message in messages if not any(message in text for text in texts)]


def _texts_of_source() -> Iterator[str]:
    """Yield the strings of the packages, with `…` for the values in f-strings."""
    for folder in ("llava_tools", "integrations"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield node.value
                elif isinstance(node, ast.JoinedStr):
                    yield "".join(
                        str(part.value) if isinstance(part, ast.Constant) else "…"
                        for part in node.values
                    )


@pytest.mark.slow
@pytest.mark.parametrize("page", RUNNABLE, ids=lambda page: page.name)
def test_python_blocks_run_as_pasted(page: Path, tmp_path: Path) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    done = subprocess.run(
        [sys.executable, "-c", RUN_BLOCKS, str(page)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lengths = [int(line) for line in done.stdout.split()]
    assert lengths
    assert all(lengths), lengths


@pytest.mark.slow
@pytest.mark.parametrize("path", CLASSES)
def test_examples_of_docstrings_run_as_pasted(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    class_ = pkgutil.resolve_name(path)
    blocks = re.findall(r"```python\n(.*?)\n *```", class_.__doc__, flags=re.DOTALL)
    assert blocks
    code = "\n".join(textwrap.dedent(block) for block in blocks)
    exec(compile(code, f"docstring of {path}", "exec", dont_inherit=True), {})


def _fields_without_description(path: str) -> list[str]:
    """Return the names of public fields of a class that have no docstring below them."""
    class_ = pkgutil.resolve_name(path)
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(class_))).body
    assert isinstance(tree, ast.ClassDef)
    return [
        node.target.id
        for node, after in itertools.pairwise([*tree.body, ast.Pass()])
        if isinstance(node, ast.AnnAssign)
        and isinstance(node.target, ast.Name)
        and not node.target.id.startswith("_")
        and "ClassVar" not in ast.unparse(node.annotation)
        and not (isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant))
    ]


@pytest.mark.parametrize(
    "path",
    [
        "llava_tools.model_fields.LoadFields",
        "llava_tools.model_fields.EmbeddingFields",
        "llava_tools.model_fields.ModelFields",
        *CLASSES,
    ],
)
def test_every_field_has_a_description(path: str) -> None:
    assert not _fields_without_description(path)


@pytest.mark.slow
def test_commands_of_the_readme_run_as_pasted(tmp_path: Path) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    blocks = re.findall(r"```sh\n(llava-tools .*?)\n```", README, flags=re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    assert len(lines) >= 5
    for line in lines:
        command = [sys.executable, "-m", "llava_tools", *shlex.split(line, comments=True)[1:]]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
        assert done.returncode == 0, f"{line}: {done.stderr}"
        assert done.stdout.strip(), line


def test_commands_in_docs_have_the_flags_that_the_parser_takes() -> None:
    commands = 0
    for page in PAGES:
        for block in re.findall(r"```(?:sh|bash)\n(.*?)\n```", page.read_text(), flags=re.DOTALL):
            for line in block.splitlines():
                # Without variables set before the command, and without redirections after it.
                command = re.search(r"(?:^|\s)llava-tools (.+?)(?: >>? .*| < .*)?$", line)
                if command is not None and not line.startswith(("pip", "python")):
                    build_parser().parse_args(shlex.split(command[1], comments=True))
                    commands += 1
    assert commands > 15
