"""I8: whatever happens to the files of an index, there are `IndexStoreError`s, and it is mended."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import lancedb
import pyarrow
import pytest

from llava_tools.errors import ForeignIndexError, IndexStoreError
from llava_tools.retrieval import PageIndex, vector_index
from llava_tools.retrieval.location import IndexLocation
from llava_tools.retrieval.schema import SCHEMA_VERSION
from llava_tools.retrieval.writable_store import WritableStore
from llava_tools.testing import ScriptedEmbedder
from tests.retrieval.documents import write_long_pdf, write_pdf

MODES = ("text", "image", "hybrid")


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `in`, files, and `index`, their index of two updates with all its parts."""
    folder = tmp_path_factory.mktemp("intact")
    (folder / "in").mkdir()
    write_pdf(folder / "in" / "a.pdf", ["Invoice total 42", "Descaling the machine", "The end"])
    write_long_pdf(folder / "in" / "long.pdf", 60)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vector_index, "MIN_INDEXED_PAGES", 40)
        patch.setattr(vector_index, "PARTITIONS", 2)
        index = PageIndex(folder / "index", embedder())
        index.update([folder / "in"])
        write_pdf(folder / "in" / "b.pdf", ["A new total"])
        index.update([folder / "in"])
        names = {index.columns[0] for index in index.store._pages.list_indices()}
        assert {"text", "vector"} <= names
    return folder


def embedder() -> ScriptedEmbedder:
    values = random.Random(1)
    return ScriptedEmbedder(
        texts=lambda text: [values.random() - 0.5 for _ in range(8)],
        images=lambda image: [values.random() - 0.5 for _ in range(8)],
        dimensions=8,
    )


def use(folder: Path) -> list[str]:
    """Search in all modes; return the errors. Any other than an `IndexStoreError` is raised."""
    errors = []
    for mode in MODES:
        try:
            index = PageIndex(folder, embedder())
            for hit in index.search("descaling machine 42", mode=mode):
                index.thumbnail(hit)
                assert hit.page >= 1
        except IndexStoreError as error:
            errors.append(str(error))
    return errors


