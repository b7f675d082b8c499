"""A browser, and the page in it at desktop size; each test file has its own server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.server.page.browser import Server, Visit, find_chromium


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def visit(browser: Any, server: Server) -> Iterator[Visit]:
    """The page; afterwards no message is on its console, and it left no host."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(10_000)
    visit = Visit(context.new_page())
    visit.open(server.address)
    yield visit
    context.close()
    assert visit.problems == []
    assert visit.origins == {server.address}
