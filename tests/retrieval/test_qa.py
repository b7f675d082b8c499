"""`ask`: pages are asked one by one, merged, cited, and shown."""

from __future__ import annotations

import io
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from llava_tools import Llava
from llava_tools.core.requests import Request
from llava_tools.errors import DocumentError, RequestError
from llava_tools.retrieval import PageIndex, aask, ask
from llava_tools.testing import ScriptedBackend, ScriptedEmbedder
from tests.retrieval.documents import write_pdf


@pytest.fixture
def index(tmp_path: Path) -> PageIndex:
    """An index of three pages about coffee, the second one of which says a number."""
    pages = ["Coffee is good", "Descale coffee machines every 90 days", "Drink coffee & <tea>"]
    write_pdf(tmp_path / "in.pdf", pages)
    made = PageIndex(tmp_path / "index", ScriptedEmbedder())
    made.update([tmp_path / "in.pdf"])
    return made


def by_page(index: PageIndex, *answers: str) -> ScriptedBackend:
    """A model that gives each page its own answer."""
    hits = {hit.handle: hit.page for hit in index.search("coffee", 9)}

    def script(request: Request) -> str:
        (image,) = request.messages[-1].images
        return answers[hits[image.handle] - 1]

    return ScriptedBackend(script)


def test_every_page_is_asked_by_itself_and_equal_answers_win(index: PageIndex) -> None:
    backend = by_page(index, "90 days", "The 90 days.", "never")
    found = ask(index, "How often is coffee descaled?", Llava(backend=backend), k=3, zoom=False)
    assert {citation.page for citation in found.citations} == {1, 2}
    assert [citation.page for citation in found.others] == [3]
    assert found.text in ("90 days", "The 90 days.")
    assert found.certainty < 1  # two pages of three
    assert len(backend.requests) == 3
    for request in backend.requests:
        assert len(request.messages[-1].images) == 1
        assert request.messages[-1].text.endswith("single word or phrase.")


def test_the_answers_own_words_are_boxed(index: PageIndex) -> None:
    found = ask(index, "How often?", Llava(backend=by_page(index, "", "90 days", "")), k=3)
    (citation,) = found.citations
    assert (citation.page, citation.snippet) == (2, "Descale coffee machines every 90 days")
    assert citation.box is not None
    pixels = citation.image.rgb().crop(citation.box).convert("L")
    assert pixels.getextrema() == (0, 255)  # ink on paper
    assert citation.box.y1 < 0.2 * citation.image.size[1]
    assert Image.open(io.BytesIO(citation.thumbnail)).size[1] == 256


def test_a_thing_is_boxed_by_the_text_or_else_by_the_model(index: PageIndex) -> None:
    def script(request: Request) -> str:
        return "[0.5, 0.5, 0.75, 0.75]" if not request.constraint.free else "yes"

    sure = ScriptedBackend(script, scores=lambda request, label: 0.0 if "es" in label else -9.0)
    model = Llava(backend=sure)
    written = ask(index, "Any descale?", model, k=1, mode="text", thing="descale")
    assert written.citations[0].box is not None
    assert all(request.constraint.free for request in sure.requests)  # the model places nothing
    seen = ask(index, "Is there any coffee?", model, k=1, thing="a brown cup")
    assert seen.citations[0].box == (504, 672, 840, 1008)  # un-padded
    unsure = ScriptedBackend(script, scores=lambda request, label: -9.0 if "es" in label else 0.0)
    guess = ask(index, "Is there any coffee?", Llava(backend=unsure), k=1, thing="a brown cup")
    assert guess.citations[0].box is None


def test_a_sure_answer_outweighs_two_unsure_ones(index: PageIndex) -> None:
    class Weighing(ScriptedBackend):
        def stream(self, request: Request) -> Any:
            stream: Any = super().stream(request)
            chance = 0.9 if "90" in str(stream._deltas[0].text) else 0.1
            stream._deltas = [
                replace(
                    delta,
                    logprobs=tuple(replace(lp, logprob=math.log(chance)) for lp in delta.logprobs),
                )
                for delta in stream._deltas
            ]
            return stream

    script = by_page(index, "never", "90", "never")._script
    found = ask(index, "How often?", Llava(backend=Weighing(script)), k=3, zoom=False)
    assert (found.text, found.citations[0].certainty) == ("90", 0.9)
    even = ask(index, "How often?", Llava(backend=Weighing(script)), k=3, use_logprobs=False)
    assert even.text == "never"
    assert even.citations[0].certainty == 1.0


def test_the_text_layer_is_told_where_wanted(index: PageIndex) -> None:
    backend = ScriptedBackend(["x"])
    ask(index, "Descale?", Llava(backend=backend), k=1, mode="text", with_text=True)
    assert "OCR token: Descale coffee machines" in backend.requests[0].messages[-1].text


async def test_async_gives_the_same(index: PageIndex) -> None:
    model = Llava(backend=by_page(index, "b", "a", "b"))
    found = await aask(index, "coffee?", model)
    assert found.as_dict() == ask(index, "coffee?", model).as_dict()
    assert found.text == "b"


def test_it_shows_itself(index: PageIndex) -> None:
    found = ask(index, "tea?", Llava(backend=by_page(index, "", "", "<tea>")), k=3)
    shown = found._repr_html_()
    assert shown.count("<figure>") == 1
    assert "page 3" in shown
    assert "&lt;tea&gt;" in shown
    assert "<tea>" not in shown
    image = Image.open(io.BytesIO(found._repr_png_()))
    assert (255, 0, 0) in {colour for _, colour in image.convert("RGB").getcolors(1 << 24) or ()}


def test_what_cannot_be_asked(index: PageIndex, tmp_path: Path) -> None:
    model = Llava(backend=ScriptedBackend())
    with pytest.raises(RequestError, match="has no words"):
        ask(index, " ", model)
    with pytest.raises(RequestError, match="Did you mean 'thing'"):
        ask(index, "?", model, think="cup")  # type: ignore[call-arg]
    with pytest.raises(RequestError, match="names nothing"):
        ask(index, "?", model, thing=" ")
    with pytest.raises(DocumentError, match="No page says anything of 'zebra'"):
        ask(index, "zebra", model, mode="text")
    write_pdf(tmp_path / "in.pdf", ["other"])
    with pytest.raises(DocumentError, match="changed after it was indexed"):
        ask(index, "coffee", model)
