"""Too little memory: for one request's image, or for more requests than the KV holds."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from PIL import Image

from llava_tools import Llava
from llava_tools.engine import kv_cache, vision_tower
from llava_tools.engine.engine import LlavaEngine
from llava_tools.engine.kv_cache import MemoryBudget
from llava_tools.errors import MemoryExhaustedError


def _torch_allocation() -> torch.Tensor:
    return torch.empty(1 << 60, dtype=torch.uint8)


def _memory_error() -> torch.Tensor:
    raise MemoryError


@pytest.mark.parametrize("exhaust", [_torch_allocation, _memory_error])
def test_an_image_that_lacks_memory_fails_its_own_request_only(
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
            with pytest.raises(MemoryExhaustedError, match=r"the image.*fewer") as caught:
                model.ask("What is it?", images[1], max_tokens=6)
            assert caught.value.retryable
        assert "".join(chunk.text for chunk in other) == expected
    assert model.ask("What is it?", images[1], max_tokens=2).usage.completion_tokens
    assert engine.idle


def test_other_errors_are_not_converted(
    fresh: Callable[..., Llava], images: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = fresh()

    def broken(*_: object) -> torch.Tensor:
        raise RuntimeError("broken")

    monkeypatch.setattr(vision_tower, "features", broken)
    with pytest.raises(RuntimeError, match="broken"):
        model.ask("What is it?", images[1])


def test_more_requests_than_the_kv_holds_wait_and_answer_the_same(
    fresh: Callable[..., Llava], images: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    questions = [(f"What is number {n} of these?", images[n % 6]) for n in range(24)]
    roomy = fresh()
    expected = [roomy.ask(*question, max_tokens=40).token_ids for question in questions]
    # One request's context and hardly more; each of these takes a quarter of that or so.
    monkeypatch.setattr(
        kv_cache, "CPU_BUDGET", MemoryBudget(step_tokens=256, kv_tokens=0, kv_share=1e-9)
    )
    limited = fresh()
    with ThreadPoolExecutor(len(questions)) as pool:
        futures = [pool.submit(limited.ask, *question, max_tokens=40) for question in questions]
        assert [future.result().token_ids for future in futures] == expected
