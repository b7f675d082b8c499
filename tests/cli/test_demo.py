"""`llava-tools demo`: it serves the page on a free port, and opens it."""

from __future__ import annotations

import webbrowser
from queue import SimpleQueue
from typing import Any

import pytest
from starlette.testclient import TestClient

from llava_tools.cli import demo
from llava_tools.cli.main import main
from llava_tools.cli.serve import url_of


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, str]]:
    """The applications that would run, with their addresses."""
    runs: list[tuple[Any, str]] = []
    monkeypatch.setattr(demo, "run_app", lambda app, listener: runs.append((app, url_of(listener))))
    return runs


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> SimpleQueue[str]:
    """The addresses that would be opened in a browser, by another thread."""
    opened: SimpleQueue[str] = SimpleQueue()
    monkeypatch.setattr(webbrowser, "open", opened.put)
    return opened


def test_it_opens_the_page_of_this_machine(
    runs: list[tuple[Any, str]], opened: SimpleQueue[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo"]) == 0
    ((app, url),) = runs
    assert opened.get(timeout=10) == url
    assert url.startswith("http://127.0.0.1:")
    assert f"{url} (Ctrl-C ends it)" in capsys.readouterr().err
    assert app.state.service.model.options.model == "tiny"


def test_flags_choose_model_and_index_and_leave_the_browser(
    runs: list[tuple[Any, str]], opened: SimpleQueue[str], tmp_path: Any
) -> None:
    assert main(["demo", "--model", "7b", "--index", str(tmp_path), "--no-browser"]) == 0
    ((app, _),) = runs
    assert opened.empty()
    assert app.state.service.model.options.model == "7b"
    assert app.state.service.options.index == str(tmp_path)


def test_its_server_has_the_page(monkeypatch: pytest.MonkeyPatch, opened: SimpleQueue[str]) -> None:
    pages = []

    def run(app: Any, listener: Any) -> None:
        client = TestClient(app, url_of(listener))
        pages.append(client.get("/", headers={"Accept": "text/html"}).text)

    monkeypatch.setattr(demo, "run_app", run)
    assert main(["demo"]) == 0
    assert "<title>llava-tools</title>" in pages[0]
