"""`Llava` over a scripted backend, and the engines that its objects share."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest
from PIL import Image

from llava_tools import Llava, Message, model_cache
from llava_tools.core.backend import Backend
from llava_tools.core.requests import Request
from llava_tools.errors import (
    ContextOverflowError,
    EngineClosedError,
    ImageError,
    ModelError,
    RequestError,
)
from llava_tools.options import EngineOptions
from llava_tools.testing import ScriptedBackend


@pytest.fixture
def image(tmp_path: Path) -> Path:
    Image.new("RGB", (8, 4), "red").save(tmp_path / "red.png")
    return tmp_path / "red.png"


def test_ask_sends_one_request(image: Path) -> None:
    backend = ScriptedBackend(["It is red."])
    answer = Llava(backend=backend).ask(
        "What colour?",
        [image, str(image), Image.open(image)],
        system="Be brief.",
        history=[Message("user", ("Hello",)), Message("assistant", ("Hi",))],
        max_tokens=9,
        stop="!",
    )
    assert answer.text == "It is red."
    assert answer.model == "scripted"
    assert answer.usage.image_tokens == 3 * 576
    (request,) = backend.requests
    assert [message.role for message in request.messages] == [
        "system",
        "user",
        "assistant",
        "user",
    ]
    assert len(request.messages[-1].images) == 3
    assert request.messages[-1].text == "What colour?"
    assert (request.sampling.max_tokens, request.sampling.stop) == (9, ("!",))


def test_images_may_be_one_image(image: Path) -> None:
    backend = ScriptedBackend()
    model = Llava(backend=backend)
    for source in (image, str(image), image.read_bytes(), Image.open(image)):
        model.ask("?", source)
    assert [len(request.messages[-1].images) for request in backend.requests] == [1] * 4


async def test_ask_stream_and_async_twins_give_the_same_answer() -> None:
    model = Llava(backend=ScriptedBackend(["A red circle, I think."]))
    text = model.ask("What?").text
    assert "".join(chunk.text for chunk in model.stream("What?")) == text
    assert (await model.aask("What?")).text == text
    assert "".join([chunk.text async for chunk in model.astream("What?")]) == text


async def test_leaving_an_async_stream_closes_it() -> None:
    gate = threading.Semaphore(2)
    backend = ScriptedBackend(["one two three four"], pause=gate.acquire)
    stream = Llava(backend=backend).astream("What?")
    assert (await anext(stream)).text == "one"
    await stream.aclose()
    gate.release(9)
    assert backend.closed_early == 1


async def test_errors_are_raised_in_the_task() -> None:
    model = Llava(backend=ScriptedBackend(context_length=20))
    with pytest.raises(ContextOverflowError):
        await model.aask("word " * 40)


async def test_concurrent_answers_match_their_questions() -> None:
    backend = ScriptedBackend(lambda request: f"echo {request.messages[-1].text}")
    model = Llava(backend=backend)
    answers = await asyncio.gather(*(model.aask(f"q{n}") for n in range(32)))
    assert [answer.text for answer in answers] == [f"echo q{n}" for n in range(32)]


def test_invalid_arguments_raise_before_loading(image: Path) -> None:
    model = Llava("no/model")  # would fail if it were loaded
    with pytest.raises(ImageError, match="nofile"):
        model.ask("What?", "nofile.png")
    with pytest.raises(RequestError, match="Did you mean 'temperature'"):
        model.ask("What?", temperatur=1)  # type: ignore[call-arg]
    with pytest.raises(RequestError, match="max_tokens=-1"):
        model.stream("What?", max_tokens=-1)
    with pytest.raises(RequestError, match="question is a list"):
        model.ask(["What?"])
    with pytest.raises(RequestError, match="Did you mean 'quantization'"):
        Llava("7b", quantisation="4bit")  # type: ignore[call-arg]


def test_closed_model_raises() -> None:
    model = Llava(backend=ScriptedBackend())
    with model:
        assert model.ask("?").text == "ok"
    with pytest.raises(EngineClosedError):
        model.ask("?")
    model.close()


class CountingLoader:
    """Loads scripted backends into the model cache and counts them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self.fail = False
        self.backends: list[ScriptedBackend] = []
        monkeypatch.setattr(model_cache, "engines", model_cache.ModelCache(self))

    def __call__(self, options: EngineOptions) -> Backend:
        self.count += 1
        if self.fail:
            raise ModelError("no room")
        self.backends.append(ScriptedBackend())
        return self.backends[-1]


def test_objects_of_one_model_share_one_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    loader = CountingLoader(monkeypatch)
    first, second, other = Llava(), Llava("tiny"), Llava("tiny", prefix_caching=False)
    assert loader.count == 0
    barrier = threading.Barrier(2)

    def use(model: Llava) -> None:
        barrier.wait()
        model.ask("?")

    threads = [threading.Thread(target=use, args=(model,)) for model in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    other.ask("?")
    assert loader.count == 2
    first.close()
    assert second.ask("?").text == "ok"
    second.close()
    with pytest.raises(EngineClosedError):
        loader.backends[0].stream(Request((Message("user", ("?",)),)))
    assert list(model_cache.engines.loaded()) == [other.options]


def test_failed_load_is_retried(monkeypatch: pytest.MonkeyPatch) -> None:
    loader = CountingLoader(monkeypatch)
    loader.fail = True
    model = Llava()
    with pytest.raises(ModelError):
        model.ask("?")
    loader.fail = False
    assert model.ask("?").text == "ok"


def test_garbage_collected_object_closes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    loader = CountingLoader(monkeypatch)
    for _ in range(3):
        Llava().ask("?")
    assert loader.count == 1
