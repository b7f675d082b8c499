"""F6: an open `PageIndex` sees what other processes write, and survives what they remove."""

from __future__ import annotations

import pickle
import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from llava_tools.errors import DocumentError, IndexStoreError
from llava_tools.retrieval import PageIndex, tables
from llava_tools.testing import ScriptedEmbedder
from tests.retrieval.documents import write_pdf


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    write_pdf(folder / "a.pdf", ["An old total", "Descaling"])
    return folder


def found(index: PageIndex, query: str) -> list[str]:
    hits = index.search(query, mode="text")
    return sorted(f"{Path(hit.document).name} {hit.page}" for hit in hits)


def test_f6_open_index_sees_what_another_one_writes(files: Path, tmp_path: Path) -> None:
    writer, reader = (PageIndex(tmp_path / "index", ScriptedEmbedder()) for _ in range(2))
    writer.update([files])
    assert found(reader, "total") == ["a.pdf 1"]
    write_pdf(files / "b.pdf", ["A new total"])
    writer.update([files])
    assert found(reader, "total") == ["a.pdf 1", "b.pdf 1"]
    (files / "a.pdf").unlink()
    writer.update([files])
    assert found(reader, "total") == ["b.pdf 1"]
    assert reader.calibration == writer.calibration
    opened = PageIndex(tmp_path / "index")
    assert found(opened, "total") == ["b.pdf 1"]
    assert found(pickle.loads(pickle.dumps(opened)), "total") == ["b.pdf 1"]


def test_store_is_opened_once_until_the_index_changes(files: Path, tmp_path: Path) -> None:
    index = PageIndex(tmp_path / "index", ScriptedEmbedder())
    index.update([files])
    store = index.store
    index.search("total")
    assert index.store is store
    PageIndex(tmp_path / "index", ScriptedEmbedder()).update([files])  # changes nothing
    hit = index.search("total")[0]
    write_pdf(files / "b.pdf", ["A new total"])
    PageIndex(tmp_path / "index", ScriptedEmbedder()).update([files])
    assert index.thumbnail(hit)
    assert index.store is not store


def test_f6_hits_of_removed_pages_say_so_after_a_clean_up(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "KEEP_VERSIONS", timedelta(milliseconds=1))
    writer, reader = (PageIndex(tmp_path / "index", ScriptedEmbedder()) for _ in range(2))
    writer.update([files])
    hits = reader.search("total")
    (files / "a.pdf").unlink()
    write_pdf(files / "b.pdf", ["A new total"])
    writer.update([files])
    for use in (reader.open, lambda hit: reader.locate(hit, "total")):
        with pytest.raises(DocumentError, match=r"is no longer in the index\. Search again"):
            use(hits[0])
    assert reader.thumbnail(hits[0]) == b""
    assert found(reader, "total") == ["b.pdf 1"]


def test_f6_search_is_repeated_if_its_files_are_removed_meanwhile(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "KEEP_VERSIONS", timedelta(milliseconds=1))
    writer = PageIndex(tmp_path / "index", ScriptedEmbedder())
    writer.update([files])
    updates = 0

    def update_once(text: str) -> tuple[float, float]:
        nonlocal updates
        updates += 1
        if updates == 1:  # the search has its tables now, and has read nothing of them
            for name in ("b", "c"):
                write_pdf(files / f"{name}.pdf", [f"A new total {name}"])
                writer.update([files])
        return (1.0, 0.0)

    reader = PageIndex(tmp_path / "index", ScriptedEmbedder(texts=update_once))
    pages = {Path(hit.document).name for hit in reader.search("total", mode="image")}
    assert pages == {"a.pdf", "b.pdf", "c.pdf"}
    assert updates == 2


def test_f6_index_that_is_replaced_by_another_one_is_opened_anew(
    files: Path, tmp_path: Path
) -> None:
    index = PageIndex(tmp_path / "index", ScriptedEmbedder())
    index.update([files])
    assert found(index, "total") == ["a.pdf 1"]
    write_pdf(files / "a.pdf", ["Other words", "The total"])
    other = PageIndex(tmp_path / "other", ScriptedEmbedder())
    other.update([files])
    (tmp_path / "index").rename(tmp_path / "old")
    (tmp_path / "other").rename(tmp_path / "index")
    assert found(index, "total") == ["a.pdf 2"]
    shutil.rmtree(tmp_path / "index")
    with pytest.raises(IndexStoreError, match="There is no index in"):
        index.search("total")
