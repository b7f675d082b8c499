"""The page for everybody: axe's rules, the keyboard, narrow and dark screens."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.server.page.browser import Server, Visit, find_chromium, run_server

api = pytest.importorskip("playwright.sync_api")
axe = pytest.importorskip("axe_playwright_python.sync_playwright")
CHROMIUM = find_chromium()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="There is no Chromium."),
]

STATES = ["welcome", "conversation", "evidence", "Settings", "About", "viewer"]
SIZES = {"desktop": (1280, 800), "phone": (390, 844)}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with run_server() as server:
        yield server


@pytest.fixture(params=SIZES)
def size(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["light", "dark"])
def scheme(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def visit(browser: Any, server: Server, size: str, scheme: str) -> Iterator[Visit]:
    width, height = SIZES[size]
    phone = {"is_mobile": True, "has_touch": True} if size == "phone" else {}
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme=scheme,
        reduced_motion="reduce",
        **phone,
    )
    context.set_default_timeout(10_000)
    visit = Visit(context.new_page())
    visit.open(server.address)
    yield visit
    context.close()


def _fill(visit: Visit) -> None:
    """Fill the page with everything that it can show, except documents."""
    visit.add("night.png", "sunset.png")
    visit.ask("What colour?", "compare")
    visit.ask("the star", "locate")
    visit.ask("Tell me")
    visit.add("night.png")
    visit.choose("locate")
    visit.page.press("#question", "Enter")
    visit.page.locator("#problem").wait_for()


def _show(visit: Visit, state: str) -> None:
    if state == "conversation":
        _fill(visit)
    elif state in ("Settings", "About"):
        visit.page.get_by_role("button", name=state).click()
    elif state == "evidence":
        visit.add("night.png")
        visit.ask("What colour is the star?")
        visit.page.get_by_role("button", name="Where in the image?").click()
        visit.page.locator("figcaption").wait_for()
    elif state == "viewer":
        visit.add("night.png")
        visit.ask("the star", "locate")
        visit.page.locator("figure .frame").click()


@pytest.mark.parametrize("state", STATES)
def test_axe_finds_nothing(visit: Visit, state: str) -> None:
    _show(visit, state)
    found = axe.Axe().run(visit.page).response["violations"]
    assert [(item["id"], item["impact"], item["nodes"][0]["html"]) for item in found] == []


@pytest.mark.parametrize("state", STATES)
def test_nothing_is_wider_than_the_screen(visit: Visit, size: str, state: str) -> None:
    _show(visit, state)
    width = visit.page.evaluate("document.documentElement.scrollWidth")
    assert width <= SIZES[size][0]
    assert visit.page.evaluate("innerWidth") == SIZES[size][0]


def test_colours_follow_the_scheme(visit: Visit, scheme: str) -> None:
    ground = visit.page.evaluate("getComputedStyle(document.body).backgroundColor")
    levels = [int(level) for level in ground[4:-1].split(",")]
    assert max(levels) < 60 if scheme == "dark" else min(levels) > 200


@pytest.mark.parametrize("size", ["desktop"], indirect=True)
@pytest.mark.parametrize("scheme", ["light"], indirect=True)
def test_tab_goes_through_all_controls_in_order(visit: Visit) -> None:
    focus = (
        "document.activeElement.id || document.activeElement.value || document.activeElement.title"
    )
    order = []
    for _ in range(11):
        visit.page.keyboard.press("Tab")
        order.append(visit.page.evaluate(f"{focus} || document.activeElement.className"))
    assert order[:4] == ["skip", "new", "open-settings", "open-about"]
    assert order[7:] == ["ask", "choose", "question", "send"]


@pytest.mark.parametrize("size", ["desktop"], indirect=True)
@pytest.mark.parametrize("scheme", ["light"], indirect=True)
def test_the_skip_link_leads_to_the_question(visit: Visit) -> None:
    visit.page.keyboard.press("Tab")
    assert visit.page.locator(".skip").evaluate("link => link.getBoundingClientRect().top") >= 0
    visit.page.keyboard.press("Enter")
    assert visit.page.evaluate("document.activeElement.id") == "question"


@pytest.mark.parametrize("size", ["desktop"], indirect=True)
@pytest.mark.parametrize("scheme", ["light"], indirect=True)
def test_screen_readers_hear_the_whole_answer_once(visit: Visit, server: Server) -> None:
    status = visit.page.locator("#status")
    server.pause.close()
    turn = visit.ask("Tell me", wait=False)
    api.expect(status).to_have_text("The model is answering.")
    server.pause.step(2)
    api.expect(turn.locator(".text")).to_have_text("one two")
    api.expect(status).to_have_text("The model is answering.")
    server.pause.open()
    api.expect(status).to_have_text("one two three four five six")
    assert status.get_attribute("role") == "status"


@pytest.mark.parametrize("size", ["desktop"], indirect=True)
@pytest.mark.parametrize("scheme", ["light"], indirect=True)
def test_nothing_moves_if_motion_is_to_be_reduced(visit: Visit, server: Server) -> None:
    server.pause.close()
    visit.ask("Tell me", wait=False)
    waiting = "getComputedStyle(document.querySelector('.waiting'), '::after').animationName"
    assert visit.page.evaluate(waiting) == "none"
    server.pause.open()


@pytest.mark.parametrize("size", ["phone"], indirect=True)
@pytest.mark.parametrize("scheme", ["light"], indirect=True)
def test_a_phone_can_take_a_photo(visit: Visit) -> None:
    assert visit.page.get_by_role("button", name="Take a photo").is_visible()
    assert visit.page.locator("#camera").get_attribute("capture") == "environment"
