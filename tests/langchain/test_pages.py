"""`LlavaPageRetriever` and `LlavaPageLoader`: standard tests, metadata, handles, errors."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
from langchain_core.callbacks import get_usage_metadata_callback
from langchain_core.messages import HumanMessage
from langchain_core.retrievers import BaseRetriever
from langchain_tests.integration_tests import RetrieversIntegrationTests
from PIL import Image

from langchain_llava import ChatLlava, LlavaPageLoader, LlavaPageRetriever
from langchain_llava import compat as langchain
from llava_tools import Llava
from llava_tools.errors import IndexStoreError, RequestError
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
    assert (document.metadata["width"], document.metadata["height"]) == (1008, 1344)
    assert document.metadata["handle"] in shared_store()


def test_images_go_to_the_image_store(index: PageIndex, folder: Path, tmp_path: Path) -> None:
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


async def test_call_overrides_k_in_every_way_to_call(index: PageIndex) -> None:
    retriever = LlavaPageRetriever(index=index, k=3)
    found = [
        retriever.invoke("coffee", k=1),
        await retriever.ainvoke("coffee", k=1),
        *retriever.batch(["coffee"], k=1),
        *(await retriever.abatch(["coffee"], k=1)),
    ]
    assert [len(documents) for documents in found] == [1, 1, 1, 1]
    assert all(documents == found[0] for documents in found)
    with pytest.raises(RequestError, match="k=0"):
        await retriever.ainvoke("coffee", k=0)
    with pytest.raises(TypeError, match="top"):
        retriever.invoke("coffee", top=1)
    with pytest.raises(TypeError, match="top"):
        await retriever.ainvoke("coffee", top=1)


async def test_async_and_batches(index: PageIndex) -> None:
    retriever = LlavaPageRetriever(index=index, k=2)
    documents = await retriever.ainvoke("coffee")
    assert (
        [documents, documents]
        == await retriever.abatch(["coffee", "coffee"])
        == retriever.batch(["coffee"] * 2)
    )


@pytest.mark.parametrize("llm_class", [Llava, ChatLlava])
async def test_reranking(index: PageIndex, llm_class: type[Llava] | type[ChatLlava]) -> None:
    last = LlavaPageRetriever(index=index, k=4).invoke("coffee")[-1].metadata["handle"]

    def scores(request: Any, label: str) -> float:
        return 0.0 if ("es" in label) == (request.messages[-1].images[0].handle == last) else -9.0

    backend = ScriptedBackend(scores=scores)
    retriever = LlavaPageRetriever(index=index, k=2, rerank=llm_class(backend=backend))
    with get_usage_metadata_callback() as usage:
        (best, _) = retriever.invoke("coffee")
        (again, _) = await retriever.ainvoke("coffee")
    assert best.metadata["handle"] == again.metadata["handle"] == last
    tokens = sum(map(backend.count_tokens, backend.requests))
    assert usage.usage_metadata["scripted"]["input_tokens"] == tokens


def test_errors_are_also_langchains(index: PageIndex, tmp_path: Path) -> None:
    with pytest.raises(langchain.LangChainException, match="There is no index") as missing:
        LlavaPageRetriever(index=tmp_path / "none").invoke("coffee")
    assert isinstance(missing.value, IndexStoreError)
    with pytest.raises(langchain.ModelInvalidRequestError, match="k=0") as wrong:
        LlavaPageRetriever(index=index).invoke("coffee", k=0)
    assert isinstance(wrong.value, RequestError)
    for options, message in (
        ({"top": 3}, "LlavaPageRetriever takes no option 'top'"),
        ({"mode": "picture"}, "mode='picture' is not possible"),
    ):
        with pytest.raises(langchain.ModelInvalidRequestError, match=message) as unknown:
            LlavaPageRetriever(index=index, **options)
        assert isinstance(unknown.value, RequestError)


@pytest.mark.parametrize(("change", "note"), [("delete", "gone"), ("write", "changed")])
@pytest.mark.parametrize("rerank", [False, True])
async def test_page_whose_file_is_gone_or_changed_comes_without_its_image(
    change: str, note: str, rerank: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_pdf(tmp_path / "a.pdf", ["old tea"])
    write_pdf(tmp_path / "b.pdf", ["new tea"])
    index = PageIndex(tmp_path / "index", ScriptedEmbedder())
    index.update([tmp_path / "a.pdf", tmp_path / "b.pdf"])
    if change == "delete":
        (tmp_path / "a.pdf").unlink()
    else:
        write_pdf(tmp_path / "a.pdf", ["other and longer"])
    judge = Llava(backend=ScriptedBackend()) if rerank else None
    retriever = LlavaPageRetriever(index=index, rerank=judge)
    with caplog.at_level("WARNING", "llava_tools"):
        documents = retriever.invoke("tea")
    assert "a.pdf has no image" in caplog.text
    assert await retriever.ainvoke("tea") == documents
    found = {Path(document.metadata["document"]).name: document for document in documents}
    lost, kept = found["a.pdf"], found["b.pdf"]
    assert lost.page_content == "old tea"
    assert "handle" not in lost.metadata
    assert note in lost.metadata["note"]
    assert kept.metadata["handle"] in shared_store()
    assert "note" not in kept.metadata
    if rerank:
        assert documents == [kept, lost]
        assert lost.metadata["score"] == 0
    for document in LlavaPageRetriever(index=index, with_images=False).invoke("tea"):
        assert "note" not in document.metadata


@pytest.mark.parametrize("kind", ["folder", "index"])
def test_used_retriever_can_be_pickled(kind: str, tmp_path: Path) -> None:
    write_pdf(tmp_path / "a.pdf", ["green tea"])
    PageIndex(tmp_path / "index").update([tmp_path / "a.pdf"])
    folder = tmp_path / "index"
    retriever = LlavaPageRetriever(index=folder if kind == "folder" else PageIndex(folder), k=2)
    documents = retriever.invoke("tea")
    again = pickle.loads(pickle.dumps(retriever))
    assert again.k == 2
    assert again.invoke("tea") == documents


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
