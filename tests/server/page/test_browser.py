"""The page in a browser: what a user does, and that nothing leaves the server."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from llava_tools.retrieval import PageIndex
from llava_tools.testing import ScriptedEmbedder
from tests.retrieval.documents import write_pdf
from tests.server.page.browser import EXAMPLES, HOSTILE, Server, Visit, run_server
from tests.server.page.browser import find_chromium as _find_chromium

api = pytest.importorskip("playwright.sync_api")
CHROMIUM = _find_chromium()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="There is no Chromium."),
]

STAR = "night.png"  # 240 x 240
SUNSET = "sunset.png"  # 200 x 280


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> PageIndex:
    folder = tmp_path_factory.mktemp("documents")
    texts = ["Coffee is good", f"Descale coffee machines every 90 days {HOSTILE[:20]}"]
    write_pdf(folder / "in.pdf", texts)
    index = PageIndex(folder / "index", ScriptedEmbedder())
    index.update([folder / "in.pdf"])
    return index


@pytest.fixture(scope="module")
def shared(index: PageIndex) -> Iterator[Server]:
    with run_server(index) as server:
        yield server


@pytest.fixture
def server(shared: Server) -> Iterator[Server]:
    shared.backend.requests.clear()
    yield shared
    shared.pause.open()


def _files(*names: str) -> list[dict[str, str]]:
    return [
        {"name": name, "data": base64.b64encode((EXAMPLES / name).read_bytes()).decode()}
        for name in names
    ]


#: Dispatches an event with files, as a paste or a drop has them.
DISPATCH = """([type, files]) => {
  const data = new DataTransfer();
  for (const file of files) {
    const bytes = Uint8Array.from(atob(file.data), (c) => c.charCodeAt(0));
    data.items.add(new File([bytes], file.name, { type: "image/png" }));
  }
  const options = { bubbles: true, cancelable: true };
  document.body.dispatchEvent(
    type === "paste"
      ? new ClipboardEvent(type, { ...options, clipboardData: data })
      : new DragEvent(type, { ...options, dataTransfer: data }),
  );
}"""


def test_a_question_about_a_chosen_image_is_answered(visit: Visit, server: Server) -> None:
    visit.add(STAR)
    turn = visit.ask("What colour is the star?")
    assert turn.locator(".text").inner_text() == "yellow"
    assert turn.locator(".thumbnail img").count() == 1
    assert visit.page.locator("#tray li").count() == 0
    assert visit.page.locator("#status").inner_text() == "yellow"


@pytest.mark.parametrize("event", ["paste", "drop"])
def test_images_are_pasted_and_dropped(visit: Visit, event: str) -> None:
    if event == "drop":
        visit.page.evaluate(DISPATCH, ["dragover", _files(STAR)])
        assert visit.page.locator("#drop").is_visible()
    visit.page.evaluate(DISPATCH, [event, _files(STAR, SUNSET)])
    visit.page.locator("#tray li").nth(1).wait_for()
    assert not visit.page.locator("#drop").is_visible()
    visit.page.get_by_role("button", name=f"Remove {SUNSET}").click()
    assert visit.ask("What colour?").locator(".text").inner_text() == "yellow"


def test_an_answer_appears_word_by_word_and_stops(visit: Visit, server: Server) -> None:
    server.pause.close()
    turn = visit.ask("Tell me", wait=False)
    server.pause.step(2)
    api.expect(turn.locator(".text")).to_have_text("one two")
    assert visit.page.locator("#send").is_hidden()
    closed = server.backend.closed_early
    visit.page.locator("#stop").click()
    api.expect(turn.locator(".note")).to_have_text("Stopped.")
    assert turn.locator(".text").inner_text() == "one two"
    assert visit.page.locator("#send").is_visible()
    server.pause.open()
    while server.backend.closed_early == closed:
        visit.page.wait_for_timeout(10)


def test_esc_stops_and_try_again_answers_anew(visit: Visit, server: Server) -> None:
    server.pause.close()
    turn = visit.ask("Tell me", wait=False)
    server.pause.step(1)
    api.expect(turn.locator(".text")).to_have_text("one")
    visit.page.keyboard.press("Escape")
    api.expect(turn.locator(".note")).to_have_text("Stopped.")
    server.pause.open()
    turn.get_by_role("button", name="Try again").click()
    api.expect(turn.locator(".text")).to_have_text("one two three four five six")
    assert turn.locator(".note").count() == 0
    assert visit.page.locator(".turn").count() == 1


def test_later_questions_send_the_conversation(visit: Visit, server: Server) -> None:
    visit.add(STAR)
    visit.ask("What colour is the star?")
    visit.ask("And now?")
    messages = server.backend.requests[-1].messages
    assert [message.role for message in messages] == ["user", "assistant", "user"]
    assert len(messages[0].images) == 1
    assert messages[1].content == ("yellow",)
    assert messages[2].content == ("And now?",)
    assert visit.page.locator(".turn").first.get_by_role("button", name="Try again").count() == 0


def test_an_image_of_a_tool_is_seen_by_the_next_question(visit: Visit, server: Server) -> None:
    visit.add(SUNSET)
    visit.ask("", "describe")
    visit.ask("What colour?")
    assert len(server.backend.requests[-1].messages[-1].images) == 1


@pytest.mark.parametrize(
    ("mode", "text"), [("locate", "the star"), ("ask", "Where is the star?")], ids=["mode", "words"]
)
def test_where_is_draws_a_box(visit: Visit, mode: str, text: str) -> None:
    visit.add(STAR)
    turn = visit.ask(text, mode)
    assert "From 60, 120 to 180, 240 of 240 × 240 pixels" in turn.locator(".text").inner_text()
    box = turn.locator("svg .box")
    edges = [box.get_attribute(name) for name in ("x", "y", "width", "height")]
    assert edges == ["60", "120", "120", "120"]
    image = turn.locator(".frame img").bounding_box()
    drawn = box.bounding_box()
    assert drawn["x"] - image["x"] == pytest.approx(image["width"] / 4, abs=2)
    assert drawn["y"] - image["y"] == pytest.approx(image["height"] / 2, abs=2)
    assert drawn["width"] == pytest.approx(image["width"] / 2, abs=4)


@pytest.mark.parametrize(
    ("text", "thing"),
    [
        ("Where is the star?", "the star"),
        ("where's my  red cup", "my red cup"),
        ("Where are the two dogs in the picture?", "the two dogs"),
        ("Where is a café’s sign?", "a café’s sign"),
        ("Where is this?", None),
        ("Where are we?", None),
        ("Where was this taken?", None),
        ("Where is the photo taken?", None),
        ("Where is the man going?", None),
        ("Where is the star, and what colour is it?", None),
        ("What is where?", None),
    ],
)
def test_only_questions_for_a_thing_get_a_box(visit: Visit, text: str, thing: str | None) -> None:
    program = "text => import('/static/modes.js').then(modes => modes.thingToLocate(text))"
    assert visit.page.evaluate(program, text) == thing


def test_an_image_that_the_browser_does_not_know_is_shown(visit: Visit, tmp_path: Path) -> None:
    with Image.open(EXAMPLES / STAR) as image:
        image.save(tmp_path / "star.tiff")
    visit.page.set_input_files("#files", tmp_path / "star.tiff")
    small = visit.page.locator("#tray img")
    api.expect(small).to_have_js_property("naturalWidth", 240)
    assert small.get_attribute("alt") == "star.tiff"
    turn = visit.ask("What colour is the star?")
    assert turn.locator(".text").inner_text() == "yellow"
    assert turn.locator(".thumbnail img").evaluate("image => image.naturalWidth") == 240


def test_no_box_is_drawn_for_what_is_hardly_there(visit: Visit) -> None:
    visit.add(STAR)
    turn = visit.ask("the unicorn", "locate")
    assert "does not seem to show “the unicorn” (certainty 1 %)" in turn.inner_text()
    assert turn.locator("svg .box").count() == 0


def test_two_images_are_compared(visit: Visit) -> None:
    visit.add(STAR, SUNSET)
    turn = visit.ask("What colour is it?", "compare")
    assert turn.locator(".text").inner_text() == "The answers differ."
    assert turn.locator("figcaption strong").all_inner_texts() == ["yellow", "red"]


@pytest.mark.parametrize(
    ("mode", "text", "answer"),
    [
        ("count", "stars", "3"),
        ("describe", "", "one two three four five six"),
        ("read_text", "", "one two three four five six"),
    ],
)
def test_other_tools_answer_in_words(visit: Visit, mode: str, text: str, answer: str) -> None:
    visit.add(STAR)
    assert visit.ask(text, mode).locator(".text").inner_text() == answer


def test_documents_answer_with_the_page_and_the_box(visit: Visit, server: Server) -> None:
    turn = visit.ask("How often are coffee machines descaled?", "documents")
    assert turn.locator(".text").inner_text() == "90 days"
    page = turn.locator("figure.page", has_text="in.pdf, page 2")
    assert "every 90 days" in page.locator("q").inner_text()
    api.expect(page.locator("img")).to_have_js_property("complete", True)
    assert page.locator("img").evaluate("image => image.naturalWidth") > 100
    assert page.locator("svg .box").count() == 1
    page.locator("button.frame").click()
    assert visit.page.locator("#viewer .box").is_visible()
    visit.page.keyboard.press("Escape")
    assert not visit.page.locator("#viewer").is_visible()


def test_the_answer_of_a_document_is_stopped(visit: Visit, server: Server) -> None:
    server.pause.close()
    turn = visit.ask("How often are coffee machines descaled?", "documents", wait=False)
    admission = server.app.state.service.admission
    while not server.backend.requests:
        visit.page.wait_for_timeout(10)
    assert admission.pending == 1
    visit.page.locator("#stop").click()
    api.expect(turn.locator(".note")).to_have_text("Stopped.")
    while admission.pending:
        visit.page.wait_for_timeout(10)
    assert turn.locator(".text").inner_text() == ""


def test_pages_are_found_and_enlarged(visit: Visit) -> None:
    turn = visit.ask("descale machines", "search")
    first = turn.locator("figure.page").first
    assert "in.pdf, page 2" in first.inner_text()
    first.locator("button.frame").click()
    large = visit.page.locator("#viewer img")
    large.wait_for()
    assert large.evaluate("image => image.decode().then(() => image.naturalWidth)") > 300


def test_texts_of_models_and_documents_stay_text(visit: Visit) -> None:
    turn = visit.ask("Be hostile")
    assert turn.locator(".text").inner_text() == HOSTILE
    assert turn.locator(".text *").count() == 0
    found = visit.ask("descale", "search")
    assert HOSTILE[:20] in found.locator("q").first.inner_text()
    visit.ask(HOSTILE)
    assert visit.page.title() == "llava-tools"


def test_settings_go_into_the_request_and_stay(visit: Visit, server: Server) -> None:
    page = visit.page
    page.get_by_role("button", name="Settings").click()
    page.fill("#temperature", "0.7")
    page.fill("#max-tokens", "3")
    page.fill("#system", "Be brief.")
    page.get_by_role("button", name="Save").click()
    turn = visit.ask("Tell me")
    request = server.backend.requests[-1]
    assert (request.sampling.temperature, request.sampling.max_tokens) == (0.7, 3)
    assert request.messages[0].content == ("Be brief.",)
    assert turn.locator(".text").inner_text() == "one two three"
    assert "Cut off after 3 tokens" in turn.locator(".note").inner_text()
    page.reload()
    page.get_by_role("button", name="Settings").click()
    assert page.input_value("#system") == "Be brief."


def test_new_forgets_the_conversation(visit: Visit, server: Server) -> None:
    visit.add(STAR)
    visit.ask("What colour is the star?")
    visit.page.get_by_role("button", name="New").click()
    assert visit.page.locator(".turn").count() == 0
    assert visit.page.locator("#welcome").is_visible()
    visit.ask("Hello?")
    assert len(server.backend.requests[-1].messages) == 1


@pytest.mark.parametrize(
    ("mode", "text", "problem"),
    [
        ("ask", "", "Type what to ask first."),
        ("locate", "the star", "Add an image first."),
        ("compare", "What colour?", "Add two images or more first."),
    ],
)
def test_what_is_missing_is_named(visit: Visit, mode: str, text: str, problem: str) -> None:
    visit.choose(mode)
    visit.page.fill("#question", text)
    visit.page.press("#question", "Enter")
    api.expect(visit.page.locator("#problem")).to_have_text(problem)
    assert visit.page.locator(".turn").count() == 0


def test_a_file_of_another_kind_is_refused_before_it_is_sent(visit: Visit, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("words")
    visit.page.set_input_files("#files", tmp_path / "notes.txt")
    line = "notes.txt is no image. Choose a PNG, JPEG, WebP or GIF."
    api.expect(visit.page.locator("#problem")).to_have_text(line)
    assert visit.page.locator("#tray li").count() == 0


def test_a_question_has_several_lines_with_shift(visit: Visit, server: Server) -> None:
    visit.page.locator("#question").focus()
    visit.page.keyboard.type("first")
    visit.page.keyboard.press("Shift+Enter")
    visit.page.keyboard.type("second")
    visit.page.keyboard.press("Enter")
    visit.page.locator(".turn .tools").wait_for()
    assert server.backend.requests[-1].messages[-1].content == ("first\nsecond",)


def test_images_that_the_server_dropped_are_sent_again(visit: Visit, server: Server) -> None:
    visit.add(STAR)
    server.app.state.service.users.find("").resolver._store.clear()
    assert visit.ask("What colour is the star?").locator(".text").inner_text() == "yellow"
    visit.problems.clear()  # the browser notes the refused request


def test_copy_copies_the_answer(visit: Visit) -> None:
    visit.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    visit.add(STAR)
    visit.ask("What colour is the star?").get_by_role("button", name="Copy").click()
    api.expect(visit.page.get_by_role("button", name="Copied")).to_be_visible()
    assert visit.page.evaluate("navigator.clipboard.readText()") == "yellow"


def test_examples_run(visit: Visit) -> None:
    visit.page.get_by_role("button", name="Where is the triangle?").click()
    box = visit.page.locator(".turn svg .box")
    box.wait_for()
    assert box.get_attribute("x") == "70"  # a quarter of 280


@pytest.fixture
def open_page(browser: Any) -> Iterator[Any]:
    """Opens the page of a server of its own; what its console says is not looked at."""
    contexts = []

    def open_page(address: str, **options: Any) -> Any:
        contexts.append(browser.new_context(**options))
        contexts[-1].set_default_timeout(10_000)
        page = contexts[-1].new_page()
        page.goto(address)
        return page

    yield open_page
    for context in contexts:
        context.close()


def test_a_server_with_keys_asks_for_one(open_page: Any) -> None:
    with run_server(api_keys=("a-long-enough-key",)) as server:
        page = open_page(server.address)
        api.expect(page.locator("#key-problem")).to_have_text("This server wants an API key.")
        page.fill("#api-key", "a-wrong-key")
        page.get_by_role("button", name="Save").click()
        api.expect(page.locator("#banner")).to_contain_text("The API key is missing or wrong.")
        page.fill("#api-key", "a-long-enough-key")
        page.get_by_role("button", name="Save").click()
        page.locator("#examples button").first.wait_for()
        assert page.evaluate("Object.values(sessionStorage)") == ["a-long-enough-key"]
        assert "a-long-enough-key" not in page.evaluate("JSON.stringify(localStorage)")
        visit = Visit(page)
        visit.add(STAR)
        assert visit.ask("What colour is the star?").locator(".text").inner_text() == "yellow"


def test_a_model_that_is_being_loaded_is_waited_for(open_page: Any) -> None:
    with run_server(is_loaded=False) as server:
        page = open_page(server.address)
        api.expect(page.locator("#banner")).to_have_text(
            "The model is being loaded. Ask in a moment."
        )
        server.pause.open()
        api.expect(page.locator("#banner")).to_be_hidden()
        turn = Visit(page).ask("Tell me")
        assert turn.locator(".text").inner_text() == "one two three four five six"


def test_a_server_that_passes_images_on_says_so(open_page: Any) -> None:
    with run_server() as server:
        page = open_page("about:blank")

        def pass_on(route: Any) -> None:
            response = route.fetch()
            route.fulfill(response=response, json=response.json() | {"passes_on": True})

        page.route("**/llava/info", pass_on)
        page.goto(server.address)
        api.expect(page.locator("#lead")).to_contain_text("from there to its model server")
        assert "on to a model server" in page.locator("#about-privacy").text_content()


def test_an_image_above_the_limit_is_refused_with_the_limit(open_page: Any) -> None:
    with run_server(max_body_bytes=2000) as server:
        page = open_page(server.address)
        page.locator("#examples button").first.wait_for()
        page.set_input_files("#files", EXAMPLES / STAR)
        api.expect(page.locator("#problem")).to_contain_text("night.png has 0.0 MB")
        assert page.locator("#tray li").count() == 0


def test_a_busy_server_says_so_and_the_question_can_be_tried_again(open_page: Any) -> None:
    with run_server(max_pending=1) as server:
        visit = Visit(open_page(server.address))
        visit.page.locator("#examples button").first.wait_for()
        user = server.app.state.service.users.find("")
        server.app.state.service.admission.pending = 1
        turn = visit.ask("Tell me")
        assert "which is the limit. Try again later." in turn.locator(".problem").inner_text()
        server.app.state.service.admission.pending = 0
        turn.get_by_role("button", name="Try again").click()
        api.expect(turn.locator(".text")).to_have_text("one two three four five six")
        assert user.pending == 0


def test_a_server_that_is_gone_is_named(open_page: Any) -> None:
    with run_server() as server:
        visit = Visit(open_page(server.address))
        visit.page.locator("#examples button").first.wait_for()
    turn = visit.ask("Tell me")
    assert "The server does not answer." in turn.locator(".problem").inner_text()