def flip(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(8 if changed else 0):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def clear_a_part(data: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(data) + 1)
    return data[:start] + bytes(len(data[start : start + 64])) + data[start + 64 :]


CORRUPTIONS: dict[str, Callable[[bytes, random.Random], bytes | None]] = {
    "flipped bits": flip,
    "cleared part": clear_a_part,
    "truncated": lambda data, rng: data[: rng.randrange(len(data) + 1)],
    "empty": lambda data, rng: b"",
    "random": lambda data, rng: rng.randbytes(len(data)),
    "deleted": lambda data, rng: None,
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_i8_corrupted_files_raise_index_store_errors_only(
    intact: Path, tmp_path: Path, kind: str
) -> None:
    rng = random.Random(kind)
    files = sorted(path for path in (intact / "index").rglob("*") if path.is_file())
    folder = tmp_path / "index"
    for path in rng.sample(files, 8):
        shutil.copytree(intact / "index", folder)
        target = folder / path.relative_to(intact / "index")
        data = CORRUPTIONS[kind](path.read_bytes(), rng)
        if data is None:
            target.unlink()
        else:
            target.write_bytes(data)
        use(folder)
        with suppress(IndexStoreError):
            PageIndex(folder, embedder()).update([intact / "in"])
        use(folder)
        shutil.rmtree(folder)


def test_i8_an_update_without_changes_notices_damaged_pages(intact: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(intact / "index", tmp_path / "index")
    data = (folder / "pages.lance").glob("data/*.lance")
    largest = max(data, key=lambda path: path.stat().st_size)
    content = bytearray(largest.read_bytes())
    middle = len(content) // 2
    content[middle - 300 : middle + 300] = bytes(600)  # its head and its end stay
    largest.write_bytes(content)
    index = PageIndex(folder, embedder())
    with suppress(IndexStoreError):  # "its last writes are removed. Index again"
        index.update([intact / "in"])
    index.update([intact / "in"])
    assert use(folder) == []


def test_i8_one_update_mends_data_and_search_indexes(intact: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(intact / "index", tmp_path / "index")
    data = (folder / "pages.lance").glob("data/*.lance")
    newest = max(data, key=lambda path: path.stat().st_mtime_ns)  # the copy keeps the times
    newest.write_bytes(newest.read_bytes()[:-100])
    for path in (folder / "pages.lance").glob("_indices/*/metadata.lance"):
        path.unlink()
    index = PageIndex(folder, embedder())
    index.update([intact / "in"])
    assert use(folder) == []
    assert len(index.search("total", mode="text")) == 2


@pytest.mark.parametrize("data", [b"", b"\0" * 500], ids=["empty", "cleared"])
@pytest.mark.parametrize("table", ["pages", "documents", "values"])
@pytest.mark.parametrize("place", ["newest", "oldest"])
def test_i8_damaged_versions_of_tables_are_mended(
    intact: Path, tmp_path: Path, data: bytes, table: str, place: str
) -> None:
    folder = shutil.copytree(intact / "index", tmp_path / "index")
    newest_first = sorted((folder / f"{table}.lance" / "_versions").glob("*.manifest"))
    newest_first[0 if place == "newest" else -1].write_bytes(data)
    index = PageIndex(folder, embedder())
    if place == "newest" and table != "values":
        with pytest.raises(IndexStoreError, match="it is damaged: index again"):
            index.search("total")
    report = index.update([intact / "in"])
    assert (report.documents, report.skipped) == (3, ())
    assert index.store.count() == 64
    assert use(folder) == []
    assert len(index.search("total", mode="text")) == 2


@pytest.mark.parametrize("table", ["pages", "documents"])
def test_table_without_its_newest_versions_is_as_it_was_and_an_update_restores_it(
    intact: Path, tmp_path: Path, table: str
) -> None:
    """A write that was killed leaves the same files, so nobody can be warned of it."""
    folder = shutil.copytree(intact / "index", tmp_path / "index")

    def found() -> list[str]:
        hits = PageIndex(folder, embedder()).search("total", mode="text")
        return sorted(Path(hit.document).name for hit in hits)

    newest_first = sorted((folder / f"{table}.lance" / "_versions").glob("*.manifest"))
    for manifest in newest_first[: len(newest_first) // 2]:
        manifest.unlink()
    assert found() == ["a.pdf"]
    PageIndex(folder, embedder()).update([intact / "in"])
    assert found() == ["a.pdf", "b.pdf"]


def test_i8_damaged_search_indexes_are_rebuilt(
    intact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vector_index, "MIN_INDEXED_PAGES", 40)
    monkeypatch.setattr(vector_index, "PARTITIONS", 2)
    folder = shutil.copytree(intact / "index", tmp_path / "index")
    for path in (folder / "pages.lance" / "_indices").rglob("*.*"):
        path.write_bytes(path.read_bytes()[:20])
    assert len(use(folder)) == len(MODES)
    report = PageIndex(folder, embedder()).update([intact / "in"])
    assert (report.added, report.unchanged) == (0, 3)
    assert use(folder) == []
    assert PageIndex(folder, embedder()).search("descaling", mode="text")[0].page == 2


def test_i8_pages_that_are_lost_are_read_again(intact: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(intact / "index", tmp_path / "index")
    lancedb.connect(folder).open_table("pages").delete("page = 2")
    report = PageIndex(folder, embedder()).update([intact / "in"])
    assert (report.added, report.unchanged) == (2, 1)
    assert PageIndex(folder, embedder()).store.count() == 64


def table_with(header: bytes | None) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        metadata = None if header is None else {b"llava-tools": header}
        schema = pyarrow.schema({"a": pyarrow.string()}, metadata=metadata)
        for name in ("documents", "pages"):
            lancedb.connect(folder).create_table(name, schema=schema)

    return write


FOREIGN: dict[str, Callable[[Path], None]] = {
    "no header": table_with(None),
    "header that is no JSON": table_with(b"{"),
    "header of another type": table_with(b"[]"),
    "later version": table_with(b'{"version": 99}'),
    "other fields": table_with(b'{"version": %d, "model": 1}' % SCHEMA_VERSION),
    "other columns": table_with(
        b'{"version": %d, "model": "m", "clip": "c", "dimensions": 8}' % SCHEMA_VERSION
    ),
    "no dimensions": table_with(
        b'{"version": %d, "model": "m", "clip": "c", "dimensions": "x"}' % SCHEMA_VERSION
    ),
    "empty folder of a table": lambda folder: (folder / "pages.lance").mkdir(parents=True),
    "file": lambda folder: folder.touch(),
}


def test_indexes_of_other_programs_are_left_as_they_are(tmp_path: Path) -> None:
    """Nothing is mended in them, although they have versions that LanceDB cannot read."""
    write_pdf(tmp_path / "a.pdf", ["A page"])
    folder = tmp_path / "database"
    table_with(None)(folder)
    lancedb.connect(folder).open_table("pages").add([{"a": "row"}])
    oldest = sorted((folder / "pages.lance" / "_versions").glob("*.manifest"))[-1]
    oldest.write_bytes(b"")
    with pytest.raises(ForeignIndexError, match="did not write the index in"):
        PageIndex(folder, embedder()).update([tmp_path / "a.pdf"])
    assert oldest.exists()


def test_index_of_schema_1_is_refused_with_the_command_that_makes_it_again(tmp_path: Path) -> None:
    write_pdf(tmp_path / "a.pdf", ["A page"])
    text, number, flag = pyarrow.string(), pyarrow.int32(), pyarrow.bool_()
    files = {"document": text, "digest": text, "pages": number, "is_pdf": flag, "complete": flag}
    pages = dict.fromkeys(("digest", "handle", "text"), text)
    pages |= dict.fromkeys(("page", "width", "height"), number)
    pages |= {"thumbnail": pyarrow.binary(), "vector": pyarrow.list_(pyarrow.float32(), 8)}
    header = b'{"model": "scripted", "clip": "scripted", "dimensions": 8, "version": 1}'
    database = lancedb.connect(tmp_path / "index")
    database.create_table("documents", schema=pyarrow.schema(files))
    schema = pyarrow.schema(pages, metadata={b"llava-tools": header})
    database.create_table("pages", schema=schema)
    index = PageIndex(tmp_path / "index", embedder())
    calls = (
        lambda: index.search("page"),
        lambda: index.plan([tmp_path / "a.pdf"]),
        lambda: index.update([tmp_path / "a.pdf"]),
        index.documents,
    )
    for call in calls:
        with pytest.raises(
            ForeignIndexError, match=f"schema 1, .* reads schema {SCHEMA_VERSION}"
        ) as caught:
            call()
        command = f"llava-tools index PATHS --to '{tmp_path / 'index'}'"
        assert caught.value.hint == f"Delete it and index again: {command}"


def test_damaged_fields_of_a_document_are_an_index_store_error(
    intact: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(intact / "index", tmp_path / "index")
    store = WritableStore(folder)
    rows = [replace(row, metadata="{") for row in store.documents().values()]
    store.put_documents(rows)
    with pytest.raises(IndexStoreError, match=r"row of '.*pdf' is damaged"):
        PageIndex(folder, embedder()).documents()


def test_faults_of_this_package_are_not_called_damage(tmp_path: Path) -> None:
    for error in (TypeError("x"), KeyError("x"), AttributeError("x"), IndexError("x")):
        with pytest.raises(type(error)), IndexLocation.of(tmp_path).translate_errors():
            raise error


@pytest.mark.parametrize("kind", FOREIGN)
def test_i8_foreign_indexes_are_refused(tmp_path: Path, kind: str) -> None:
    write_pdf(tmp_path / "a.pdf", ["A page"])
    FOREIGN[kind](tmp_path / "index")
    index = PageIndex(tmp_path / "index", embedder())
    for call in (lambda: index.search("page"), lambda: index.update([tmp_path / "a.pdf"])):
        with pytest.raises(IndexStoreError, match="index"):
            call()


def test_i8_vectors_of_other_dimensions_are_refused(intact: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(intact / "index", tmp_path / "index")
    renamed = ScriptedEmbedder(dimensions=8)
    renamed.model_name = "other"
    for other in (ScriptedEmbedder(dimensions=3), renamed):
        index = PageIndex(folder, other)
        for mode in ("image", "hybrid"):
            with pytest.raises(IndexStoreError, match=r"holds vectors of scripted \(8 numbers\)"):
                index.search("total", mode=mode)
        assert len(index.search("total", mode="text")) == 2
    wrong = ScriptedEmbedder(images=lambda image: [1.0] * 5, dimensions=8)
    write_pdf(tmp_path / "c.pdf", ["Another page"])
    with pytest.raises(IndexStoreError, match="cannot be used"):
        PageIndex(folder, wrong).update([tmp_path / "c.pdf"])
    assert use(folder) == []


def test_errors_do_not_hold_secrets() -> None:
    options = {"aws_access_key_id": "AKIA1", "aws_secret_access_key": "s3cret", "region": "eu"}
    location = IndexLocation.of("s3://bucket/index", options)
    index = PageIndex("s3://bucket/index", storage_options=options)
    assert repr(index) == "PageIndex('s3://bucket/index')"
    with pytest.raises(IndexStoreError) as caught, location.translate_errors():
        raise RuntimeError("<Key>AKIA1</Key> signed with s3cret in eu")
    assert "<Key>***</Key> signed with *** in eu" in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    assert "s3cret" not in repr(location)
