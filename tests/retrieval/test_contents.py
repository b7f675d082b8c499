"""What an index holds: its documents, its size, own metadata, removal, and search by an image."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from llava_tools.errors import DocumentError, IndexStoreError, RequestError
from llava_tools.images import ImageRef
from llava_tools.retrieval import Condition, PageIndex
from llava_tools.retrieval.pages import FileState
from llava_tools.retrieval.schema import SCHEMA_VERSION
from llava_tools.testing import ScriptedEmbedder
from tests.retrieval.documents import write_pdf


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    write_pdf(folder / "a.pdf", ["coffee one", "coffee two"])
    write_pdf(folder / "sub" / "b.pdf", ["tea one"])
    Image.new("RGB", (40, 30), "red").save(folder / "sub" / "red.png")
    return folder


@pytest.fixture
def index(tmp_path: Path, folder: Path) -> PageIndex:
    def images(image: ImageRef) -> tuple[float, float]:
        red, _, _ = image.rgb().getpixel((0, 0))
        return (1.0, 0.0) if image.size == (40, 30) and red == 255 else (0.5, 0.8)

    index = PageIndex(tmp_path / "index", ScriptedEmbedder(images=images))
    index.update([folder / "a.pdf"], metadata={"team": "pumps", "year": 2025})
    index.update([folder])
    return index


def test_documents_have_pages_dates_and_metadata(index: PageIndex, folder: Path) -> None:
    documents = index.documents()
    assert [Path(document.document).name for document in documents] == ["a.pdf", "b.pdf", "red.png"]
    assert [document.pages for document in documents] == [2, 1, 1]
    assert documents[0].metadata == {"team": "pumps", "year": 2025}  # kept by the second update
    assert documents[1].metadata == {}
    assert all(document.complete and len(document.modified) == 19 for document in documents)
    below = Condition("document", "below", str(folder / "sub"))
    assert [document.pages for document in index.documents(below)] == [1, 1]
    (hit, *_) = index.search("coffee", where=Condition("metadata.team", "==", "pumps"))
    assert hit.document == str(folder / "a.pdf")
    assert index.search("coffee", where=Condition("metadata.team", "==", "fans")) == []


def test_metadata_replaces_what_a_document_had(index: PageIndex, folder: Path) -> None:
    report = index.update([folder / "a.pdf"], metadata={"team": "fans"})
    assert (report.added, report.unchanged) == (0, 1)
    assert index.documents()[0].metadata == {"team": "fans"}
    with pytest.raises(RequestError, match="metadata has"):
        index.update([folder], metadata={"x": [1]})  # type: ignore[dict-item]


def test_stats_count_documents_and_pages(index: PageIndex) -> None:
    stats = index.stats()
    assert (stats.documents, stats.incomplete, stats.pages, stats.pages_without_text) == (
        3,
        0,
        4,
        1,
    )
    assert stats.bytes is not None
    assert stats.bytes > 1000
    assert stats.schema == SCHEMA_VERSION
    assert stats.as_dict()["dimensions"] == 2


def test_stats_are_counted_while_an_update_removes_files(
    index: PageIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    size, root = index.stats().bytes, index.location.folder
    assert root is not None
    (root / "old").mkdir()
    for path in (root / "old.lance", root / "old" / "part.lance"):
        path.write_bytes(b"x" * 1000)
    walk = os.walk

    def walk_during_update(top: Path, **options: Any) -> Iterator[tuple[str, list[str], list[str]]]:
        for listing in walk(top, **options):
            (root / "old.lance").unlink(missing_ok=True)  # it was listed before
            shutil.rmtree(root / "old", ignore_errors=True)
            yield listing

    monkeypatch.setattr(os, "walk", walk_during_update)
    assert index.stats().bytes == size


def test_removed_documents_are_not_found_and_their_files_stay(
    index: PageIndex, folder: Path
) -> None:
    removed = index.remove([folder / "sub"])
    assert removed == [str(folder / "sub" / "b.pdf"), str(folder / "sub" / "red.png")]
    assert all(Path(path).exists() for path in removed)
    assert index.stats().pages == 2
    assert index.search("tea", mode="text") == []
    with pytest.raises(DocumentError, match=r"b\.pdf.* is not in the index"):
        index.remove([folder / "sub" / "b.pdf"])
    assert index.update([folder]).added == 2
    with pytest.raises(IndexStoreError, match="There is no index"):
        PageIndex(folder / "none").remove([folder])


def test_an_image_finds_the_pages_that_look_like_it(index: PageIndex, folder: Path) -> None:
    hits = index.search(image=folder / "sub" / "red.png", k=2)
    assert hits[0].document == str(folder / "sub" / "red.png")
    assert hits[0].score == pytest.approx(1.0)
    assert hits[0].snippet == ""
    assert 0 < hits[1].score < 1
    pdfs = Condition("type", "==", "pdf")
    assert {
        Path(hit.document).suffix
        for hit in index.search(image=Image.new("RGB", (40, 30)), where=pdfs)
    } == {".pdf"}


def test_impossible_searches_by_image_are_refused(index: PageIndex) -> None:
    image = Image.new("RGB", (40, 30))
    with pytest.raises(RequestError, match="not both"):
        index.search("red", image=image)
    with pytest.raises(RequestError, match="not found by text"):
        index.search(image=image, mode="text")
    with pytest.raises(RequestError, match="reranked"):
        index.search(image=image, rerank=_send)
    with pytest.raises(RequestError, match="no words"):
        index.search()


def _send(request: object) -> object:
    raise AssertionError(request)


def test_an_index_of_an_older_schema_is_refused(
    index: PageIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llava_tools.retrieval.schema.SCHEMA_VERSION", SCHEMA_VERSION + 1)
    message = f"has schema {SCHEMA_VERSION}, and this version of llava-tools reads"
    with pytest.raises(IndexStoreError, match=message) as error:
        PageIndex(str(index.location)).search("tea", mode="text")
    assert "index again" in str(error.value)


@pytest.mark.parametrize(
    ("seconds", "modified"),
    [
        (0, "1970-01-01T00:00:00"),
        (1_795_885_439, "2026-11-28T17:03:59"),
        (-86_400, "1969-12-31T00:00:00"),
        (-(10**11), "0001-01-01T00:00:00"),
        (10**12, "9999-12-31T23:59:59"),
    ],
)
def test_any_time_of_change_that_a_file_can_have_is_a_date(seconds: int, modified: str) -> None:
    assert FileState(1, seconds * 10**9, 1, 1).modified == modified
