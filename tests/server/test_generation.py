from __future__ import annotations

import asyncio
import threading
from contextlib import aclosing

import pytest
from PIL import Image

from llava_tools import Llava
from llava_tools.core.requests import Message, Request
from llava_tools.errors import AnswerTimeoutError, EngineError, QueueFullError, RequestError
from llava_tools.images import open_image
from llava_tools.server.errors import ModelLoadingError
from llava_tools.server.generation import answer, generate
from llava_tools.server.options import ServerOptions
from llava_tools.server.service import Service
from llava_tools.testing import ScriptedBackend

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
