"""F10: what an update will do is known before it starts; and the progress of each step."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image, ImageChops

from llava_tools.errors import DocumentError, IndexStoreError
from llava_tools.retrieval import IndexPlan, IndexProgress, PageIndex, changes, planning
from llava_tools.retrieval import index as index_module
from llava_tools.retrieval.writable_store import WritableStore
from llava_tools.testing import ScriptedEmbedder
from tests.retrieval.documents import write_long_pdf, write_pdf


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    write_pdf(folder / "a.pdf", ["Invoice total 42", "Descaling the machine", "The end"])
    (folder / "copy.pdf").write_bytes((folder / "a.pdf").read_bytes())
    (folder / "broken.pdf").write_bytes(b"%PDF-1.7 and then nothing")
    Image.new("RGB", (50, 30), "red").save(folder / "r.png")
    return folder


def figures(plan: IndexPlan) -> tuple[int, int, int, int]:
    return plan.documents, plan.pages, plan.unchanged, len(plan.skipped)


def test_f10_plan_has_documents_pages_time_and_size(folder: Path, tmp_path: Path) -> None:
    index = PageIndex(tmp_path / "index", ScriptedEmbedder(dimensions=2))
    plan = index.plan([folder])
    assert figures(plan) == (3, 4, 0, 1)
    assert (plan.model, plan.clip, plan.is_toy) == ("scripted", "scripted", False)
    assert plan.seconds > 0
    assert plan.bytes > 4 * 500  # a thumbnail has more than 500 bytes
    assert index.plan([folder], keep_images=True).bytes > 2 * plan.bytes
    assert not (tmp_path / "index").exists()
    assert plan.as_dict()["skipped"][0]["document"].endswith("broken.pdf")
    index.update([folder])
    again = index.plan([folder])
    assert (figures(again), again.seconds, again.bytes) == ((0, 0, 3, 1), 0.0, 0)
    write_pdf(folder / "new.pdf", ["Another page"] * 2)
    assert figures(index.plan([folder])) == (1, 2, 3, 1)
    with pytest.raises(DocumentError, match="no file or folder"):
        index.plan([folder / "nowhere"])


def test_f10_embedded_vision_tower_is_named_as_a_toy(folder: Path, tmp_path: Path) -> None:
    plan = PageIndex(tmp_path / "index").plan([folder / "r.png"])
    assert (plan.model, plan.is_toy) == ("tiny", True)
    assert plan.clip


def test_update_with_a_plan_reads_files_once(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0

    def count(*arguments: object) -> object:
        nonlocal calls
        calls += 1
        return changes.find_changes(*arguments)

    for module in (index_module, planning):
        monkeypatch.setattr(module, "find_changes", count)
    index = PageIndex(tmp_path / "index", ScriptedEmbedder())
    plan = index.plan([folder])
    report = index.update(plan)
    assert (report.documents, report.added, calls) == (3, 4, 1)
    (folder / "copy.pdf").unlink()
    plan = index.plan([folder])
    PageIndex(tmp_path / "index", ScriptedEmbedder()).update([folder / "r.png"])
    index.update([folder])
    calls = 0
    assert index.update(plan).documents == 2  # the index changed: files are compared again
    assert calls == 1


def test_sample_covers_several_documents(tmp_path: Path) -> None:
    for number in range(10):
        write_long_pdf(tmp_path / f"{number}.pdf", 1 + number)
    embedder = ScriptedEmbedder()
    plan = PageIndex(tmp_path / "index", embedder).plan([tmp_path])
    assert plan.pages == 55
    assert embedder.embedded == planning.SAMPLE_PAGES + 1  # and one that loads the model


def test_documents_of_which_all_pages_are_stored_are_planned(tmp_path: Path) -> None:
    """As after a process that was killed between the last page and its document's row."""
    write_pdf(tmp_path / "a.pdf", ["A page"])
    index = PageIndex(tmp_path / "index", ScriptedEmbedder())
    index.update([tmp_path / "a.pdf"])
    store = WritableStore(tmp_path / "index")
    store.put_documents([replace(row, complete=False) for row in store.documents().values()])
    plan = index.plan([tmp_path / "a.pdf"])
    assert (figures(plan), plan.seconds) == ((1, 0, 0, 0), 0.0)
    assert index.update(plan).documents == 1
    assert [document.complete for document in index.documents()] == [True]


def test_progress_has_rates_of_the_steps_and_the_time_left(folder: Path, tmp_path: Path) -> None:
    write_long_pdf(folder / "long.pdf", 40)
    reports: list[IndexProgress] = []
    PageIndex(tmp_path / "index", ScriptedEmbedder()).update([folder], reports.append)
    pages = [report for report in reports if report.step == "pages"]
    assert [report.done for report in pages][-1] == pages[-1].total == 44
    assert len(pages) == 3
    for report in pages:
        assert min(report.rates.render, report.rates.encode, report.rates.write) > 0
        expected = (report.total - report.done) * report.seconds / report.done
        assert report.remaining == pytest.approx(expected)
    assert reports[-1].step == "search indexes"
    assert IndexProgress(0, 5, 1.0).remaining == math.inf


def test_index_that_keeps_images_needs_no_files(folder: Path, tmp_path: Path) -> None:
    index = PageIndex(tmp_path / "index", ScriptedEmbedder())
    index.update([folder], keep_images=True)
    hits = {(Path(hit.document).suffix, hit.page): hit for hit in index.search("descaling", 9)}
    page = hits[".pdf", 2]
    before = index.open(page)
    assert before.handle == page.handle
    box = index.locate(page, "Descaling")
    assert box is not None
    for path in folder.iterdir():
        path.unlink()
    kept = index.open(page)
    assert kept.size == before.size == page.size
    difference = ImageChops.difference(kept.rgb().resize((40, 40)), before.rgb().resize((40, 40)))
    assert max(high for _, high in difference.getextrema()) < 30
    assert index.locate(page, "Descaling") == box
    assert index.locate(page, "Invoice") is None
    assert index.open(hits[".png", 1]).size == (50, 30)
    index.update([folder])
    assert index.store.image(page.digest, 2) == b""
    with pytest.raises(DocumentError, match="no longer in the index"):
        index.open(page)


def test_images_are_kept_from_the_creation_on_or_not_at_all(folder: Path, tmp_path: Path) -> None:
    index = PageIndex(tmp_path / "index", ScriptedEmbedder())
    index.update([folder])
    assert index.plan([folder], keep_images=True).keeps_images is False
    with pytest.raises(IndexStoreError, match="does not keep the images of pages"):
        index.update([folder], keep_images=True)
    other = PageIndex(tmp_path / "other", ScriptedEmbedder())
    other.update([folder], keep_images=True)
    write_pdf(folder / "new.pdf", ["Another page"])
    assert other.update([folder]).added == 1
    assert other.store.keeps_images
    (hit,) = other.search("another", 1, mode="text")
    assert other.store.image(hit.digest, 1)
    with pytest.raises(IndexStoreError, match="keeps the images of pages"):
        other.update([folder], keep_images=False)
