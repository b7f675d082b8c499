"""The threat model names code and tests that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "threat_model.md").read_text(encoding="utf-8")
NAMES = sorted(set(re.findall(r"`((?:[\w/]+)\.py(?:::\w+)?)`", PAGE)))


@pytest.mark.parametrize("name", NAMES)
def test_what_the_threat_model_names_is_there(name: str) -> None:
    path, _, test = name.partition("::")
    file = ROOT / path if path.startswith("tests/") else ROOT / "llava_tools" / path
    functions = ast.walk(ast.parse(file.read_text(encoding="utf-8")))
    assert not test or test in {
        node.name for node in functions if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


def test_each_attack_has_code_and_a_test() -> None:
    rows = [line.split(" | ") for line in PAGE.splitlines() if line.count(" | ") == 3]
    rows = [row for row in rows if row[0] != "| attack"]
    assert len(rows) > 40
    assert [row[0] for row in rows if ".py`" not in row[2] or "::test_" not in row[3]] == []
