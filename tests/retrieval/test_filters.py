"""Filters of a search: pages of some documents, numbers and sizes only."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from llava_tools.errors import RequestError
from llava_tools.retrieval import PageIndex
from llava_tools.retrieval.filters import Condition, Conditions, Operator, PageFilter
from llava_tools.retrieval.schema import DocumentRow
from llava_tools.retrieval.search import SearchMode
from llava_tools.testing import ScriptedEmbedder
from tests.retrieval.documents import write_pdf


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> PageIndex:
    """Four pages of `one.pdf`, two of `it's two.pdf`, and a red image."""
    folder = tmp_path_factory.mktemp("in")
    write_pdf(folder / "one.pdf", [f"coffee one {number}" for number in range(1, 5)])
    write_pdf(folder / "it's two.pdf", ["coffee two 1", "coffee two 2"])
    Image.new("RGB", (50, 30), "red").save(folder / "red.png")
    index = PageIndex(tmp_path_factory.mktemp("index"), ScriptedEmbedder())
    index.update([folder])
    return index


def _pages(index: PageIndex, where: PageFilter, mode: SearchMode = "hybrid") -> set[str]:
    hits = index.search("coffee", 10, mode=mode, where=where)
    return {f"{Path(hit.document).stem} {hit.page}" for hit in hits}


TWO = Condition("document", "contains", "it's")
FIRST = Condition("page", "==", 1)


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (TWO, {"it's two 1", "it's two 2"}),
        (FIRST, {"one 1", "it's two 1", "red 1"}),
        (Condition("page", ">", 2), {"one 3", "one 4"}),
        (Condition("page", "in", (2, 4)), {"one 2", "it's two 2", "one 4"}),
        (Condition("page", "not in", (1, 2)), {"one 3", "one 4"}),
        (Condition("width", "<=", 50), {"red 1"}),
        (Condition("height", "==", 30.0), {"red 1"}),
        (Condition("handle", "in", ()), set()),
        (Condition("document", "==", "nowhere"), set()),
        (Conditions((TWO, FIRST)), {"it's two 1"}),
        (
            Conditions((TWO, Condition("page", ">=", 4)), "or"),
            {"it's two 1", "it's two 2", "one 4"},
        ),
        (Conditions((TWO, Condition("page", "<", 4)), "none"), {"one 4"}),
        (Conditions((TWO, Conditions((FIRST,), "none"))), {"it's two 2"}),
        (Condition("height", "in", (30, 31.5)), {"red 1"}),
        (Conditions((), "or"), set()),
        (Conditions(()), {f"one {n}" for n in range(1, 5)} | {"it's two 1", "it's two 2", "red 1"}),
    ],
)
def test_only_pages_that_match(index: PageIndex, where: PageFilter, expected: set[str]) -> None:
    assert _pages(index, where) == expected
    assert _pages(index, where, "image") == expected
    assert _pages(index, where, "text") == expected - {"red 1"}


def test_documents_and_handles_by_name(index: PageIndex) -> None:
    hits = index.search("coffee", 10)
    red = next(hit for hit in hits if hit.document.endswith("red.png"))
    for field, value in (("document", red.document), ("handle", red.handle)):
        assert _pages(index, Condition(field, "==", value)) == {"red 1"}
        assert _pages(index, Condition(field, "in", (value, "x"))) == {"red 1"}
        assert len(_pages(index, Condition(field, "!=", value))) == 6
    assert _pages(index, Condition("handle", "contains", red.handle[4:9])) == {"red 1"}


def test_a_filter_is_applied_before_the_ranking(index: PageIndex) -> None:
    (hit,) = index.search("coffee one", 1, where=TWO)
    assert "two" in hit.document


@pytest.mark.parametrize(
    ("field", "operator", "value"),
    [
        ("title", "==", "x"),
        ("page", "==", "1"),
        ("page", "contains", 1),
        ("page", "in", 1),
        ("page", "==", (1,)),
        ("page", "==", True),
        ("page", "==", float("nan")),
        ("document", "==", 1),
        ("document", "in", (1,)),
        ("document", "like", "x"),
    ],
)
def test_impossible_conditions_are_refused(field: str, operator: str, value: object) -> None:
    with pytest.raises(RequestError):
        Condition(field, operator, value)


ROWS = {
    "/m/a.pdf": DocumentRow(
        "/m/a.pdf", "a", 1, True, True, "2026-11-28T17:03:59", '{"team": "pumps", "year": 2025}'
    ),
    "/m/sub/b.PNG": DocumentRow("/m/sub/b.PNG", "b", 1, False, True, "2026-12-01T00:00:00"),
    "/mm/c.pdf": DocumentRow("/mm/c.pdf", "c", 1, True, True, "2025-01-31T09:00:00"),
}


@pytest.mark.parametrize(
    ("condition", "digests"),
    [
        (Condition("document", "below", "/m"), "ab"),
        (Condition("document", "below", "/m/sub/"), "b"),
        (Condition("document", "below", "/m/a.pdf"), "a"),
        (Condition("document", "below", "/"), "abc"),
        (Condition("type", "==", "pdf"), "ac"),
        (Condition("type", "in", ("png", "jpg")), "b"),
        (Condition("modified", ">=", "2026-11-28"), "ab"),
        (Condition("modified", "<=", "2026-11"), "ac"),
        (Condition("modified", "==", "2026"), "ab"),
        (Condition("metadata.team", "==", "pumps"), "a"),
        (Condition("metadata.team", "!=", "pumps"), "bc"),
        (Condition("metadata.team", "in", ("pumps", "x")), "a"),
        (Condition("metadata.team", "not in", ("pumps",)), "bc"),
        (Condition("metadata.team", "contains", "ump"), "a"),
        (Condition("metadata.team", ">", 3), ""),
        (Condition("metadata.year", ">=", 2025), "a"),
        (Condition("metadata.year", "<", 2025), ""),
    ],
)
def test_conditions_on_files(condition: Condition, digests: str) -> None:
    assert {row.digest for row in ROWS.values() if condition.matches(row)} == set(digests)
    nested = Conditions((condition,), "none")
    assert {row.digest for row in ROWS.values() if nested.matches(row)} == set("abc") - set(digests)


@pytest.mark.parametrize(
    ("field", "operator", "value"),
    [
        ("metadata.", "==", "x"),
        ("page", "below", 3),
        ("type", "below", "/m"),
        ("metadata.year", "contains", 3),
        ("metadata.year", "in", 3),
    ],
)
def test_impossible_conditions_on_files_are_refused(
    field: str, operator: Operator, value: str | int
) -> None:
    with pytest.raises(RequestError):
        Condition(field, operator, value)
