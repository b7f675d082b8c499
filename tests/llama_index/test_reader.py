"""`LlavaPageReader`: pages become documents for indexes of images and texts."""

from __future__ import annotations

from pathlib import Path

import pytest
from llama_index.core.indices import MultiModalVectorStoreIndex
from llama_index.core.schema import ImageDocument, ImageNode, MetadataMode
from PIL import Image

from llama_index.embeddings.llava import LlavaEmbedding
from llama_index.readers.llava import LlavaPageReader
from llava_tools import open_image
from llava_tools.errors import DocumentError
from llava_tools.images.store import shared_store
from tests.retrieval.documents import write_pdf


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_pdf(tmp_path / "manual.pdf", ["A coffee machine", "How to descale it"])
    Image.new("RGB", (50, 30), "red").save(tmp_path / "red.png")
    (tmp_path / "broken.pdf").write_bytes(b"%PDF-1.7")
    return tmp_path


async def test_a_document_for_each_page(folder: Path) -> None:
    reader = LlavaPageReader()
    documents = reader.load_data(folder)
    assert [document.text for document in documents] == [
        "A coffee machine",
        "How to descale it",
        "",
    ]
    assert [skip.document for skip in reader.skipped] == [str(folder / "broken.pdf")]
    for document in documents:
        assert isinstance(document, ImageDocument)
        size = document.metadata["width"], document.metadata["height"]
        assert open_image(document.resolve_image().getvalue()).size == size
        assert document.metadata["handle"] in shared_store()
        assert "handle" not in document.get_content(MetadataMode.LLM)
    assert documents[1].metadata["page"] == 2
    assert [d.id_ for d in await reader.aload_data([folder])] == [d.id_ for d in documents]


def test_an_index_of_the_documents(folder: Path) -> None:
    documents = LlavaPageReader().load_data(folder)
    embedding = LlavaEmbedding()
    index = MultiModalVectorStoreIndex.from_documents(
        documents, embed_model=embedding, image_embed_model=embedding
    )
    hits = index.as_retriever(image_similarity_top_k=3).retrieve("coffee")
    pages = {(Path(hit.node.metadata["document"]).name, hit.node.metadata["page"]) for hit in hits}
    assert pages == {("red.png", 1), ("manual.pdf", 1), ("manual.pdf", 2)}
    assert all(isinstance(hit.node, ImageNode) for hit in hits)


def test_missing_paths_and_unknown_arguments_raise(folder: Path) -> None:
    with pytest.raises(DocumentError, match="no file or folder"):
        LlavaPageReader().load_data(folder / "missing")
    with pytest.raises(TypeError, match="extra"):
        LlavaPageReader().load_data(folder, extra=True)
