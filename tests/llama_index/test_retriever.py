"""`LlavaPageRetriever`: pages of an index as scored nodes with images."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.schema import ImageNode, MetadataMode, TextNode
from llama_index.core.vector_stores.types import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
)
from PIL import Image

from llama_index.llms.llava import Llava
from llama_index.readers.llava import LlavaPageReader
from llama_index.retrievers.llava import LlavaPageRetriever
from llava_tools import ImageStore, open_image
from llava_tools import Llava as Model
from llava_tools.errors import IndexStoreError, RequestError
from llava_tools.images.store import shared_store
from llava_tools.retrieval import PageIndex
from llava_tools.testing import ScriptedBackend, ScriptedEmbedder
from tests.llama_index.releases import since
from tests.retrieval.documents import write_pdf

PAGES = ["A coffee machine", "How to descale it", "Coffee beans", "Warranty"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("in")
    write_pdf(folder / "manual.pdf", PAGES)
    Image.new("RGB", (50, 30), "red").save(folder / "red.png")
    return folder


@pytest.fixture(scope="module")
def index(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> PageIndex:
    index = PageIndex(tmp_path_factory.mktemp("index"), ScriptedEmbedder())
    index.update([folder])
    return index


async def test_nodes_have_image_text_score_and_place(index: PageIndex, folder: Path) -> None:
    retriever = LlavaPageRetriever(index, mode="text")
    (hit,) = retriever.retrieve("descale")
    node = hit.node
    assert isinstance(node, ImageNode)
    assert (node.text, node.metadata["snippet"]) == (PAGES[1], PAGES[1])
    assert (node.metadata["document"], node.metadata["page"]) == (str(folder / "manual.pdf"), 2)
    assert node.metadata["handle"] in shared_store()
    assert (hit.score or 0) > 0
    size = open_image(base64.b64decode(node.image or "")).size
    assert size == (node.metadata["width"], node.metadata["height"])
    assert (
        node.get_metadata_str(MetadataMode.LLM) == node.get_metadata_str(MetadataMode.EMBED) == ""
    )
    assert UUID(node.id_)
    assert await retriever.aretrieve("descale") == [hit]


def test_ids_and_handles_are_those_of_the_reader(index: PageIndex, folder: Path) -> None:
    pages = {d.id_: d.metadata["handle"] for d in LlavaPageReader().load_data(folder)}
    hits = LlavaPageRetriever(index, similarity_top_k=10).retrieve("coffee")
    assert len(hits) == 5
    assert all(pages[hit.node_id] == hit.metadata["handle"] for hit in hits)


def test_scores_fall_and_their_number_is_bounded(index: PageIndex) -> None:
    hits = LlavaPageRetriever(index, similarity_top_k=3).retrieve("coffee")
    scores = [hit.get_score(raise_error=True) for hit in hits]
    assert len(scores) == 3
    assert scores == sorted(scores, reverse=True)


def _filter(key: str, value: Any, operator: str = "==") -> MetadataFilter:
    return MetadataFilter(key=key, value=value, operator=FilterOperator(operator))


@pytest.mark.parametrize(
    ("filters", "pages"),
    [
        ([_filter("page", 2)], {2}),
        ([_filter("page", [2, 4], "in")], {2, 4}),
        ([_filter("page", [2, 4], "nin"), _filter("page", 1, ">")], {3}),
        ([_filter("document", "manual", "text_match"), _filter("page", 2, "<=")], {1, 2}),
        ([_filter("document", "elsewhere.pdf")], set()),
        ([MetadataFilters(filters=[_filter("page", 1, ">")], condition=FilterCondition.NOT)], {1}),
    ],
)
async def test_metadata_filters(index: PageIndex, filters: list[Any], pages: set[int]) -> None:
    retriever = LlavaPageRetriever(index, filters=MetadataFilters(filters=filters))
    assert {hit.metadata["page"] for hit in retriever.retrieve("coffee")} == pages
    assert {hit.metadata["page"] for hit in await retriever.aretrieve("coffee")} == pages


@pytest.mark.parametrize(
    "part",
    [
        _filter("author", "x"),
        _filter("page", "2"),
        _filter("page", None),
        _filter("document", "x", "any"),
        _filter("document", None, "is_empty"),
    ],
)
def test_filters_that_pages_do_not_have_are_refused(index: PageIndex, part: MetadataFilter) -> None:
    with pytest.raises(RequestError):
        LlavaPageRetriever(index, filters=MetadataFilters(filters=[part]))


@since("0.14.22", "query engines show the model no images")
async def test_a_query_engine_shows_the_pages_to_the_model(index: PageIndex) -> None:
    backend = ScriptedBackend(["Every month."])
    engine = RetrieverQueryEngine.from_args(
        LlavaPageRetriever(index, similarity_top_k=1, mode="text"),
        llm=Llava(backend=backend, context_length=4096),
        multimodal=True,
    )
    for answer in (engine.query("When to descale?"), await engine.aquery("When to descale?")):
        assert str(answer) == "Every month."
        assert [source.metadata["page"] for source in answer.source_nodes] == [2]
    for request in backend.requests:
        (image,) = (image for message in request.messages for image in message.images)
        assert max(image.size) == 1344


@pytest.mark.parametrize("model_type", [Model, Llava])
def test_reranking_and_texts_only(index: PageIndex, model_type: Any) -> None:
    def scores(request: Any, label: str) -> float:
        image = request.messages[-1].images[0]
        return 0.0 if ("es" in label) == (image.size == (50, 30)) else -5.0

    model = model_type(backend=ScriptedBackend(scores=scores))
    retriever = LlavaPageRetriever(index, similarity_top_k=2, rerank=model, with_images=False)
    best, _ = retriever.retrieve("coffee")
    assert best.metadata["document"].endswith("red.png")
    assert type(best.node) is TextNode
    assert best.metadata["handle"].startswith("img_")


@pytest.mark.parametrize("change", ["deleted", "changed"])
async def test_a_page_whose_file_is_gone_or_changed_comes_without_its_image(
    tmp_path: Path, change: str
) -> None:
    for name in ("a", "b"):
        write_pdf(tmp_path / f"{name}.pdf", [f"tea {name}"])
    index = PageIndex(tmp_path / "index", ScriptedEmbedder())
    index.update([tmp_path / "a.pdf", tmp_path / "b.pdf"])
    if change == "deleted":
        (tmp_path / "a.pdf").unlink()
    else:
        write_pdf(tmp_path / "a.pdf", ["something else"])
    retriever = LlavaPageRetriever(index)
    for hits in (retriever.retrieve("tea"), await retriever.aretrieve("tea")):
        nodes = {hit.text: hit.node for hit in hits}
        assert isinstance(nodes["tea b"], ImageNode)
        assert type(nodes["tea a"]) is TextNode
        assert "a.pdf" in nodes["tea a"].metadata["note"]
        assert "handle" not in nodes["tea a"].metadata


def test_a_store_of_its_own(index: PageIndex) -> None:
    store = ImageStore()
    (hit,) = LlavaPageRetriever(index, mode="text", image_store=store).retrieve("warranty")
    assert hit.metadata["handle"] in store


def test_impossible_options_and_missing_indexes_raise(index: PageIndex, tmp_path: Path) -> None:
    wrong: list[dict[str, Any]] = [{"similarity_top_k": 0}, {"mode": "both"}]
    for options in wrong:
        with pytest.raises(RequestError):
            LlavaPageRetriever(index, **options)
    with pytest.raises(RequestError, match="no words"):
        LlavaPageRetriever(index).retrieve(" ")
    with pytest.raises(IndexStoreError):
        LlavaPageRetriever(tmp_path / "nowhere").retrieve("coffee")
