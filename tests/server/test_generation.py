from __future__ import annotations

import asyncio
import threading
import time
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest
from PIL import Image

from llava_tools import Llava
from llava_tools.core.backend import Stream
from llava_tools.core.requests import Message, Request
from llava_tools.errors import AnswerTimeoutError, EngineError, QueueFullError, RequestError
from llava_tools.images import open_image
from llava_tools.server.errors import ModelLoadingError
from llava_tools.server.generation import answer, generate, run
from llava_tools.server.options import ServerOptions
from llava_tools.server.pacing import PacingMiddleware
from llava_tools.server.service import Service
from llava_tools.testing import ScriptedBackend, ScriptedStream

QUESTION = Request((Message("user", ("What?",)),))


def _service(backend: ScriptedBackend, **options: object) -> Service:
    service = Service(ServerOptions(**options), Llava(backend=backend))
    service.load()
    backend.requests.clear()
    return service


async def test_an_answer_is_collected_from_chunks() -> None:
    service = _service(ScriptedBackend(["a red ball"]))
    user = service.users.find("")
    assert user is not None
    result = await answer(service, user, QUESTION)
    assert (result.text, result.finish_reason) == ("a red ball", "stop")
    assert (service.admission.pending, user.pending) == (0, 0)


@pytest.mark.parametrize("option", ["max_pending", "max_pending_per_key"])
async def test_more_requests_than_the_limit_are_refused(option: str) -> None:
    service = _service(ScriptedBackend(["one two three"]), **{option: 1})
    user = service.users.find("")
    assert user is not None
    async with aclosing(generate(service, user, QUESTION)) as first:
        await anext(first)
        with pytest.raises(QueueFullError):
            await answer(service, user, QUESTION)
    assert (await answer(service, user, QUESTION)).text == "one two three"


async def test_leaving_the_iteration_stops_the_generation() -> None:
    backend = ScriptedBackend(["one two three"])
    service = _service(backend)
    user = service.users.find("")
    assert user is not None
    hold = threading.Event()
    backend._pause = hold.wait  # type: ignore[assignment]
    stream = generate(service, user, QUESTION)
    first = asyncio.ensure_future(anext(stream))
    while not backend.requests:
        await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait({first})
    hold.set()
    while not backend.closed_early:
        await asyncio.sleep(0)
    assert (service.admission.pending, user.pending) == (0, 0)


async def test_an_answer_that_takes_too_long_is_an_error() -> None:
    hold = threading.Event()
    backend = ScriptedBackend(["one two three"])
    service = _service(backend, timeout=0.01)
    user = service.users.find("")
    assert user is not None
    backend._pause = hold.wait  # type: ignore[assignment]
    with pytest.raises(AnswerTimeoutError, match=r"after 0\.01 seconds"):
        await answer(service, user, QUESTION)
    hold.set()
    assert service.admission.pending == 0


async def test_too_many_images_are_refused() -> None:
    service = _service(ScriptedBackend(), max_images=1)
    user = service.users.find("")
    assert user is not None
    image = open_image(Image.new("RGB", (4, 4)))
    request = Request((Message("user", (image, image, "What?")),))
    with pytest.raises(RequestError, match="has 2 images; the limit is 1"):
        await answer(service, user, request)


async def test_requests_are_refused_until_the_model_is_loaded() -> None:
    service = Service(ServerOptions(), Llava(backend=ScriptedBackend()))
    user = service.users.find("")
    assert user is not None
    with pytest.raises(ModelLoadingError):
        await answer(service, user, QUESTION)
    service.load()
    assert (await answer(service, user, QUESTION)).text == "ok"


async def test_requests_fail_at_once_if_loading_failed_unforeseen() -> None:
    backend = ScriptedBackend()
    service = Service(ServerOptions(), Llava(backend=backend))
    backend.stream = None  # type: ignore[method-assign, assignment]
    with pytest.raises(TypeError):
        service.load()
    with pytest.raises(EngineError, match="The server's log has the cause"):
        service.check_loaded()


class TimedBackend(ScriptedBackend):
    """Tells how many seconds each prompt took.

    Attributes:
        seconds: Of the next prompts.
    """

    seconds: float | None = None

    def stream(self, request: Request) -> Stream:
        """See `Backend.stream`."""
        first, *rest = super().stream(request)
        return ScriptedStream(self, [replace(first, prompt_seconds=self.seconds), *rest])


class Paced:
    """A server whose first user sends requests while the other one is active.

    Args:
        service: With two keys.
        work: What a request does with the service and its user.
    """

    def __init__(self, service: Service, work: Any) -> None:
        self._service, self._work = service, work
        self.user, self._other = service.users
        self._other.pending = 1
        self._app = PacingMiddleware(self._answer, service.users, 64)

    async def _answer(self, scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await self._work(self._service, self.user)

    async def request(self) -> None:
        """Send a request."""

        async def receive() -> Any:
            return {"type": "http.request", "body": b""}

        async def send(message: Any) -> None:
            """Nobody reads it."""

        await self._app({"type": "http", "state": {"user": self.user}}, receive, send)


KEYS = {"api_keys": ("a" * 16, "b" * 16)}


@pytest.mark.parametrize(("seconds", "rest"), [(None, 0.0), (0.04, 0.0), (0.55, 1.0)])
async def test_beside_others_a_user_rests_for_what_a_long_prompt_took(
    seconds: float | None, rest: float
) -> None:
    backend = TimedBackend(["one two three"])
    paced = Paced(_service(backend, **KEYS), lambda service, user: answer(service, user, QUESTION))
    backend.seconds = seconds
    begin = time.monotonic()
    await paced.request()
    end = time.monotonic()
    assert begin + rest <= paced.user.rests_until <= end + rest + 2 * (end - begin)


async def test_beside_others_a_user_s_next_request_waits_for_the_first_chunk() -> None:
    backend = ScriptedBackend(["one two three"])
    paced = Paced(_service(backend, **KEYS), lambda service, user: answer(service, user, QUESTION))
    hold = threading.Event()
    backend._pause = hold.wait  # type: ignore[assignment]
    requests = [asyncio.ensure_future(paced.request()) for _ in range(2)]
    while not backend.requests:
        await asyncio.sleep(0)
    assert (len(backend.requests), paced.user.queued, paced.user.pending) == (1, 1, 1)
    hold.set()
    await asyncio.gather(*requests)
    assert (len(backend.requests), paced.user.queued, paced.user.pending) == (2, 0, 0)


async def test_beside_others_a_user_s_texts_are_embedded_one_request_after_another() -> None:
    hold, running = threading.Event(), []

    def work() -> None:
        running.append(1)
        hold.wait()

    paced = Paced(
        _service(ScriptedBackend(), **KEYS), lambda service, user: run(service, user, work)
    )
    requests = [asyncio.ensure_future(paced.request()) for _ in range(2)]
    while not running:
        await asyncio.sleep(0)
    assert (len(running), paced.user.queued) == (1, 1)
    hold.set()
    await asyncio.gather(*requests)
    assert len(running) == 2
