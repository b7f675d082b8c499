"""`DocumentQuestion`: the pages that are questioned, and what the model reads of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from llava_tools import Llava
from llava_tools.core.requests import Request
from llava_tools.errors import DocumentError
from llava_tools.retrieval import PageIndex, ask, stream
from llava_tools.retrieval.question import MAX_TEXT_TOKENS
from llava_tools.testing import ScriptedBackend, ScriptedEmbedder
from tests.retrieval.documents import write_pdf


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four documents about tea, one page each."""
    folder = tmp_path / "in"
    folder.mkdir()
    for name in "abcd":
        write_pdf(folder / f"{name}.pdf", [f"Tea {name}"])
    return folder


@pytest.fixture
def index(folder: Path) -> PageIndex:
    index = PageIndex(folder.parent / "index", ScriptedEmbedder())
    index.update([folder])
    return index


def _break(path: Path, kind: str) -> None:
    if kind == "deleted":
        path.unlink()
    elif kind == "changed":
        write_pdf(path, ["Milk"])
    else:
        path.write_bytes(b"%PDF-1.7 broken")


@pytest.mark.parametrize("kind", ["deleted", "changed", "broken"])
@pytest.mark.parametrize("streamed", [False, True])
def test_f5_a_file_that_cannot_be_used_is_skipped_and_reported(
    index: PageIndex, folder: Path, kind: str, streamed: bool
) -> None:
    best = Path(index.search("tea", 1, mode="text")[0].document)
    _break(best, kind)
    model = Llava(backend=ScriptedBackend(["hot"]))
    if streamed:
        *_, answer = stream(index, "tea", model, k=3, mode="text")
    else:
        answer = ask(index, "tea", model, k=3, mode="text")
    assert not isinstance(answer, str)
    assert answer.text == "hot"
    # Another page takes its place.
    others = {str(path) for path in folder.iterdir()} - {str(best)}
    assert {item.document for item in answer.citations} == others
    (skipped,) = answer.skipped
    assert skipped.document == str(best)
    assert "cannot be read" in skipped.reason or "changed after" in skipped.reason
    assert answer.as_dict()["skipped"] == [{"document": skipped.document, "reason": skipped.reason}]


def test_f5_an_error_if_no_matching_file_can_be_used(index: PageIndex, folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
    with pytest.raises(DocumentError, match=r"\.pdf' cannot be read any more"):
        ask(index, "tea", Llava(backend=ScriptedBackend()), k=3)


def test_f5_a_file_that_vanishes_while_the_model_answers_is_cited_without_a_box(
    index: PageIndex, folder: Path
) -> None:
    def script(request: Request) -> str:
        for path in folder.iterdir():
            path.unlink()
        return "Tea"

    answer = ask(index, "tea", Llava(backend=ScriptedBackend(script)), k=1, mode="text")
    (citation,) = answer.citations
    assert (citation.answer, citation.box) == ("Tea", None)


def test_a_long_question_finds_the_page_that_has_few_of_its_words(index: PageIndex) -> None:
    question = "In the document with the word tea somewhere: which amount stands at the bottom?"
    assert index.search(question, mode="text") == []
    answer = ask(index, question, Llava(backend=ScriptedBackend(["7"])), k=1, mode="text")
    assert (answer.text, len(answer.citations)) == ("7", 1)


FILLER = "The valve is closed before the lid comes off. " * 80


@pytest.fixture
def long_page(tmp_path: Path) -> PageIndex:
    """An index of a page with a long text, whose end answers a question."""
    index = PageIndex(tmp_path / "index", ScriptedEmbedder())
    text = FILLER + "The boiler is descaled every ninety days."
    write_pdf(tmp_path / "in.pdf", [text], size=(30_000, 400))
    index.update([tmp_path / "in.pdf"])
    return index


@pytest.mark.parametrize(("context", "most"), [(4096, MAX_TEXT_TOKENS), (1024, 256)])
def test_f11_the_passages_that_fit_the_question_are_in_the_prompt_by_default(
    long_page: PageIndex, context: int, most: int
) -> None:
    backend = ScriptedBackend(["x"], context_length=context)
    ask(long_page, "How often is the boiler descaled?", Llava(backend=backend), k=1, zoom=False)
    (request,) = backend.requests
    text = request.messages[-1].text
    assert "The boiler is descaled every ninety days." in text
    assert len(text) / 3 < most + 60  # a token for three letters, and the question


def test_f11_text_is_left_out_on_request_and_of_pages_without_one(
    long_page: PageIndex, tmp_path: Path
) -> None:
    backend = ScriptedBackend(["x"])
    model = Llava(backend=backend)
    ask(long_page, "boiler?", model, k=1, zoom=False, with_text=False)
    write_pdf(tmp_path / "blank.pdf", [""])
    blank = PageIndex(tmp_path / "blank", ScriptedEmbedder())
    blank.update([tmp_path / "blank.pdf"])
    ask(blank, "boiler?", model, k=1, zoom=False)
    assert [request.messages[-1].text.startswith("boiler?\nAnswer") for request in backend.requests]
    assert all("OCR token" not in request.messages[-1].text for request in backend.requests)


@pytest.mark.parametrize(("with_text", "has_text"), [(None, False), (True, True)])
def test_the_embedded_model_reads_text_only_on_request(
    long_page: PageIndex, with_text: bool | None, has_text: bool
) -> None:
    backend = ScriptedBackend(["x"])
    backend.model_name = "llava-tools/tiny"
    ask(long_page, "boiler?", Llava(backend=backend), k=1, zoom=False, with_text=with_text)
    assert ("OCR token" in backend.requests[0].messages[-1].text) == has_text


def test_an_answer_that_the_text_contains_needs_no_tiles(long_page: PageIndex) -> None:
    backend = ScriptedBackend(["ninety days"], scores=lambda request, label: -1.0)
    answer = ask(long_page, "How often is the boiler descaled?", Llava(backend=backend), k=1)
    assert len(backend.requests) == 1
    assert "every ninety days" in answer.citations[0].snippet
    unread = ScriptedBackend(["ninety days"], scores=lambda request, label: -1.0)
    ask(long_page, "How often?", Llava(backend=unread), k=1, with_text=False)
    assert len(unread.requests) > 1
