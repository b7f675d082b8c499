"""The lowest releases that are tested are the lowest that pyproject.toml allows."""

from __future__ import annotations

import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[1]
#: Extras for those who work on the project, and those that only name others.
NOT_FOR_USERS = {"dev", "docs", "notebooks", "all"}


def test_the_lowest_releases_are_tested() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = list(project["dependencies"])
    for extra, requirements in project["optional-dependencies"].items():
        if extra not in NOT_FOR_USERS:
            lines += requirements
    bounds = {
        item.name: Version(specifier.version)
        for item in map(Requirement, lines)
        for specifier in item.specifier
        if specifier.operator == ">="
    }
    del bounds["torch"]  # one release for all tests: see constraints.txt
    tested = {**_pins("lowest_llama_index.txt"), **_pins("lowest.txt")}
    assert {name: tested.get(name) for name in bounds} == bounds


def test_llama_index_is_tested_with_no_less_than_the_ranges() -> None:
    together = _pins("lowest.txt")
    for name, version in _pins("lowest_llama_index.txt").items():
        assert version >= together.get(name, version), name


def _pins(file: str) -> dict[str, Version]:
    """Return the releases that a file of .ci pins."""
    lines = (ROOT / ".ci" / file).read_text().splitlines()
    items = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {item.name: Version(pin.version) for item in items for pin in item.specifier}
