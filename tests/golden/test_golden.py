"""Results stay byte-equal to the golden files."""

from __future__ import annotations

import pytest

from tests.golden import groups, store

ALL = [(group, name) for group in groups.NAMES for name in groups.cases(group)]


@pytest.mark.parametrize(("group", "name"), ALL, ids=[f"{g}-{n}" for g, n in ALL])
def test_the_result_is_as_stored(group: str, name: str) -> None:
    stored = store.load(group)
    assert name in stored, f"No stored result. Run: python -m tests.golden {group}"
    found = store.write(groups.cases(group)[name]())
    if difference := store.difference(store.write(stored[name]), found):
        pytest.fail(f"{group}.json, {name!r}:\n{difference}", pytrace=False)


@pytest.mark.parametrize("group", groups.NAMES)
def test_every_stored_case_has_code_and_the_reverse(group: str) -> None:
    assert sorted(store.load(group)) == sorted(groups.cases(group))


def test_every_golden_file_belongs_to_a_group() -> None:
    assert {path.stem for path in store.FOLDER.glob("*.json")} == set(groups.NAMES)
