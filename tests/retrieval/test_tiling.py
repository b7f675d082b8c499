"""Tiling: tiles cover the page and overlap; they are used if the page does not show its answer."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llava_tools import Embedder, Llava
from llava_tools.cli.main import main
from llava_tools.core.requests import Request
from llava_tools.errors import OutputError, ServerError
from llava_tools.retrieval import DocumentAnswer, PageIndex, aask, ask, astream
from llava_tools.retrieval.tiling import MIN_TILED_SIDE, OVERLAP, tiles
from llava_tools.testing import ScriptedBackend, ScriptedEmbedder
from tests.fake_server import FakeServer, Kind
from tests.retrieval.documents import write_pdf

lengths = st.integers(1, 4000)


@given(lengths, lengths)
def test_tiles_cover_the_page_and_overlap(width: int, height: int) -> None:
    boxes = tiles((width, height))
    if max(width, height) < MIN_TILED_SIDE:
        assert boxes == []
        return
    side = max(width, height) // 2
    assert 2 <= len(boxes) <= 9
    for start, end, length in ((0, 2, width), (1, 3, height)):
        spans = sorted({(box[start], box[end]) for box in boxes})
        assert spans[0][0] == 0
        assert spans[-1][1] == length
        assert all(stop - begin == min(side, length) for begin, stop in spans)
        for (_, stop), (begin, _) in pairwise(spans):
            assert stop - begin >= OVERLAP * side - 1
    assert len(set(boxes)) == len(boxes)


@pytest.fixture
def index(tmp_path: Path) -> PageIndex:
    """An index of one upright page of 1,008 x 1,344 pixels, which has six tiles."""
    write_pdf(tmp_path / "in.pdf", ["Tea is brewed here"])
    index = PageIndex(tmp_path / "index", ScriptedEmbedder())
    index.update([tmp_path / "in.pdf"])
    return index


def make_backend(readable: int | None, whole: float) -> ScriptedBackend:
    """A model that reads 90 in one tile (of the tiles in their order), and else answers blurred.

    Args:
        readable: That tile; None for none of them.
        whole: Probability that the whole page shows its answer.
    """
    handles: list[str] = []

    def tile_of(request: Request) -> int | None:
        (image,) = request.messages[-1].images
        if max(image.size) == 1344:
            return None
        if image.handle not in handles:
            handles.append(image.handle)
        return handles.index(image.handle)

    def script(request: Request) -> str:
        tile = tile_of(request)
        return "90" if tile is not None and tile == readable else "blurred"

    def score(request: Request, label: str) -> float:
        tile = tile_of(request)
        shown = whole if tile is None else 0.9 if tile == readable else 0.05
        return math.log(shown if "es" in label else 1 - shown)

    return ScriptedBackend(script, scores=score)


def test_page_that_shows_its_answer_is_not_tiled(index: PageIndex) -> None:
    backend = make_backend(0, whole=0.8)
    answer = ask(index, "How hot?", Llava(backend=backend), k=1)
    assert answer.text == "blurred"
    assert len(backend.requests) == 2  # the question, and whether the page shows the answer
    assert "How hot? blurred" in backend.requests[1].messages[-1].text


def test_answer_comes_from_the_tile_that_shows_it(index: PageIndex) -> None:
    answer = ask(index, "How hot?", Llava(backend=make_backend(0, 0.2)), k=1)
    (citation,) = answer.citations
    assert (answer.text, citation.box) == ("90", (0, 0, 672, 672))


def test_whole_page_counts_if_no_tile_shows_more(index: PageIndex) -> None:
    answer = ask(index, "How hot?", Llava(backend=make_backend(None, 0.2)), k=1)
    assert (answer.text, answer.citations[0].box) == ("blurred", None)


@pytest.mark.parametrize("option", ["zoom", "use_logprobs"])
def test_pages_are_not_tiled_without_zoom_or_logprobs(index: PageIndex, option: str) -> None:
    backend = make_backend(0, 0.2)
    options: Any = {option: False}
    assert ask(index, "How hot?", Llava(backend=backend), k=1, **options).text == "blurred"
    assert len(backend.requests) == 1


def ask_server(index: PageIndex, kind: Kind, **options: Any) -> tuple[str, int]:
    """The answer of a server of that kind, and how many requests had the question."""
    with FakeServer(("hot",), kind) as server, Llava(base_url=server.url) as model:
        text = ask(index, "How hot?", model, k=1, **options).text
        messages = [json.dumps(request["messages"][-1]) for request in server.requests]
        return text, sum("How hot?" in m and "single word" in m for m in messages)


def test_servers_are_tiled_only_if_they_report_logprobs_of_prompts(index: PageIndex) -> None:
    assert ask_server(index, "vllm") == ("hot", 7)  # for which yes and no are equally likely
    assert ask_server(index, "vllm", zoom=False) == ("hot", 1)
    with pytest.raises(ServerError, match="did not report the probabilities of a prompt's tokens"):
        ask_server(index, "schemas", zoom=True)
    assert ask_server(index, "schemas") == ("hot", 1)
    assert ask_server(index, "schemas", zoom=False) == ("hot", 1)


def test_questions_do_without_logprobs_that_a_server_lacks(index: PageIndex) -> None:
    for kind in ("minimal", "strict"):
        assert ask_server(index, kind) == ("hot", 1)
        assert ask_server(index, kind, use_logprobs=False) == ("hot", 1)
    with pytest.raises(OutputError, match="ignored logprobs"):
        ask_server(index, "minimal", use_logprobs=True, zoom=False)


@pytest.mark.slow  # it loads an embedder
def test_the_command_asks_servers_without_logprobs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_pdf(tmp_path / "in.pdf", ["Tea is brewed here"])
    with FakeServer(("hot",), "minimal") as server, Embedder() as embedder:
        PageIndex(tmp_path / "index", embedder).update([tmp_path / "in.pdf"])
        command = ["ask", "--index", str(tmp_path / "index"), "How hot?", "--base-url", server.url]
        assert main(command) == 0
        output = capsys.readouterr()
        assert output.out.startswith("hot\n")
        assert "whole pages were used" in output.err
        assert main([*command, "--no-zoom"]) == 0
        assert capsys.readouterr().err == ""


async def test_async_questions_do_without_logprobs_that_a_server_lacks(index: PageIndex) -> None:
    with FakeServer(("hot",), "minimal") as server, Llava(base_url=server.url) as model:
        assert (await aask(index, "How hot?", model, k=1)).text == "hot"
        parts = [part async for part in astream(index, "How hot?", model, k=1, short=False)]
    assert isinstance(parts[-1], DocumentAnswer)
    assert parts[-1].citations
    assert [body.get("logprobs") for body in server.requests] == [None, None, None]
