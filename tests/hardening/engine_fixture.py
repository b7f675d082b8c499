"""An engine with random weights, requests to it, and whether anything is left of them."""

from __future__ import annotations

import gc
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from pathlib import Path
from typing import Any

from PIL import Image

from llava_tools import Message, Request, SamplingParams, open_image
from llava_tools.core.constraints import Constraint
from llava_tools.core.outputs import collect
from llava_tools.engine import load_engine
from llava_tools.engine.engine import LlavaEngine
from llava_tools.options import EngineOptions
from tests.checkpoints import write_checkpoint

#: Seconds after which waiting counts as a hang.
HANG = 60
#: Requests that an engine takes at a time, and that a round sends.
SLOTS, REQUESTS = 12, 5
VICTIM = "Are you the victim?"


@cache
def _checkpoint() -> tuple[tempfile.TemporaryDirectory[str], Path]:
    folder = tempfile.TemporaryDirectory()
    return folder, write_checkpoint(Path(folder.name))


def load(**options: Any) -> LlavaEngine:
    """Return an engine of a model with random weights."""
    limits = {"max_concurrent_requests": SLOTS, "context_length": 512, **options}
    engine = load_engine(EngineOptions(str(_checkpoint()[1]), dtype="float32", **limits))
    assert isinstance(engine, LlavaEngine)
    return engine


def requests() -> list[Request]:
    """Return requests of several kinds; the first is the one that a fault may concern."""
    images = [open_image(Image.new("RGB", (20, 20), colour)) for colour in ("red", "blue")]
    form = Constraint(schema={"type": "object", "properties": {"a": {"enum": ["x", "y"]}}})
    return [
        Request((Message("user", (images[0], VICTIM)),), SamplingParams(max_tokens=12)),
        Request((Message("user", (images[1], "What is it?")),), SamplingParams(max_tokens=9)),
        Request((Message("user", ("Two words.",)),), SamplingParams(max_tokens=12, seed=3)),
        Request((Message("user", ("A form.",)),), SamplingParams(max_tokens=60), form),
        Request((Message("user", (images[0], "And here?")),), SamplingParams(max_tokens=5)),
    ]


def answer(engine: LlavaEngine, request: Request) -> object:
    """Return what the engine answers, without what depends on time."""
    result = collect(engine.stream(request), "m")
    return result.text, result.token_ids, result.finish_reason


def check_idle(engine: LlavaEngine, request: Request, right: object) -> None:
    """Check that nothing is left of earlier requests, and that the engine answers."""
    if answer(engine, request) != right:
        raise AssertionError("another answer after the fault")
    gc.collect()  # streams that were dropped
    deadline = time.monotonic() + HANG
    blocks = engine.loop._blocks
    while not (engine.idle and blocks.available == blocks.count):
        if time.monotonic() > deadline:
            raise AssertionError(f"{blocks.count - blocks.available} blocks are in use")
        answer(engine, request)  # its steps remove what was cancelled
    if engine._free_slots._value != SLOTS:
        raise AssertionError(f"{engine._free_slots._value} of {SLOTS} slots")
    if engine.image_batcher._waiting or engine._images._encoding:
        raise AssertionError("images still wait")


def send(
    engine: LlavaEngine, known: Sequence[Request], work: Callable[[int], object]
) -> list[object]:
    """Send requests at once; return what `work`, called with each number, returns or raises."""

    def caught(number: int) -> object:
        try:
            return work(number)
        except BaseException as error:  # noqa: BLE001 - compared with those that are allowed
            # Without the traceback, which holds the stream as a caller's own variable would not.
            return error.with_traceback(None)

    with ThreadPoolExecutor(len(known)) as pool:
        futures = [pool.submit(caught, number) for number in range(len(known))]
        if wait(futures, HANG).not_done:
            engine.close()
            raise AssertionError("requests hang")
    return [future.result() for future in futures]
