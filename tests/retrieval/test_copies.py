"""Files with the same content: the copy that is still there is shown, opened and cited."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from llava_tools import Llava
from llava_tools.errors import DocumentError
from llava_tools.retrieval import PageIndex, ask
from llava_tools.testing import ScriptedBackend, ScriptedEmbedder
from tests.retrieval.documents import write_pdf


@pytest.fixture
def index(tmp_path: Path) -> PageIndex:
    """An index of w2/a.pdf and its copy w3/b.pdf."""
    for name in ("w2", "w3"):
        (tmp_path / name).mkdir()
    write_pdf(tmp_path / "w2" / "a.pdf", ["Descaling the machine"])
    shutil.copyfile(tmp_path / "w2" / "a.pdf", tmp_path / "w3" / "b.pdf")
    index = PageIndex(tmp_path / "index", ScriptedEmbedder())
    index.update([tmp_path / "w2", tmp_path / "w3"])
    return index


def search(index: PageIndex) -> str:
    """Return the file of the only hit, of which page and text are found."""
    (hit,) = index.search("descaling", mode="text")
    image = index.open(hit)
    assert image.handle == hit.handle
    assert index.locate(hit, "Descaling") is not None
    assert Path(hit.document).parent.name in image.source
    return Path(hit.document).name


def test_f2_moved_folder_is_used_at_its_new_place(tmp_path: Path) -> None:
    old = tmp_path / "w2"
    old.mkdir()
    write_pdf(old / "a.pdf", ["Descaling the machine"])
    index = PageIndex(tmp_path / "index", ScriptedEmbedder())
    index.update([old])
    old.rename(tmp_path / "w3")
    assert index.update([tmp_path / "w3"]).added == 0
    (hit,) = index.search("descaling", mode="text")
    assert hit.document == str(tmp_path / "w3" / "a.pdf")
    answer = ask(index, "Which machine?", Llava(backend=ScriptedBackend(["this"])), zoom=False)
    assert answer.citations[0].document == str(tmp_path / "w3" / "a.pdf")


@pytest.mark.parametrize(("gone", "left"), [("w2/a.pdf", "b.pdf"), ("w3/b.pdf", "a.pdf")])
def test_f2_deleted_copy_is_replaced_by_the_one_that_is_left(
    index: PageIndex, tmp_path: Path, gone: str, left: str
) -> None:
    assert search(index) == "a.pdf"
    (tmp_path / gone).unlink()
    assert search(index) == left


def test_hit_found_before_a_copy_was_deleted_is_opened_from_the_other(
    index: PageIndex, tmp_path: Path
) -> None:
    (hit,) = index.search("descaling", mode="text")
    (tmp_path / "w2" / "a.pdf").unlink()
    assert index.open(hit).handle == hit.handle
    assert index.locate(hit, "Descaling") is not None


@pytest.mark.parametrize("content", [b"", b"%PDF-1.7 something else"])
def test_changed_copy_is_not_used(index: PageIndex, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "w2" / "a.pdf").write_bytes(content)
    (hit,) = index.search("descaling", mode="text")
    assert index.open(hit).source.endswith("b.pdf, p. 1")


def test_error_without_any_copy_names_the_file_of_the_hit(index: PageIndex, tmp_path: Path) -> None:
    (hit,) = index.search("descaling", mode="text")
    shutil.rmtree(tmp_path / "w3")
    (tmp_path / "w2" / "a.pdf").unlink()
    with pytest.raises(DocumentError, match=r"a\.pdf' cannot be read any more"):
        index.open(hit)
