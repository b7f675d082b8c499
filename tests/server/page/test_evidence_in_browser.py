"""Where in the image an answer comes from, as a user of the page sees it."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from llava_tools.core.requests import Request
from tests.evidence.scripted import DEPENDENT, depends_on_square
from tests.server.page.browser import Server, Visit, find_chromium, run_server

api = pytest.importorskip("playwright.sync_api")
CHROMIUM = find_chromium()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="There is no Chromium."),
]

STAR = "night.png"  # 240 x 240
SUNSET = "sunset.png"  # 200 x 280
BUTTON = "Where in the image?"
BOX = "from {}, {} to {}, {} of 240 × 240 pixels".format(*DEPENDENT)


@pytest.fixture(scope="module")
def shared() -> Iterator[Server]:
    with run_server() as server:
        yield server


@pytest.fixture
def server(shared: Server) -> Iterator[Server]:
    shared.backend.requests.clear()
    yield shared
    shared.backend._scores_without = depends_on_square


def _explain(turn: Any) -> None:
    turn.get_by_role("button", name=BUTTON).click()


def _caption(turn: Any) -> Any:
    return turn.locator("figcaption")


def test_the_part_that_matters_is_shown_below_the_answer(visit: Visit, server: Server) -> None:
    visit.add(STAR)
    turn = visit.ask("What colour is the star?")
    assert turn.locator("figure").count() == 0
    _explain(turn)
    api.expect(_caption(turn)).to_contain_text(BOX)
    drawing = turn.locator("figure img")
    assert drawing.evaluate("image => [image.naturalWidth, image.naturalHeight]") == [480, 480]
    assert "night.png, dimmed" in str(drawing.get_attribute("alt"))
    assert turn.get_by_role("button", name=BUTTON).count() == 0
    assert turn.locator(".text").inner_text() == "yellow"
    answered, measured = server.backend.requests
    assert answered.messages == measured.messages
    turn.locator("button.frame").click()
    assert visit.page.locator("#viewer img").is_visible()


def test_screen_readers_hear_what_was_found_and_the_focus_stays(visit: Visit) -> None:
    visit.add(STAR)
    turn = visit.ask("What colour is the star?")
    turn.get_by_role("button", name=BUTTON).focus()
    visit.page.keyboard.press("Enter")
    api.expect(visit.page.locator("#status")).to_contain_text(BOX)
    assert turn.evaluate("turn => turn.contains(document.activeElement)")


def test_a_later_question_is_explained_by_the_whole_conversation(
    visit: Visit, server: Server
) -> None:
    visit.add(STAR)
    visit.ask("What colour is the star?")
    turn = visit.ask("And now?")
    _explain(turn)
    api.expect(_caption(turn)).to_contain_text(BOX)
    roles = [message.role for message in server.backend.requests[-1].messages]
    assert roles == ["user", "assistant", "user"]


def test_each_image_of_a_question_is_drawn(visit: Visit) -> None:
    visit.add(STAR, SUNSET)
    turn = visit.ask("What colour is it?")
    _explain(turn)
    api.expect(_caption(turn)).to_have_count(2)
    assert "of 240 × 240" in _caption(turn).nth(0).inner_text()
    assert "of 200 × 280" in _caption(turn).nth(1).inner_text()


def test_an_answer_that_depends_on_no_part_is_shown_without_a_frame(
    visit: Visit, server: Server
) -> None:
    server.backend._scores_without = lambda request, label, left_out: -0.1
    visit.add(STAR)
    turn = visit.ask("What colour is the star?")
    _explain(turn)
    api.expect(_caption(turn)).to_have_text(
        "The answer depends on no single part of the image: many show the same, or it is a guess."
    )


@pytest.mark.parametrize("mode", ["ask", "locate"], ids=["no image", "a box"])
def test_other_answers_have_no_evidence(visit: Visit, mode: str) -> None:
    if mode == "locate":
        visit.add(STAR)
    turn = visit.ask("Tell me", mode)
    assert turn.get_by_role("button", name=BUTTON).count() == 0


def test_try_again_forgets_the_evidence_of_the_old_answer(visit: Visit) -> None:
    visit.add(STAR)
    turn = visit.ask("What colour is the star?")
    _explain(turn)
    api.expect(_caption(turn)).to_have_count(1)
    turn.get_by_role("button", name="Try again").click()
    api.expect(_caption(turn)).to_have_count(0)
    api.expect(turn.get_by_role("button", name=BUTTON)).to_be_visible()


def test_stop_cancels_the_measurement(visit: Visit, server: Server) -> None:
    started, go = threading.Event(), threading.Event()

    def wait(request: Request, label: str, left_out: Sequence[int]) -> float:
        started.set()
        go.wait()
        return -0.1

    server.backend._scores_without = wait
    visit.add(STAR)
    turn = visit.ask("What colour is the star?")
    _explain(turn)
    started.wait()
    admission = server.app.state.service.admission
    assert admission.pending == 1
    visit.page.locator("#stop").click()
    api.expect(turn.locator(".note")).to_have_text("Stopped.")
    while admission.pending:
        visit.page.wait_for_timeout(10)
    go.set()
    assert turn.locator("figure").count() == 0
    server.backend._scores_without = depends_on_square
    _explain(turn)
    api.expect(_caption(turn)).to_contain_text(BOX)
    assert turn.locator(".note").count() == 0


def test_images_that_the_server_dropped_are_sent_again(visit: Visit, server: Server) -> None:
    visit.add(STAR)
    turn = visit.ask("What colour is the star?")
    server.app.state.service.users.find("").resolver._store.clear()
    _explain(turn)
    api.expect(_caption(turn)).to_contain_text(BOX)
    visit.problems.clear()  # the browser notes the refused request


def test_an_error_is_shown_and_gone_at_the_next_try(visit: Visit, server: Server) -> None:
    admission = server.app.state.service.admission
    visit.add(STAR)
    turn = visit.ask("What colour is the star?")
    limit = server.app.state.service.options.max_pending
    admission.pending = limit
    _explain(turn)
    api.expect(turn.locator(".problem")).to_contain_text("Try again later.")
    admission.pending = 0
    _explain(turn)
    api.expect(_caption(turn)).to_contain_text(BOX)
    assert turn.locator(".problem").count() == 0
    visit.problems.clear()  # the browser notes the refused request


def test_a_server_whose_model_is_elsewhere_says_so_and_has_no_button(browser: Any) -> None:
    with run_server(measures_evidence=False) as server:
        page = browser.new_page()
        visit = Visit(page)
        visit.open(server.address)
        visit.add(STAR)
        turn = visit.ask("What colour is the star?")
        assert turn.get_by_role("button", name=BUTTON).count() == 0
        page.get_by_role("button", name="About").click()
        assert "needs the model in this server’s own process" in page.locator("#about").inner_text()
        page.close()
