"""`LlavaPageRetriever` and `LlavaPageLoader`: standard tests, metadata, handles, errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from langchain_core import exceptions as langchain
from langchain_core.messages import HumanMessage
from langchain_core.retrievers import BaseRetriever
from langchain_tests.integration_tests import RetrieversIntegrationTests
from PIL import Image

from langchain_llava import ChatLlava, LlavaPageLoader, LlavaPageRetriever
from llava_tools import Llava
from llava_tools.errors import DocumentError, IndexStoreError, RequestError
from llava_tools.images.store import ImageStore, shared_store
from llava_tools.retrieval import PageIndex
from llava_tools.testing import ScriptedBackend, ScriptedEmbedder
from tests.retrieval.documents import write_pdf

PAGES = ["A coffee machine", "How to descale it", "Coffee beans", "Warranty"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("in")
    write_pdf(folder / "manual.pdf", PAGES)
    return folder


@pytest.fixture(scope="module")
def index(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> PageIndex:
    index = PageIndex(tmp_path_factory.mktemp("index"), ScriptedEmbedder())
    index.update([folder])
    return index


class TestIntegration(RetrieversIntegrationTests):
    @pytest.fixture(autouse=True)
    def _set_index(self, index: PageIndex) -> None:
        self.index = index

    @property
    def retriever_constructor(self) -> type[BaseRetriever]:
        return LlavaPageRetriever

    @property
    def retriever_constructor_params(self) -> dict[str, Any]:
        return {"index": self.index}

    @property
    def retriever_query_example(self) -> str:
        return "coffee"


def test_documents_name_their_pages(index: PageIndex, folder: Path) -> None:
    (document,) = LlavaPageRetriever(index=index, mode="text").invoke("descale")
    assert document.page_content == "How to descale it"
    assert (
        document.metadata["document"] == document.metadata["source"] == str(folder / "manual.pdf")
    )
    assert document.metadata["page"] == 2
    assert document.metadata["snippet"] == "How to descale it"
    assert document.metadata["score"] > 0
    assert document.metadata["handle"] in shared_store()


def test_images_go_to_the_given_store(index: PageIndex, folder: Path, tmp_path: Path) -> None:
    store = ImageStore(directory=tmp_path / "images")
    retriever = LlavaPageRetriever(index=index, mode="text", image_store=store)
    (document,) = retriever.invoke("descale")
    assert document.metadata["handle"] in store
    loaded = LlavaPageLoader(folder, image_store=tmp_path / "loaded").load()
    assert {item.metadata["handle"] for item in loaded} == {
        path.name for path in (tmp_path / "loaded").glob("img_*")
    }


def test_chat_model_opens_a_page_by_its_handle(index: PageIndex) -> None:
    backend = ScriptedBackend(["every month"])
    (document,) = LlavaPageRetriever(index=index, k=1, mode="text").invoke("descale")
    block = {"type": "image", "file_id": document.metadata["handle"]}
    ChatLlava(backend=backend).invoke([HumanMessage([block, {"type": "text", "text": "When?"}])])
    assert backend.requests[0].messages[-1].images[0].handle == document.metadata["handle"]


async def test_async_and_batches(index: PageIndex) -> None:
    retriever = LlavaPageRetriever(index=index, k=2)
    documents = await retriever.ainvoke("coffee")
    assert (
        [documents, documents]
        == await retriever.abatch(["coffee", "coffee"])
        == retriever.batch(["coffee"] * 2)
    )


def test_reranking(index: PageIndex) -> None:
    last = LlavaPageRetriever(index=index, k=4).invoke("coffee")[-1].metadata["handle"]

    def scores(request: Any, label: str) -> float:
        return 0.0 if ("es" in label) == (request.messages[-1].images[0].handle == last) else -9.0

    judge = Llava(backend=ScriptedBackend(scores=scores))
    (best,) = LlavaPageRetriever(index=index, k=2, rerank=judge).invoke("coffee")[:1]
    assert best.metadata["handle"] == last


def test_errors_are_also_langchains(index: PageIndex, tmp_path: Path) -> None:
    with pytest.raises(langchain.LangChainException, match="There is no index") as missing:
        LlavaPageRetriever(index=tmp_path / "none").invoke("coffee")
    assert isinstance(missing.value, IndexStoreError)
    with pytest.raises(langchain.ModelInvalidRequestError, match="k=0") as wrong:
        LlavaPageRetriever(index=index).invoke("coffee", k=0)
    assert isinstance(wrong.value, RequestError)
    write_pdf(tmp_path / "in.pdf", ["old"])
    other = PageIndex(tmp_path / "index", ScriptedEmbedder())
    other.update([tmp_path / "in.pdf"])
    write_pdf(tmp_path / "in.pdf", ["new and longer"])
    with pytest.raises(langchain.ModelInvalidRequestError, match="changed") as stale:
        LlavaPageRetriever(index=other).invoke("old")
    assert isinstance(stale.value, DocumentError)
    (document,) = LlavaPageRetriever(index=other, with_images=False).invoke("old")
    assert document.page_content == "old"
    with pytest.raises(ValueError, match="Extra inputs"):
        LlavaPageRetriever(index=other, top=3)  # type: ignore[call-arg]


def test_loader_yields_pages_and_lists_skipped_files(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.pdf").write_bytes(b"%PDF-1.7")
    Image.new("RGB", (50, 30), "red").save(tmp_path / "red.png")
    loader = LlavaPageLoader([folder, tmp_path])
    documents = loader.load()
    assert [document.page_content for document in documents] == [*PAGES, ""]
    assert [document.metadata["page"] for document in documents] == [1, 2, 3, 4, 1]
    assert documents[0].metadata["pages"] == 4
    assert documents[4].metadata["width"] == 50
    assert all(document.metadata["handle"] in shared_store() for document in documents)
    assert len({document.id for document in documents}) == 5
    (skip,) = loader.skipped
    assert "is broken" in skip.reason
    with pytest.raises(langchain.LangChainException, match="no file or folder"):
        LlavaPageLoader(tmp_path / "missing").load()


def test_loader_and_retriever_return_equal_documents(index: PageIndex, folder: Path) -> None:
    loaded = {document.id: document for document in LlavaPageLoader(folder).lazy_load()}
    for document in LlavaPageRetriever(index=index).invoke("coffee"):
        assert loaded[document.id].page_content == document.page_content
        assert loaded[document.id].metadata["handle"] == document.metadata["handle"]
