"""Evidence: questions that the documents do not answer have no source."""

from __future__ import annotations

from pathlib import Path

import pytest

from llava_tools import Llava
from llava_tools.errors import RequestError
from llava_tools.retrieval import PageIndex, ask
from llava_tools.retrieval.evidence import MIN_EVIDENCE, text_evidence
from llava_tools.testing import ScriptedBackend, ScriptedEmbedder
from tests.retrieval.documents import write_pdf

PAGES = [
    "The boiler of the coffee machine is descaled every 90 days.",
    "The water tank of the machine is filled up to the line.",
    "The grinder of the machine has five steps.",
    "The machine is switched off before the lid is opened.",
]
ANSWERED = ["How often is the boiler descaled?", "How many steps has the grinder of the machine?"]
UNANSWERED = ["Who was the president of France in 1960?", "How is the chain of a bicycle oiled?"]


@pytest.fixture
def index(tmp_path: Path) -> PageIndex:
    fillers = [f"How the part number {number} of the machine is made." for number in range(16)]
    write_pdf(tmp_path / "in.pdf", [*PAGES, *fillers])
    index = PageIndex(tmp_path / "index", ScriptedEmbedder())
    index.update([tmp_path / "in.pdf"])
    return index


@pytest.mark.parametrize("question", ANSWERED)
def test_a_question_with_evidence_is_answered(index: PageIndex, question: str) -> None:
    answer = ask(index, question, Llava(backend=ScriptedBackend(["5"])), zoom=False)
    assert (answer.text, answer.is_found) == ("5", True)


@pytest.mark.parametrize("question", UNANSWERED)
def test_a_question_without_evidence_has_no_source_and_reaches_no_model(
    index: PageIndex, question: str
) -> None:
    backend = ScriptedBackend(["5"])
    answer = ask(index, question, Llava(backend=backend), zoom=False)
    assert (answer.text, answer.is_found) == ("Not in these documents.", False)
    assert not backend.requests
    assert ask(index, question, Llava(backend=backend), zoom=False, min_evidence=0).text == "5"


def test_evidence_needs_a_text_that_the_model_reads(index: PageIndex, tmp_path: Path) -> None:
    model = Llava(backend=ScriptedBackend(["5"]))
    assert ask(index, UNANSWERED[0], model, zoom=False, with_text=False).is_found
    write_pdf(tmp_path / "blank.pdf", [""])
    index.update([tmp_path / "blank.pdf"])
    assert ask(index, UNANSWERED[0], model, zoom=False, k=25).is_found  # an image may answer it


def test_evidence_is_a_share_of_the_question_in_which_rare_words_weigh_more(
    index: PageIndex,
) -> None:
    hits = index.search("machine", 25, mode="text")
    assert text_evidence(index, "boiler descaled", hits) == 1.0
    assert text_evidence(index, "bicycle chain", hits) == 0.0
    rare = text_evidence(index, "boiler bicycle", hits)
    common = text_evidence(index, "machine bicycle", hits)
    assert common < MIN_EVIDENCE < rare < 0.5
    assert text_evidence(index, "boiler", []) == 0.0


def test_without_enough_pages_every_question_is_answered(tmp_path: Path) -> None:
    write_pdf(tmp_path / "in.pdf", PAGES)
    small = PageIndex(tmp_path / "small", ScriptedEmbedder())
    small.update([tmp_path / "in.pdf"])
    assert ask(small, UNANSWERED[0], Llava(backend=ScriptedBackend(["5"])), zoom=False).is_found


@pytest.mark.parametrize("least", [-0.1, 1.1, True, "high"])
def test_an_impossible_least_evidence_is_refused(index: PageIndex, least: float) -> None:
    with pytest.raises(RequestError, match="min_evidence="):
        ask(index, "boiler?", Llava(backend=ScriptedBackend()), min_evidence=least)
