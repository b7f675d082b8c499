"""Claims: each sentence of an answer has its page, snippet and box."""

from __future__ import annotations

from pathlib import Path

from llava_tools import Llava
from llava_tools.core.requests import Request
from llava_tools.retrieval import PageIndex, ask
from llava_tools.testing import ScriptedBackend, ScriptedEmbedder
from tests.retrieval.documents import write_pdf

PAGES = ["Descale the boiler every 90 days.", "After 90 days descale. The tank holds two litres."]
SENTENCES = ["The boiler is descaled every 90 days.", "Its tank holds two litres!", "It is green."]


def test_each_sentence_cites_the_passage_that_supports_it(tmp_path: Path) -> None:
    write_pdf(tmp_path / "in.pdf", PAGES)
    index = PageIndex(tmp_path / "index", ScriptedEmbedder())
    index.update([tmp_path / "in.pdf"])

    def script(request: Request) -> str:
        short = request.messages[-1].text.endswith("phrase.")
        return "90 days" if short else " ".join(SENTENCES)

    model = Llava(backend=ScriptedBackend(script))
    answer = ask(index, "When to descale?", model, k=2, short=False)
    assert answer.text == " ".join(SENTENCES)
    assert [claim.answer for claim in answer.claims] == SENTENCES
    boiler, tank, green = answer.claims
    assert (boiler.page, boiler.snippet) == (1, PAGES[0])
    assert (tank.page, tank.snippet) == (2, PAGES[1])
    assert boiler.box is not None
    assert tank.box is not None
    assert (green.snippet, green.box) == ("", None)  # nothing supports it
    assert [claim["answer"] for claim in answer.as_dict()["claims"]] == SENTENCES
    assert ask(index, "When to descale?", model, k=2).claims == ()
