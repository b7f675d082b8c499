"""Memory that runs out or short: for one request alone, or for more requests than the KV holds."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from PIL import Image

from llava_tools import Llava
from llava_tools.engine import vision_tower
from llava_tools.engine.continuous_batching import manager
from llava_tools.engine.continuous_batching.manager import Room
from llava_tools.engine.engine import LlavaEngine
from llava_tools.errors import MemoryExhaustedError


def _really() -> torch.Tensor:
    return torch.empty(1 << 60, dtype=torch.uint8)


def _python() -> torch.Tensor:
    raise MemoryError


@pytest.mark.parametrize("exhaust", [_really, _python])
def test_a_image_for_which_there_is_no_memory_fails_alone(
    fresh: Callable[..., Llava],
    images: list[Image.Image],
    monkeypatch: pytest.MonkeyPatch,
    exhaust: Callable[[], torch.Tensor],
) -> None:
    model = fresh(max_concurrent_requests=2)
    engine = model.backend
    assert isinstance(engine, LlavaEngine)
    expected = model.ask("What is it?", images[0], max_tokens=6).text
    other = model.stream("What is it?", images[0], max_tokens=6)
    with monkeypatch.context() as patched:
        patched.setattr(vision_tower, "features", lambda *_: exhaust())
        for _ in range(3):
            with pytest.raises(MemoryExhaustedError, match=r"the picture.*fewer") as told:
                model.ask("What is it?", images[1], max_tokens=6)
            assert told.value.retryable
        assert "".join(delta.text for delta in other) == expected
    assert model.ask("What is it?", images[1], max_tokens=2).usage.completion_tokens
    assert not engine._held


def test_other_errors_stay_what_they_are(
    fresh: Callable[..., Llava], images: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = fresh()

    def broken(*_: object) -> torch.Tensor:
        raise RuntimeError("a fuse blew")

    monkeypatch.setattr(vision_tower, "features", broken)
    with pytest.raises(RuntimeError, match="a fuse blew"):
        model.ask("What is it?", images[1])


def test_more_requests_than_the_kv_holds_wait_and_answer_the_same(
    fresh: Callable[..., Llava], images: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = [(f"What is number {n} of these?", images[n % 6]) for n in range(24)]
    plenty = fresh()
    expected = [plenty.ask(*each, max_tokens=40).token_ids for each in asked]
    # One request's context and hardly more; each of these takes a quarter of that or so.
    monkeypatch.setattr(manager, "CPU_ROOM", Room(step_tokens=256, kv_tokens=0, kv_share=1e-9))
    scarce = fresh()
    with ThreadPoolExecutor(len(asked)) as pool:
        futures = [pool.submit(scarce.ask, *each, max_tokens=40) for each in asked]
        assert [future.result().token_ids for future in futures] == expected
