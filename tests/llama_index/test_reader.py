"""`LlavaPageReader`: pages become documents for indexes of images and texts."""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PureWindowsPath
from typing import Any
from uuid import UUID

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from llama_index.core.indices import MultiModalVectorStoreIndex, VectorStoreIndex
from llama_index.core.ingestion import DocstoreStrategy, IngestionPipeline
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.readers import SimpleDirectoryReader
from llama_index.core.readers.base import BasePydanticReader, ReaderConfig
from llama_index.core.schema import Document, ImageDocument, ImageNode, MetadataMode, TextNode
from llama_index.core.storage.docstore import SimpleDocumentStore
from llama_index.core.vector_stores import SimpleVectorStore
from llama_index.core.vector_stores.utils import metadata_dict_to_node, node_to_metadata_dict
from PIL import Image

from llama_index.embeddings.llava import LlavaEmbedding
from llama_index.readers.llava import LlavaPageReader
from llava_tools import ImageStore, open_image
from llava_tools.errors import DocumentError, RequestError
from llava_tools.images.store import shared_store
from tests.retrieval.documents import write_pdf

TEXTS = ["A coffee machine", "How to descale it"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    write_pdf(folder / "manual.pdf", TEXTS)
    Image.new("RGB", (50, 30), "red").save(folder / "red.png")
    (folder / "broken.pdf").write_bytes(b"%PDF-1.7")
    return folder


def _places(documents: Sequence[Document]) -> list[tuple[str, int, str]]:
    """Return file, page and text of documents; the text of an image is empty."""
    return [(Path(d.metadata["document"]).name, d.metadata["page"], d.text) for d in documents]


PLACES = [
    ("manual.pdf", 1, ""),
    ("manual.pdf", 1, TEXTS[0]),
    ("manual.pdf", 2, ""),
    ("manual.pdf", 2, TEXTS[1]),
    ("red.png", 1, ""),
]


async def test_each_page_is_an_image_and_its_text(folder: Path) -> None:
    reader = LlavaPageReader()
    documents = reader.load_data(folder)
    assert _places(documents) == PLACES
    assert [skip.document for skip in reader.skipped] == [str(folder / "broken.pdf")]
    for document in documents:
        assert isinstance(document, ImageDocument) == (not document.text)
        assert document.metadata["handle"] in shared_store()
        assert "handle" not in document.get_content(MetadataMode.LLM)
        if isinstance(document, ImageDocument):
            size = document.metadata["width"], document.metadata["height"]
            assert open_image(document.resolve_image().getvalue()).size == size
    image, text = documents[2:4]
    assert image.metadata == text.metadata
    assert [d.id_ for d in await reader.aload_data([folder])] == [d.id_ for d in documents]
    assert _places(list(await reader.alazy_load_data(folder))) == PLACES


def test_ids_are_uuids_of_path_and_page(folder: Path) -> None:
    (folder / "copy.pdf").write_bytes((folder / "manual.pdf").read_bytes())
    first, second = LlavaPageReader().load_data(folder), LlavaPageReader().load_data(folder)
    assert [d.id_ for d in first] == [d.id_ for d in second]
    assert len({UUID(d.id_) for d in first}) == len(first) == 9
    before = {d.id_: d.hash for d in first}
    write_pdf(folder / "manual.pdf", [TEXTS[0], "Something else"])
    after = {d.id_: d.hash for d in LlavaPageReader().load_data(folder)}
    assert after.keys() == before.keys()
    changed = [d for d in first if after[d.id_] != before[d.id_]]
    assert {place[:2] for place in _places(changed)} == {("manual.pdf", 2)}


def test_vector_stores_read_documents_that_were_added_without_a_splitter(folder: Path) -> None:
    for document in LlavaPageReader().load_data(folder):
        node = metadata_dict_to_node(node_to_metadata_dict(document, flat_metadata=True))
        assert (node.node_id, node.get_content()) == (document.id_, document.text)
        assert node.metadata["handle"] == document.metadata["handle"]


@pytest.mark.parametrize("suffix", [".pdf", ".png"])
async def test_directory_readers_use_it(folder: Path, suffix: str) -> None:
    files = sorted(folder.glob(f"[mr]*{suffix}"))
    reader = SimpleDirectoryReader(
        input_files=files,
        file_extractor={suffix: LlavaPageReader()},
        file_metadata=lambda name: {"shelf": f"of {Path(name).name}"},
        raise_on_error=True,
    )
    for documents in (reader.load_data(), await reader.aload_data()):
        assert _places(documents) == [place for place in PLACES if place[0].endswith(suffix)]
        for document in documents:
            assert document.metadata["shelf"] == f"of {files[0].name}"
            shown = "shelf" in document.get_content(MetadataMode.LLM)
            assert shown == bool(document.text)


def test_metadata_of_directory_readers_are_not_shown_next_to_an_image(folder: Path) -> None:
    reader = SimpleDirectoryReader(
        folder, required_exts=[".pdf"], file_extractor={".pdf": LlavaPageReader()}
    )
    documents = [d for d in reader.load_data() if isinstance(d, ImageDocument)]
    assert len(documents) == 2
    assert all(d.metadata["file_name"] == "manual.pdf" for d in documents)
    assert all(d.get_metadata_str(MetadataMode.LLM) == "" for d in documents)


def test_files_that_cannot_be_read_may_raise(folder: Path) -> None:
    reader = LlavaPageReader(raise_on_error=True)
    with pytest.raises(DocumentError, match="broken"):
        reader.load_data(folder / "broken.pdf")
    directory = SimpleDirectoryReader(
        input_files=[folder / "broken.pdf"], file_extractor={".pdf": reader}, raise_on_error=True
    )
    with pytest.raises(Exception, match="Error loading file"):
        directory.load_data()


def test_another_file_system(folder: Path) -> None:
    fs = MemoryFileSystem()
    for path in folder.iterdir():
        fs.pipe_file(f"/reader/{path.name}", path.read_bytes())
    fs.pipe_file("/reader/notes.txt", b"no document")
    try:
        reader = LlavaPageReader()
        assert _places(reader.load_data("/reader", fs=fs)) == PLACES
        assert [skip.document for skip in reader.skipped] == ["/reader/broken.pdf"]
        documents = SimpleDirectoryReader(
            "/reader", fs=fs, required_exts=[".pdf"], file_extractor={".pdf": reader}
        ).load_data()
        assert _places(documents) == PLACES[:4]
        assert documents[0].metadata["document"] == "/reader/manual.pdf"
        with pytest.raises(DocumentError, match="no file or folder"):
            reader.load_data("/elsewhere", fs=fs)
        with pytest.raises(RequestError, match="allowed_directories"):
            LlavaPageReader(allowed_directories=[folder]).load_data("/reader", fs=fs)
    finally:
        fs.rm("/reader", recursive=True)


@pytest.mark.parametrize(
    "name", [r"..\..\a.pdf", "C:a.pdf", "CON.pdf", "a?.pdf", f"{'a' * 300}.pdf"]
)
def test_files_of_another_file_system_keep_to_the_folder_of_copies(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fs = MemoryFileSystem()
    fs.pipe_file(f"/reader/{name}", (folder / "manual.pdf").read_bytes())
    targets: list[str] = []
    get_file = fs.get_file

    def get(source: str, target: str) -> None:
        targets.append(target)
        get_file(source, target)

    monkeypatch.setattr(fs, "get_file", get)
    try:
        documents = LlavaPageReader().load_data("/reader", fs=fs)
    finally:
        fs.rm("/reader", recursive=True)
    assert {document.metadata["document"] for document in documents} == {f"/reader/{name}"}
    (copy,) = map(Path, targets)
    on_windows = PureWindowsPath(r"C:\Temp", copy.name)
    assert on_windows.parent == PureWindowsPath(r"C:\Temp")
    assert on_windows.name == copy.name
    assert not on_windows.is_reserved()
    assert copy.suffix == ".pdf"


def test_a_pipeline_reads_through_its_configuration(folder: Path, tmp_path: Path) -> None:
    config = ReaderConfig(
        reader=LlavaPageReader(layout="text", image_store=tmp_path / "images"),
        reader_args=[str(folder)],
        reader_kwargs={"extra_info": {"shelf": 1}},
    )
    assert isinstance(config.reader, BasePydanticReader)
    assert [d.text for d in config.read()] == TEXTS
    again = LlavaPageReader.from_dict(config.to_dict()["loader"])
    assert again.layout == "text"
    assert again.image_store == str(tmp_path / "images")
    assert pickle.loads(pickle.dumps(again)) == again
    nodes = IngestionPipeline(transformations=[SentenceSplitter()], readers=[config]).run()
    assert [node.get_content() for node in nodes] == TEXTS
    store = ImageStore(directory=tmp_path / "images")
    assert {node.metadata["handle"] in store for node in nodes} == {True}


def test_splitters_keep_each_image_once(folder: Path) -> None:
    write_pdf(folder / "long.pdf", [" ".join(f"word{n}." for n in range(400))] * 2)
    documents = LlavaPageReader().load_data(folder)
    nodes = SentenceSplitter(chunk_size=256, chunk_overlap=0).get_nodes_from_documents(documents)
    images = [node for node in nodes if isinstance(node, ImageNode)]
    texts = [node for node in nodes if not isinstance(node, ImageNode)]
    pages = Counter((n.metadata["document"], n.metadata["page"]) for n in images)
    assert len(images) == len(pages) == 5
    assert all(node.image and not node.text for node in images)
    assert len(texts) > 6
    assert all(type(node) is TextNode and node.text for node in texts)
    handles = {node.metadata["handle"] for node in images}
    assert {node.metadata["handle"] for node in texts} <= handles


def _index(documents: Sequence[Document]) -> MultiModalVectorStoreIndex:
    embedding = LlavaEmbedding()
    return MultiModalVectorStoreIndex.from_documents(
        documents, embed_model=embedding, image_embed_model=embedding
    )


def test_an_index_of_the_documents(folder: Path) -> None:
    index = _index(LlavaPageReader().load_data(folder))
    hits = index.as_retriever(similarity_top_k=2, image_similarity_top_k=3).retrieve("coffee")
    images = [hit for hit in hits if isinstance(hit.node, ImageNode)]
    pages = [
        (Path(hit.node.metadata["document"]).name, hit.node.metadata["page"]) for hit in images
    ]
    assert sorted(pages) == [("manual.pdf", 1), ("manual.pdf", 2), ("red.png", 1)]
    assert sorted(hit.text for hit in hits if hit.text) == TEXTS


def _edition(path: Path, pages: int, edition: str, **options: Any) -> list[Document]:
    """Write a PDF with these pages and read it."""
    write_pdf(path, [f"page {number} of the {edition}" for number in range(1, pages + 1)])
    return LlavaPageReader(**options).load_data(path)


@pytest.mark.parametrize(("before", "after"), [(7, 11), (11, 7), (3, 3)])
async def test_refreshing_an_index_replaces_the_pages_of_a_file(
    tmp_path: Path, before: int, after: int
) -> None:
    embedding = LlavaEmbedding()
    index = VectorStoreIndex.from_documents(
        _edition(tmp_path / "a.pdf", before, "first"),
        transformations=[SentenceSplitter(), embedding],
        embed_model=embedding,
    )
    documents = _edition(tmp_path / "a.pdf", after, "second")
    assert index.refresh_ref_docs(documents) == [True] * (2 * after)
    assert index.refresh_ref_docs(documents) == [False] * (2 * after)
    assert await index.arefresh_ref_docs(documents) == [False] * (2 * after)
    # LlamaIndex's refresh does not delete documents that are gone. The loop stands in the docs.
    for gone in index.ref_doc_info.keys() - {document.id_ for document in documents}:
        index.delete_ref_doc(gone, delete_from_docstore=True)
    hits = index.as_retriever(similarity_top_k=30).retrieve("page")
    assert len({hit.node.metadata["page"] for hit in hits}) == after
    assert len(hits) == 2 * after
    assert all("second" in hit.text for hit in hits if hit.text)


def test_refreshing_a_multi_modal_index(tmp_path: Path) -> None:
    index = _index(_edition(tmp_path / "a.pdf", 7, "first", layout="together"))
    documents = _edition(tmp_path / "a.pdf", 11, "second", layout="together")
    assert index.refresh_ref_docs(documents) == [True] * 11
    hits = index.as_retriever(similarity_top_k=30, image_similarity_top_k=30).retrieve("page")
    assert Counter(hit.node.metadata["page"] for hit in hits) == dict.fromkeys(range(1, 12), 1)
    assert all(isinstance(hit.node, ImageNode) and "second" in hit.text for hit in hits)


async def test_a_pipeline_deletes_pages_that_are_gone(tmp_path: Path) -> None:
    store = SimpleVectorStore()
    pipeline = IngestionPipeline(
        transformations=[SentenceSplitter(), LlavaEmbedding()],
        docstore=SimpleDocumentStore(),
        docstore_strategy=DocstoreStrategy.UPSERTS_AND_DELETE,
        vector_store=store,
    )
    for pages in (2, 3, 1):
        pipeline.run(documents=_edition(tmp_path / "a.pdf", pages, f"{pages}th"))
        assert len(store.data.embedding_dict) == 2 * pages
    await pipeline.arun(documents=_edition(tmp_path / "a.pdf", 2, "last"))
    assert len(store.data.embedding_dict) == 4


def test_only_allowed_directories_are_read(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.pdf").write_bytes((folder / "manual.pdf").read_bytes())
    (folder / "link.pdf").symlink_to(tmp_path / "secret.pdf")
    reader = LlavaPageReader(allowed_directories=[folder])
    assert _places(reader.load_data(folder)) == PLACES
    assert {Path(s.document).name for s in reader.skipped} == {"broken.pdf", "link.pdf"}
    assert len(reader.load_data(folder / "manual.pdf")) == 4
    for path in (tmp_path / "secret.pdf", folder / ".." / "secret.pdf", folder / "link.pdf"):
        with pytest.raises(DocumentError, match="outside of the allowed directories"):
            reader.load_data(path)
    with pytest.raises(DocumentError, match="outside"):
        LlavaPageReader(allowed_directories=[]).load_data(folder)


def test_a_store_of_its_own(folder: Path) -> None:
    Image.new("RGB", (31, 17), "teal").save(folder / "teal.png")
    store = ImageStore()
    (document,) = LlavaPageReader(image_store=store).load_data(folder / "teal.png")
    assert document.metadata["handle"] in store
    assert document.metadata["handle"] not in shared_store()


def test_missing_paths_and_unknown_arguments_raise(folder: Path) -> None:
    with pytest.raises(DocumentError, match="no file or folder"):
        LlavaPageReader().load_data(folder / "missing")
    with pytest.raises(TypeError, match="extra"):
        LlavaPageReader().load_data(folder, extra=True)
    options: list[dict[str, Any]] = [{"with_text": 1}, {"image_store": 7}, {"layout": "both"}]
    for option in options:
        with pytest.raises(RequestError, match=r"is not possible|image_store"):
            LlavaPageReader(**option)
    with pytest.raises(RequestError, match=r"no option 'layot'\. Did you mean 'layout'"):
        LlavaPageReader(layot="text")
