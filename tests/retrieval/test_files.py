"""Which files are read: names, hidden and empty folders, files that are swapped or no PDFs."""

from __future__ import annotations

import os
import sys
import zipfile
from pathlib import Path

import pytest

from llava_tools.retrieval import LoadedPage, PageIndex, Skipped, load_pages, loading
from llava_tools.retrieval.files import FileScan
from llava_tools.retrieval.pages import Document, FileState, hash_file, open_document
from llava_tools.testing import ScriptedEmbedder
from tests.retrieval.documents import write_pdf

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="needs links and pipes")


def load(*paths: Path, **options: list[Path]) -> tuple[list[str], dict[str, str]]:
    """Return the texts of all pages, and the reasons by the names of the skipped files."""
    items = list(load_pages(paths, **options))
    texts = [item.page.text for item in items if isinstance(item, LoadedPage)]
    skipped = [item for item in items if isinstance(item, Skipped)]
    return texts, {os.path.basename(item.document): item.reason for item in skipped}


@pytest.mark.skipif(sys.platform != "linux", reason="names are bytes there")
@pytest.mark.parametrize("name", [b"bad\xff.pdf", b"bad\xff/good.pdf", b"\xed\xa0\x80.png"])
def test_f1_names_that_are_not_utf8_are_skipped_and_the_rest_is_indexed(
    tmp_path: Path, name: bytes
) -> None:
    folder = tmp_path / "in"
    path = os.path.join(os.fsencode(folder), name)
    os.makedirs(os.path.dirname(path))
    write_pdf(folder / "good.pdf", ["A good page"])
    Path(os.fsdecode(path)).write_bytes((folder / "good.pdf").read_bytes())
    index = PageIndex(tmp_path / "index", ScriptedEmbedder())
    for unchanged in (0, 1):
        report = index.update([folder])
        assert (report.documents, report.unchanged, len(report.skipped)) == (1, unchanged, 1)
        assert report.skipped[0].reason == "Its name is not UTF-8. Rename it."
    assert load(folder) == (
        ["A good page"],
        {os.path.basename(report.skipped[0].document): ("Its name is not UTF-8. Rename it.")},
    )
    named = FileScan.of([os.fsdecode(path)])
    assert named.files == []
    shown = str(report.skipped[0])
    assert shown.isprintable()  # messages can be written, on one line
    assert shown.startswith(str(folder))


def test_f9_hidden_files_and_folders_are_left_out_unless_they_are_named(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    write_pdf(tmp_path / "a.pdf", ["Visible"])
    write_pdf(tmp_path / "._a.pdf", ["Hidden"])
    write_pdf(tmp_path / ".git" / "b.pdf", ["In a hidden folder"])
    assert load(tmp_path) == (["Visible"], {})
    assert load(tmp_path / ".git") == (["In a hidden folder"], {})
    assert load(tmp_path / "._a.pdf") == (["Hidden"], {})


def test_f9_folder_without_documents_is_reported(tmp_path: Path) -> None:
    (tmp_path / "deeper").mkdir()
    (tmp_path / "notes.txt").write_text("not indexed")
    reason = "There are no PDFs or images in it."
    assert load(tmp_path) == ([], {tmp_path.name: reason})
    report = PageIndex(tmp_path / "index", ScriptedEmbedder()).update([tmp_path])
    assert [(item.document, item.reason) for item in report.skipped] == [(str(tmp_path), reason)]


def test_f9_files_named_pdf_that_are_none_are_called_what_they_are(tmp_path: Path) -> None:
    contents = {
        "login.pdf": b"\xef\xbb\xbf\n<!DOCTYPE html><html><body>Sign in</body></html>",
        "page.pdf": b"<html>" + b"x" * 9000,
        "old.pdf": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500),
        "print.pdf": b"%!PS-Adobe-3.0\n",
        "packed.pdf": b"\x1f\x8b\x08\x00" + bytes(50),
        "cut.pdf": bytes(4096),
        "words.pdf": b"Only some words",
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    with zipfile.ZipFile(tmp_path / "office.pdf", "w") as archive:
        archive.writestr("word/document.xml", "<w/>")
    texts, reasons = load(tmp_path)
    parts = {
        "login.pdf": "is not a PDF but a web page. Download the document itself",
        "page.pdf": "is not a PDF but a web page",
        "old.pdf": "is not a PDF but an old Office document",
        "print.pdf": "is not a PDF but a PostScript file",
        "packed.pdf": "is not a PDF but compressed",
        "cut.pdf": "is not a PDF: it begins with zeros",
        "words.pdf": "is not a PDF: its header is missing",
        "office.pdf": "is not a PDF but an Office document",
    }
    assert texts == []
    assert reasons.keys() == parts.keys()
    assert [name for name, part in parts.items() if part not in reasons[name]] == []


@posix_only
@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_i10_file_that_is_swapped_after_its_check_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    allowed = tmp_path / "allowed"
    allowed.mkdir()
    secret = write_pdf(tmp_path / "secret.pdf", ["A secret"])
    path = write_pdf(allowed / "a.pdf", ["Allowed"])

    def swap(name: str, directories: list[Path]) -> tuple[str, FileState]:
        path.unlink()
        if kind == "link":
            path.symlink_to(secret)
        else:
            os.mkfifo(path)
        return hash_file(name, directories)

    monkeypatch.setattr(loading, "hash_file", swap)
    texts, reasons = load(allowed, allowed_directories=[allowed])
    assert texts == []
    assert "It is outside of the allowed" in reasons["a.pdf"] or "a pipe" in reasons["a.pdf"]


@posix_only
@pytest.mark.parametrize("kind", ["link", "pipe"])
@pytest.mark.parametrize("suffix", [".pdf", ".png"])
def test_i10_file_that_is_swapped_after_it_was_hashed_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, suffix: str
) -> None:
    allowed = tmp_path / "allowed"
    allowed.mkdir()
    secret = write_pdf(tmp_path / "secret.pdf", ["A secret"])
    path = write_pdf(allowed / f"a{suffix}", ["Allowed"])

    def swap(name: str, digest: str, state: FileState) -> Document:
        path.unlink()
        if kind == "link":
            path.symlink_to(secret)
        else:
            os.mkfifo(path)
        return open_document(name, digest, state)

    monkeypatch.setattr(loading, "open_document", swap)
    texts, reasons = load(allowed, allowed_directories=[allowed])
    assert texts == []
    assert "changed while it was read" in reasons[path.name] or "a pipe" in reasons[path.name]
