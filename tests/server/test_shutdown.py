"""A server that is stopped finishes what runs, and takes nothing more."""

from __future__ import annotations

import json
import logging
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from llava_tools import Llava
from llava_tools.errors import EngineClosedError, EngineError
from llava_tools.server.options import ServerOptions
from llava_tools.server.service import Service
from llava_tools.testing import ScriptedBackend
from tests.server.live_server import LiveServer
from tests.server.ollama.samples import prompt_body


def test_a_running_answer_is_finished_and_new_requests_are_refused() -> None:
    steps, begun = threading.Semaphore(1), threading.Event()
    backend = ScriptedBackend(["one two three"])

    def read(url: str) -> list[str]:
        lines = []
        with httpx.stream("POST", f"{url}/api/generate", json=prompt_body()) as response:
            for line in response.iter_lines():
                lines.append(line)
                begun.set()
        return lines

    with LiveServer(Llava(backend=backend)) as server, ThreadPoolExecutor(1) as pool:
        backend._pause = steps.acquire  # type: ignore[assignment]
        answer = pool.submit(read, server.url)
        assert begun.wait(30)
        server._server.should_exit = True
        while _is_answered(server.url):
            assert not answer.done()
        steps.release(10)
        last = json.loads(answer.result(30)[-1])
        assert (last["done"], last["done_reason"], last["eval_count"]) == (True, "stop", 3)


@pytest.mark.parametrize(("error", "logged"), [(EngineClosedError, 0), (EngineError, 1)])
def test_a_model_that_is_closed_while_it_loads_is_no_error(
    error: type[EngineError],
    logged: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Ctrl-C while `serve` started logged that the model cannot be loaded."""

    def warm_up(model: Llava) -> None:
        raise error("It ended.")

    monkeypatch.setattr(Llava, "warm_up", warm_up)
    service = Service(ServerOptions(), Llava(backend=ScriptedBackend()))
    service.load()
    assert [record.levelno for record in caplog.records].count(logging.ERROR) == logged
    assert not service.is_loaded
    with pytest.raises(error, match="It ended"):
        service.check_loaded()


def _is_answered(url: str) -> bool:
    try:
        return httpx.get(f"{url}/version").is_success
    except httpx.TransportError:
        return False
