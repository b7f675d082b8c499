"""The lowest releases that are tested are the lowest that pyproject.toml allows."""

from __future__ import annotations

import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[1]


def test_the_lowest_releases_are_tested() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    bounds = {
        item.name: Version(specifier.version)
        for item in map(Requirement, [*extras["torch"], *extras["train"]])
        for specifier in item.specifier
        if specifier.operator == ">="
    }
    lines = (ROOT / ".ci" / "lowest.txt").read_text().splitlines()
    tested = {item.name: item for item in map(Requirement, filter(_is_requirement, lines))}
    assert tested
    for name, item in tested.items():
        assert [Version(pin.version) for pin in item.specifier] == [bounds[name]], name


def _is_requirement(line: str) -> bool:
    return bool(line) and not line.startswith("#")
