"""Nothing that a `finally` or a `with` must do is left out if an interrupt comes."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def _leaving(node: ast.AST) -> Iterator[ast.Continue]:
    """Yield each `continue` in a statement that is not that of a loop within it."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Continue):
            yield child
        elif not isinstance(child, ast.For | ast.AsyncFor | ast.While | ast.FunctionDef):
            yield from _leaving(child)


@pytest.mark.parametrize("folder", ["llava_tools", "integrations"])
def test_no_loop_leaves_its_cleaning_up_by_continue(folder: str) -> None:
    """In CPython 3.11 an interrupt that arrives at such a `continue` skips the cleaning up."""
    found = [
        f"{path.relative_to(ROOT)}:{statement.lineno}"
        for path in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.With | ast.AsyncWith)
        or (isinstance(node, ast.Try) and node.finalbody)
        for statement in _leaving(node)
    ]
    assert found == []
