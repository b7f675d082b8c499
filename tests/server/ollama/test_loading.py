"""Loading and unloading the model by requests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from llava_tools import Llava
from llava_tools.server.app import create_app
from llava_tools.server.options import ServerOptions
from tests.scripted_engines import Engines
from tests.server.conftest import MakeClient
from tests.server.live_server import LiveServer
from tests.server.ollama.samples import chat_body, prompt_body

EMPTY = [("/api/generate", {"model": "llava"}), ("/api/chat", {"model": "llava", "messages": []})]


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> Engines:
    return Engines(monkeypatch)


@pytest.fixture
def unloading() -> Iterator[Callable[[], TestClient]]:
    """Creates a client of a server that unloads its model after five minutes."""
    with ExitStack() as stack:

        def make() -> TestClient:
            app = create_app(ServerOptions(), Llava(keep_alive="5m"))
            app.state.service.load()
            return stack.enter_context(TestClient(app, "http://localhost"))

        yield make


@pytest.mark.parametrize(("path", "body"), EMPTY)
def test_an_empty_request_loads_the_model(
    engines: Engines, unloading: Callable[[], TestClient], path: str, body: dict[str, Any]
) -> None:
    client = unloading()
    engines.timer.pass_time(300)
    assert not engines.loaded
    response = client.post(path, json=body)
    assert response.headers["content-type"] == "application/json"
    assert (response.json()["done"], response.json()["done_reason"]) == (True, "load")
    assert engines.loaded


@pytest.mark.parametrize(("path", "body"), EMPTY)
@pytest.mark.parametrize("keep_alive", [0, "0", "0s", 0.0])
def test_an_empty_request_unloads_the_model(
    engines: Engines,
    unloading: Callable[[], TestClient],
    path: str,
    body: dict[str, Any],
    keep_alive: Any,
) -> None:
    client = unloading()
    assert engines.loaded
    answer = client.post(path, json=body | {"keep_alive": keep_alive}).json()
    assert (answer["done"], answer["done_reason"]) == (True, "unload")
    assert not engines.loaded
    assert client.get("/api/ps").json() == {"models": []}


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("path", "body"), [("/api/chat", chat_body()), ("/api/generate", prompt_body())]
)
def test_the_model_is_unloaded_after_an_answer(
    engines: Engines,
    unloading: Callable[[], TestClient],
    path: str,
    body: dict[str, Any],
    stream: bool,
) -> None:
    client = unloading()
    assert client.post(path, json=body | {"stream": stream}).status_code == 200
    assert engines.loaded
    response = client.post(path, json=body | {"stream": stream, "keep_alive": 0})
    assert "one" in response.text
    assert not engines.loaded
    assert client.post(path, json=body).status_code == 200


@pytest.mark.parametrize("keep_alive", ["10m", -1, "-1", 3600])
def test_other_times_do_not_change_that_of_the_server(
    engines: Engines, unloading: Callable[[], TestClient], keep_alive: Any
) -> None:
    client = unloading()
    client.post("/api/chat", json=chat_body(keep_alive=keep_alive))
    (model,) = client.get("/api/ps").json()["models"]
    left = datetime.fromisoformat(model["expires_at"]) - datetime.now(UTC)
    assert 290 < left.total_seconds() <= 300
    engines.timer.pass_time(300)
    assert not engines.loaded


def test_a_busy_model_is_not_unloaded(
    engines: Engines, unloading: Callable[[], TestClient]
) -> None:
    client = unloading()
    stream = client.app.state.service.model.stream("?")  # type: ignore[attr-defined]
    next(stream)
    response = client.post("/api/generate", json={"model": "llava", "keep_alive": 0})
    assert (response.status_code, "other requests" in response.json()["error"]) == (409, True)
    stream.close()
    assert client.post("/api/generate", json={"model": "llava", "keep_alive": 0}).is_success


def test_a_server_without_keep_alive_unloads_nothing(make_client: MakeClient) -> None:
    client = make_client()
    response = client.post("/api/generate", json={"model": "llava", "keep_alive": 0})
    assert (response.status_code, "--keep-alive" in response.json()["error"]) == (409, True)
    answer = client.post("/api/generate", json=prompt_body(keep_alive=0, stream=False)).json()
    assert (answer["response"], answer["done_reason"]) == ("ok", "stop")


def test_unloading_beside_others_fails_no_request(engines: Engines) -> None:
    def send(number: int) -> str:
        body = prompt_body(f"Number {number}?", stream=number % 2 == 0, keep_alive=0)
        response = httpx.post(f"{server.url}/api/generate", json=body, timeout=60)
        return "three" if response.is_success and "three" in response.text else response.text

    with LiveServer(Llava(keep_alive="5m")) as server, ThreadPoolExecutor(6) as pool:
        assert set(pool.map(send, range(20))) == {"three"}
        assert server.service.admission.pending == 0
    assert engines.loads > 1
