"""An answer whose time is up while its image is encoded leaves nothing behind in the engine."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
import torch
from PIL import Image

from llava_tools import Llava, Message, open_image
from llava_tools.core import time_limit
from llava_tools.core.requests import Request, SamplingParams
from llava_tools.core.retry import RetryingBackend
from llava_tools.engine.engine import LlavaEngine
from llava_tools.errors import AnswerTimeoutError, QueueFullError
from llava_tools.images.limits import decode_limit


def test_timeout_while_an_image_is_encoded(
    fresh: Callable[..., Llava], images: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = fresh(max_concurrent_requests=1)
    engine = model.backend
    assert isinstance(engine, LlavaEngine)
    encode, encoding, resume = engine.image_batcher, threading.Event(), threading.Event()
    released = threading.Event()
    release = engine._release

    def encode_slowly(pixels: torch.Tensor) -> torch.Tensor:
        encoding.set()
        assert resume.wait(60)
        return encode(pixels)

    def release_and_signal(*arguments: object) -> None:
        release(*arguments)
        released.set()

    monkeypatch.setattr(engine, "image_batcher", encode_slowly)
    monkeypatch.setattr(engine, "_release", release_and_signal)
    # The time is up when the image is being encoded, since a busy machine may start late.
    monkeypatch.setattr(time_limit, "monotonic", lambda: float(encoding.is_set()))
    request = Request(
        (Message("user", (open_image(images[0]), "What is it?")),), SamplingParams(max_tokens=4)
    )
    with pytest.raises(AnswerTimeoutError, match=r"timeout=0\.05"):
        list(RetryingBackend(engine, 0.05, 0).stream(request))
    assert not released.is_set()
    with pytest.raises(QueueFullError):  # the abandoned request still takes part of the engine
        model.ask("Hello?")
    resume.set()
    assert released.wait(60)
    assert engine.idle
    assert model.ask("What is it?", images[0], max_tokens=4).usage.completion_tokens == 4


def test_i3_a_small_image_is_answered_while_a_large_one_is_decoded(
    fresh: Callable[..., Llava], images: list[Image.Image]
) -> None:
    model = fresh()
    with decode_limit.hold((8_000, 8_000)):  # as somebody else's image does
        assert model.ask("What is it?", images[0], max_tokens=4).usage.completion_tokens == 4
