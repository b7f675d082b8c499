"""Parts of pages: they cover the page, overlap, and are asked where the whole left doubts."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llava_tools import Llava
from llava_tools.core.requests import Request
from llava_tools.errors import OutputError, ServerError
from llava_tools.retrieval import PageIndex, ask
from llava_tools.retrieval.tiling import LARGE, OVERLAP, regions
from llava_tools.testing import ScriptedBackend, ScriptedEmbedder
from tests.fake_server import FakeServer, Kind
from tests.retrieval.documents import write_pdf

lengths = st.integers(1, 4000)


@given(lengths, lengths)
def test_regions_cover_the_page_and_overlap(width: int, height: int) -> None:
    boxes = regions((width, height))
    if max(width, height) < LARGE:
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
    """An index of one upright page of 1,008 x 1,344 pixels, which has six parts."""
    write_pdf(tmp_path / "in.pdf", ["Tea is brewed here"])
    made = PageIndex(tmp_path / "index", ScriptedEmbedder())
    made.update([tmp_path / "in.pdf"])
    return made


def reader(readable: int | None, whole: float) -> ScriptedBackend:
    """A model that reads 90 in one part (of the parts in their order), and else says it is blurred.

    Args:
        readable: Which part; None for none of them.
        whole: How probably the whole page shows what was answered to it.
    """
    parts: list[str] = []

    def part_of(request: Request) -> int | None:
        (image,) = request.messages[-1].images
        if max(image.size) == 1344:
            return None
        if image.handle not in parts:
            parts.append(image.handle)
        return parts.index(image.handle)

    def say(request: Request) -> str:
        part = part_of(request)
        return "90" if part is not None and part == readable else "blurred"

    def score(request: Request, label: str) -> float:
        part = part_of(request)
        shown = whole if part is None else 0.9 if part == readable else 0.05
        return math.log(shown if "es" in label else 1 - shown)

    return ScriptedBackend(say, scores=score)


def test_a_page_that_shows_its_answer_is_asked_once(index: PageIndex) -> None:
    backend = reader(0, whole=0.8)
    found = ask(index, "How hot?", Llava(backend=backend), k=1)
    assert found.text == "blurred"
    assert len(backend.requests) == 2  # the question, and whether the page shows it
    assert "How hot? blurred" in backend.requests[1].messages[-1].text


def test_small_print_is_read_in_the_part_that_shows_it(index: PageIndex) -> None:
    found = ask(index, "How hot?", Llava(backend=reader(0, 0.2)), k=1)
    (citation,) = found.citations
    assert (found.text, citation.box) == ("90", (0, 0, 672, 672))


def test_the_whole_page_counts_where_no_part_shows_more(index: PageIndex) -> None:
    found = ask(index, "How hot?", Llava(backend=reader(None, 0.2)), k=1)
    assert (found.text, found.citations[0].box) == ("blurred", None)


@pytest.mark.parametrize("option", ["zoom", "use_logprobs"])
def test_pages_are_asked_whole_only_if_told_or_nothing_can_be_weighed(
    index: PageIndex, option: str
) -> None:
    backend = reader(0, 0.2)
    options: Any = {option: False}
    assert ask(index, "How hot?", Llava(backend=backend), k=1, **options).text == "blurred"
    assert len(backend.requests) == 1


def asked(index: PageIndex, kind: Kind, **options: Any) -> tuple[str, int]:
    """The answer of a server of that kind, and how many images it was shown with the question."""
    with FakeServer(("hot",), kind) as server, Llava(base_url=server.url) as model:
        text = ask(index, "How hot?", model, k=1, **options).text
        words = [json.dumps(told["messages"][-1]) for told in server.requests]
        return text, sum("How hot?" in said and "single word" in said for said in words)


def test_servers_zoom_only_if_they_report_log_probabilities_of_prompts(index: PageIndex) -> None:
    assert asked(index, "vllm") == ("hot", 7)  # which says yes and no are equally likely
    assert asked(index, "vllm", zoom=False) == ("hot", 1)
    with pytest.raises(ServerError, match="did not report the probabilities of a prompt's tokens"):
        asked(index, "schemas")
    assert asked(index, "schemas", zoom=False) == ("hot", 1)
    with pytest.raises(OutputError, match="ignored logprobs"):
        asked(index, "minimal", zoom=False)
    assert asked(index, "minimal", use_logprobs=False) == ("hot", 1)
