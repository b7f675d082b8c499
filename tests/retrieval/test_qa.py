"""`ask`: each page gets a request of its own; answers are merged, cited, located and displayed."""

from __future__ import annotations

import io
import math
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from llava_tools import Llava
from llava_tools.core.backend import Stream
from llava_tools.core.outputs import Chunk
from llava_tools.core.requests import Request
from llava_tools.errors import DocumentError, RequestError
from llava_tools.retrieval import DocumentAnswer, PageIndex, aask, ask, astream, stream
from llava_tools.testing import ScriptedBackend, ScriptedEmbedder, ScriptedStream
from tests.retrieval.documents import write_pdf


@pytest.fixture
def index(tmp_path: Path) -> PageIndex:
    """An index of three pages about coffee, the second one with a number."""
    pages = ["Coffee is good", "Descale coffee machines every 90 days", "Drink coffee & <tea>"]
    write_pdf(tmp_path / "in.pdf", pages)
    index = PageIndex(tmp_path / "index", ScriptedEmbedder())
    index.update([tmp_path / "in.pdf"])
    return index


class PageBackend(ScriptedBackend):
    """A model with one answer for each page, optionally with a probability of its tokens."""

    def __init__(self, index: PageIndex, *answers: str, chances: dict[str, float] | None = None):
        pages = {hit.handle: hit.page for hit in index.search("coffee", 9)}

        def script(request: Request) -> str:
            (image,) = request.messages[-1].images
            return answers[pages[image.handle] - 1]

        super().__init__(script)
        self.chances = chances or {}

    def stream(self, request: Request) -> Stream:
        """Return the scripted chunks with their probabilities."""
        return ScriptedStream(self, [self._weighted(chunk) for chunk in super().stream(request)])

    def _weighted(self, chunk: Chunk) -> Chunk:
        logprob = math.log(self.chances.get(chunk.text, 1.0))
        return replace(
            chunk, logprobs=tuple(replace(token, logprob=logprob) for token in chunk.logprobs)
        )


def test_each_page_gets_its_own_request_and_equal_answers_count_together(index: PageIndex) -> None:
    backend = PageBackend(index, "90 days", "The 90 days.", "never")
    answer = ask(index, "How often is coffee descaled?", Llava(backend=backend), k=3, zoom=False)
    assert {citation.page for citation in answer.citations} == {1, 2}
    assert [citation.page for citation in answer.others] == [3]
    assert answer.text in ("90 days", "The 90 days.")
    assert answer.certainty < 1  # two pages of three
    assert len(backend.requests) == 3
    for request in backend.requests:
        assert len(request.messages[-1].images) == 1
        assert request.messages[-1].text.endswith("single word or phrase.")


def test_box_encloses_the_answer_in_the_text_layer(index: PageIndex) -> None:
    answer = ask(index, "How often?", Llava(backend=PageBackend(index, "", "90 days", "")), k=3)
    (citation,) = answer.citations
    assert (citation.page, citation.snippet) == (2, "Descale coffee machines every 90 days")
    assert citation.box is not None
    pixels = citation.image.rgb().crop(citation.box).convert("L")
    assert pixels.getextrema() == (0, 255)  # ink on paper
    assert citation.box.y1 < 0.2 * citation.image.size[1]
    assert Image.open(io.BytesIO(citation.thumbnail)).size[1] == 256


def test_target_is_located_by_the_text_layer_or_else_by_the_model(index: PageIndex) -> None:
    def script(request: Request) -> str:
        return "yes" if request.constraint.unconstrained else "[0.5, 0.5, 0.75, 0.75]"

    certain = ScriptedBackend(script, scores=lambda request, label: 0.0 if "es" in label else -9.0)
    model = Llava(backend=certain)
    written = ask(index, "Any descale?", model, k=1, mode="text", target="descale")
    assert written.citations[0].box is not None
    assert all(request.constraint.unconstrained for request in certain.requests)  # no box
    drawn = ask(index, "Is there any coffee?", model, k=1, target="a brown cup")
    assert drawn.citations[0].box == (504, 672, 840, 1008)  # un-padded
    unsure = ScriptedBackend(script, scores=lambda request, label: -9.0 if "es" in label else 0.0)
    unlocated = ask(index, "Is there any coffee?", Llava(backend=unsure), k=1, target="a brown cup")
    assert unlocated.citations[0].box is None


