"""`LlavaPageRetriever` and `LlavaPageLoader`: LangChain's own tests, handles that lead somewhere, errors."""

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
from llava_tools.images.store import shared_store
from llava_tools.retrieval import PageIndex
from llava_tools.testing import ScriptedBackend, ScriptedEmbedder
from tests.retrieval.documents import write_pdf

PAGES = ["A coffee machine", "How to descale it", "Coffee beans", "Warranty"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    inside = tmp_path_factory.mktemp("in")
    write_pdf(inside / "manual.pdf", PAGES)
    return inside


@pytest.fixture(scope="module")
def index(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> PageIndex:
    made = PageIndex(tmp_path_factory.mktemp("index"), ScriptedEmbedder())
    made.update([folder])
    return made


class TestIntegration(RetrieversIntegrationTests):
    @pytest.fixture(autouse=True)
    def _given(self, index: PageIndex) -> None:
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
    (found,) = LlavaPageRetriever(index=index, mode="text").invoke("descale")
    assert found.page_content == "How to descale it"
    assert found.metadata["document"] == found.metadata["source"] == str(folder / "manual.pdf")
    assert found.metadata["page"] == 2
    assert found.metadata["snippet"] == "How to descale it"
    assert found.metadata["score"] > 0
    assert found.metadata["handle"] in shared_store()


def test_a_found_page_can_be_asked_by_its_handle(index: PageIndex) -> None:
    backend = ScriptedBackend(["every month"])
    (found,) = LlavaPageRetriever(index=index, k=1, mode="text").invoke("descale")
    block = {"type": "image", "file_id": found.metadata["handle"]}
    ChatLlava(backend=backend).invoke([HumanMessage([block, {"type": "text", "text": "When?"}])])
    assert backend.requests[0].messages[-1].images[0].handle == found.metadata["handle"]


async def test_async_and_batches(index: PageIndex) -> None:
    retriever = LlavaPageRetriever(index=index, k=2)
    one = await retriever.ainvoke("coffee")
    assert (
        [one, one]
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


def test_errors_are_langchains_too(index: PageIndex, tmp_path: Path) -> None:
    with pytest.raises(langchain.LangChainException, match="There is no index") as none:
        LlavaPageRetriever(index=tmp_path / "none").invoke("coffee")
    assert isinstance(none.value, IndexStoreError)
    with pytest.raises(langchain.ModelInvalidRequestError, match="k=0") as bad:
        LlavaPageRetriever(index=index).invoke("coffee", k=0)
    assert isinstance(bad.value, RequestError)
    write_pdf(tmp_path / "in.pdf", ["old"])
    other = PageIndex(tmp_path / "index", ScriptedEmbedder())
    other.update([tmp_path / "in.pdf"])
    write_pdf(tmp_path / "in.pdf", ["new and longer"])
    with pytest.raises(langchain.ModelInvalidRequestError, match="changed") as stale:
        LlavaPageRetriever(index=other).invoke("old")
    assert isinstance(stale.value, DocumentError)
    (found,) = LlavaPageRetriever(index=other, images=False).invoke("old")
    assert found.page_content == "old"
    with pytest.raises(ValueError, match="Extra inputs"):
        LlavaPageRetriever(index=other, top=3)  # type: ignore[call-arg]


def test_the_loader_reads_pages_one_by_one(folder: Path, tmp_path: Path) -> None:
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


def test_loaded_and_found_pages_are_the_same(index: PageIndex, folder: Path) -> None:
    loaded = {document.id: document for document in LlavaPageLoader(folder).lazy_load()}
    for found in LlavaPageRetriever(index=index).invoke("coffee"):
        assert loaded[found.id].page_content == found.page_content
        assert loaded[found.id].metadata["handle"] == found.metadata["handle"]
