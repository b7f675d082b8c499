"""`PageIndex.search`: modes, the order of the hits, snippets, refused queries."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from llava_tools import Llava
from llava_tools.errors import RequestError
from llava_tools.retrieval import PageIndex
from llava_tools.retrieval.search import SearchMode, make_snippet
from llava_tools.testing import ScriptedBackend, ScriptedEmbedder
from tests.retrieval.documents import write_pdf


def make_index(tmp_path: Path, texts: list[str], nearest: int) -> PageIndex:
    """An index whose page `nearest` is the nearest to every query."""
    calls: list[int] = []

    def images(image: object) -> tuple[float, float]:
        calls.append(1)
        return (1.0, 0.0) if len(calls) == nearest else (0.1 * len(calls), 1.0)

    write_pdf(tmp_path / "in.pdf", texts)
    index = PageIndex(tmp_path / "index", ScriptedEmbedder(images=images))
    index.update([tmp_path / "in.pdf"])
    return index


@pytest.mark.parametrize(("mode", "first"), [("text", 1), ("image", 2), ("hybrid", 1)])
def test_modes_rank_by_text_by_image_or_by_both(
    tmp_path: Path, mode: SearchMode, first: int
) -> None:
    texts = ["a coffee machine", "something", "a long coffee story it is"]
    hits = make_index(tmp_path, texts, nearest=2).search("coffee", mode=mode)
    assert hits[0].page == first
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert {hit.page for hit in hits} == ({1, 3} if mode == "text" else {1, 2, 3})


def test_rerank_orders_hits_by_the_model_scores(tmp_path: Path) -> None:
    index = make_index(tmp_path, ["one coffee", "two coffee", "three coffee"], nearest=1)
    last = index.search("coffee")[-1]

    def scores(request: object, label: str) -> float:
        image = request.messages[-1].images[0]  # type: ignore[attr-defined]
        return 0.0 if ("es" in label) == (image.handle == last.handle) else -5.0

    model = Llava(backend=ScriptedBackend(scores=scores))
    (best,) = index.search("coffee", 1, rerank=model)
    assert (best.page, best.score > 0.9) == (last.page, True)


@pytest.mark.parametrize("query", ["'", '"', "a AND", "(", "*", "x:y", "-", "☃ ☃", "a'b OR 1=1"])
def test_query_syntax_is_plain_text(tmp_path: Path, query: str) -> None:
    index = make_index(tmp_path, ["one"], nearest=1)
    assert [hit.page for hit in index.search(query)] == [1]


@pytest.mark.parametrize("mode", ["text", "image", "hybrid"])
def test_lone_surrogates_match_nothing(tmp_path: Path, mode: SearchMode) -> None:
    index = make_index(tmp_path, ["one coffee"], nearest=1)
    (hit,) = index.search("coffee \ud800", mode=mode)
    assert hit.page == 1
    assert index.locate(hit, "one \udce9") is None
    assert index.locate(hit, "coffee") is not None


def test_impossible_searches_are_refused(tmp_path: Path) -> None:
    index = PageIndex(tmp_path / "none")
    for arguments in (("",), ("x", 0), ("x", True), ("x", 1001)):
        with pytest.raises(RequestError):
            index.search(*arguments)
    with pytest.raises(RequestError, match="10,001 characters, more than the 10,000"):
        index.search("x" * 10_001)
    with pytest.raises(RequestError, match="mode='smell'"):
        index.search("x", mode="smell")


@given(st.text(max_size=900), st.text(max_size=30))
def test_snippet_is_a_substring_of_the_text(text: str, query: str) -> None:
    snippet = make_snippet(text, query).removeprefix("… ").removesuffix(" …")
    assert snippet in text
    assert len(snippet) <= 400


def test_snippet_contains_the_words_of_the_query() -> None:
    text = "filler " * 100 + "descale the machine every month " + "filler " * 100
    assert "descale the machine" in make_snippet(text, "When to descale my machine?")
    assert make_snippet("short", "nothing") == "short"


@pytest.mark.parametrize("mode", ["text", "image", "hybrid"])
def test_quoted_phrases_must_be_on_the_page(tmp_path: Path, mode: SearchMode) -> None:
    texts = ["a coffee machine", "machine for coffee", "the coffee   machine"]
    index = make_index(tmp_path, texts, nearest=2)
    assert {hit.page for hit in index.search('"coffee machine"', mode=mode)} == {1, 3}
    assert index.search('"coffee for machine"', mode=mode) == []


def test_scores_of_texts_are_comparable_across_searches(tmp_path: Path) -> None:
    texts = ["descale the coffee machine every month", "the coffee is hot", "other words"]
    index = make_index(tmp_path, texts, nearest=1)

    def scores(query: str) -> list[float]:
        return [hit.score for hit in index.search(query, mode="text")]

    assert scores("descale the coffee machine")[0] == 1.0
    assert scores("DÉSCALE")[0] == 1.0
    assert 0.5 < scores("coffee machine wombats")[0] < 1.0
    assert all(0 < score <= 1 for score in scores("the coffee"))
    assert scores("wombats eat zxqv") == []


def test_nothing_is_found_if_nothing_is_near(tmp_path: Path) -> None:
    pages = [f"machine {page} " + " ".join([f"part{page}"] * 30) for page in range(30)]
    write_pdf(tmp_path / "in.pdf", pages, (3000, 400))
    index = PageIndex(tmp_path / "index", ScriptedEmbedder())  # vectors by chance
    index.update([tmp_path / "in.pdf"])
    assert index.search("machine part7")[0].page == 8
    assert index.search("wombats") == []
    assert index.search("wombats", mode="text") == []


def test_hybrid_search_embeds_no_query_if_vectors_cannot_change_the_order(tmp_path: Path) -> None:
    """Vectors by chance, and no page without a text: the embedder's model is not needed."""
    queries: list[str] = []

    def texts(text: str) -> tuple[float, float]:
        queries.append(text)
        return 1.0, 0.0

    folder = tmp_path / "in"
    folder.mkdir()
    pages = [f"coffee {page} " + " ".join([f"n{page}"] * 30) for page in range(20)]
    write_pdf(folder / "manual.pdf", pages, (3000, 400))
    index = PageIndex(tmp_path / "index", ScriptedEmbedder(texts))
    index.update([folder])
    assert index.calibration.image_weight == 0

    def embedded_for(mode: SearchMode) -> bool:
        queries.clear()
        assert index.search("coffee", mode=mode)
        return queries == ["coffee"]

    assert [embedded_for(mode) for mode in ("hybrid", "image", "text")] == [False, True, False]
    orders = [
        [hit.page for hit in index.search("coffee n7", 20, mode=mode)]
        for mode in ("hybrid", "text")
    ]
    assert orders[0] == orders[1]
    Image.new("RGB", (20, 20)).save(folder / "image.png")
    index.update([folder])
    assert embedded_for("hybrid")
    index.remove([folder / "image.png"])
    assert not embedded_for("hybrid")


def test_a_page_is_found_by_its_handle(tmp_path: Path) -> None:
    index = make_index(tmp_path, ["one coffee", "two tea"], nearest=1)
    (hit,) = index.search("tea", 1, mode="text")
    found = index.find_page(hit.handle)
    assert found is not None
    assert (found.document, found.page, found.digest) == (hit.document, 2, hit.digest)
    assert index.open(found).handle == hit.handle


@pytest.mark.parametrize("handle", ["", "img_" + "0" * 24, "x' OR '1'='1"])
def test_an_unknown_handle_finds_no_page(tmp_path: Path, handle: str) -> None:
    assert make_index(tmp_path, ["one coffee"], nearest=1).find_page(handle) is None


def test_pages_of_a_removed_file_are_not_found_by_handle(tmp_path: Path) -> None:
    index = make_index(tmp_path, ["one coffee"], nearest=1)
    (hit,) = index.search("coffee", 1, mode="text")
    index.remove([hit.document])
    assert index.find_page(hit.handle) is None