def test_a_certain_answer_outweighs_two_uncertain_ones(index: PageIndex) -> None:
    chances = {"never": 0.1, "90": 0.9}
    model = Llava(backend=PageBackend(index, "never", "90", "never", chances=chances))
    answer = ask(index, "How often?", model, k=3, zoom=False)
    assert (answer.text, answer.citations[0].certainty) == ("90", 0.9)
    unweighted = ask(index, "How often?", model, k=3, use_logprobs=False)
    assert unweighted.text == "never"
    assert unweighted.citations[0].certainty == 1.0


def test_a_question_without_a_matching_page_has_no_source(index: PageIndex) -> None:
    backend = ScriptedBackend()
    answer = ask(index, "zebra", Llava(backend=backend), mode="text")
    assert (answer.text, answer.certainty) == ("Not in these documents.", 0.0)
    assert (answer.is_found, answer.citations, answer.others) == (False, (), ())
    assert not backend.requests
    assert answer._repr_png_() is None
    assert "Not in these documents." in answer._repr_html_()


def script_sentences(request: Request) -> str:
    """Return a phrase for the prompt of short answers, and else a sentence."""
    short = request.messages[-1].text.endswith("phrase.")
    return "90 days" if short else "Descale it every 90 days."


def test_stream_has_the_answer_in_parts_and_then_its_citations(index: PageIndex) -> None:
    backend = ScriptedBackend(script_sentences)
    *parts, answer = stream(index, "Descale?", Llava(backend=backend), k=1, short=False)
    assert parts == ["Descale", " it", " every", " 90", " days."]
    assert isinstance(answer, DocumentAnswer)
    assert answer.text == "Descale it every 90 days."
    (citation,) = answer.citations
    assert (citation.answer, citation.page) == ("90 days", 2)
    assert citation.box is not None
    assert answer == ask(index, "Descale?", Llava(backend=backend), k=1, short=False)


async def test_astream_has_the_same_items_as_stream(index: PageIndex) -> None:
    model = Llava(backend=ScriptedBackend(script_sentences))
    for short in (True, False):
        items = [item async for item in astream(index, "Descale?", model, k=1, short=short)]
        assert items == list(stream(index, "Descale?", model, k=1, short=short))


def test_a_short_answer_is_streamed_in_one_part(index: PageIndex) -> None:
    model = Llava(backend=PageBackend(index, "b", "a", "b"))
    assert list(stream(index, "coffee?", model)) == ["b", ask(index, "coffee?", model)]


def test_closing_a_stream_stops_the_generation(index: PageIndex) -> None:
    backend = ScriptedBackend(script_sentences)
    parts = stream(index, "Descale?", Llava(backend=backend), k=1, short=False)
    next(parts)
    parts.close()
    assert backend.closed_early == 1


def test_with_text_adds_the_snippet_to_the_prompt(index: PageIndex) -> None:
    backend = ScriptedBackend(["x"])
    ask(index, "Descale?", Llava(backend=backend), k=1, mode="text", with_text=True)
    assert "OCR token: Descale coffee machines" in backend.requests[0].messages[-1].text


async def test_aask_returns_the_same_as_ask(index: PageIndex) -> None:
    model = Llava(backend=PageBackend(index, "b", "a", "b"))
    answer = await aask(index, "coffee?", model)
    assert answer.as_dict() == ask(index, "coffee?", model).as_dict()
    assert answer.text == "b"


def test_notebooks_display_the_answer_with_its_pages(index: PageIndex) -> None:
    answer = ask(index, "tea?", Llava(backend=PageBackend(index, "", "", "<tea>")), k=3)
    page = answer._repr_html_()
    assert page.count("<figure>") == 1
    assert "page 3" in page
    assert "&lt;tea&gt;" in page
    assert "<tea>" not in page
    image = Image.open(io.BytesIO(answer._repr_png_()))
    assert (255, 0, 0) in {colour for _, colour in image.convert("RGB").getcolors(1 << 24) or ()}


def test_impossible_questions_and_options_are_refused(index: PageIndex, tmp_path: Path) -> None:
    model = Llava(backend=ScriptedBackend())
    with pytest.raises(RequestError, match="has no words"):
        ask(index, " ", model)
    with pytest.raises(RequestError, match="Did you mean 'target'"):
        ask(index, "?", model, targets="cup")  # type: ignore[call-arg]
    with pytest.raises(RequestError, match="target=' ' is blank"):
        ask(index, "?", model, target=" ")
    write_pdf(tmp_path / "in.pdf", ["other"])
    with pytest.raises(DocumentError, match="changed after it was indexed"):
        ask(index, "coffee", model)
