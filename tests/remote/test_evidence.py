"""A model behind `base_url` does not say what its answers depend on; every way to it says so."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.testclient import TestClient

from llava_tools import Llava, open_image, tools
from llava_tools.cli.main import main
from llava_tools.errors import RequestError
from llava_tools.images.access import ImageResolver
from llava_tools.images.store import ImageStore
from llava_tools.server.app import create_app
from llava_tools.server.options import ServerOptions
from tests.evidence.scripted import SQUARE
from tests.remote.requests import Serve

QUESTION = "What colour is it?"
REASON = "evidence needs the model in this process. Leave out base_url."


@pytest.fixture
def model(serve: Serve) -> Llava:
    """A model behind a server."""
    return Llava(base_url=serve("red").url)


@pytest.mark.parametrize("answer", [None, "red"])
def test_python_refuses_it(model: Llava, answer: str | None) -> None:
    with model, pytest.raises(RequestError, match=REASON):
        model.evidence(QUESTION, SQUARE, answer)


def test_python_refuses_it_in_an_event_loop(model: Llava) -> None:
    with model, pytest.raises(RequestError, match=REASON):
        asyncio.run(model.aevidence(QUESTION, SQUARE))


def test_the_tool_refuses_it(model: Llava) -> None:
    resolver = ImageResolver(ImageStore())
    arguments = {"image": resolver.add(SQUARE), "question": QUESTION}
    with model, pytest.raises(RequestError, match=REASON):
        tools.call(model, "show_evidence", arguments, resolver)


def test_the_command_line_refuses_it_before_it_asks(
    serve: Serve, tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    server = serve("red")
    SQUARE.save(tmp_path / "square.png")
    image, drawing = str(tmp_path / "square.png"), tmp_path / "evidence.png"
    arguments = ["ask", image, QUESTION, "--evidence", str(drawing), "--base-url", server.url]
    assert main(arguments) == 2
    out = capsys.readouterr()
    assert (out.out, out.err.count("\n")) == ("", 1)
    assert REASON in out.err
    assert not drawing.exists()


def test_a_server_that_passes_requests_on_refuses_it(model: Llava) -> None:
    app = create_app(ServerOptions(), model)
    app.state.service.load()
    with TestClient(app, "http://localhost") as client:
        assert client.get("/llava/info").json()["evidence"] is False
        handle = client.post("/llava/images", content=open_image(SQUARE).data).json()["handle"]
        blocks = [
            {"type": "image_url", "image_url": {"url": handle}},
            {"type": "text", "text": QUESTION},
        ]
        messages = [{"role": "user", "content": blocks}]
        response = client.post("/llava/evidence", json={"messages": messages, "answer": "red"})
    assert response.status_code == 400
    assert REASON in response.json()["error"]["message"]
