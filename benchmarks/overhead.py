"""Overhead of `ChatLlava.invoke` and LlamaIndex's `chat` over the engine's own time.

Within each call, the time spent in the engine's stream is measured. The rest is overhead: messages
to a request, image block to image, callbacks, answer to a message. The callers take turns. Images
are passed by handle, as agents pass them on, and as base64, as they first arrive. For comparison:
LangChain's own overhead around a fake model.

    python -m benchmarks.overhead [--rounds 40] [--scripted] [--threads 1]
"""

from __future__ import annotations

import argparse
import base64
import json
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import HumanMessage
from llama_index.core.llms import ChatMessage, ImageBlock, TextBlock

from benchmarks.machine import describe
from langchain_llava import ChatLlava, image_block
from llama_index.llms.llava import Llava as LlamaIndexLlava
from llava_tools import Llava, Message, open_image
from llava_tools.core.backend import Backend, Stream
from llava_tools.core.outputs import Chunk, collect
from llava_tools.core.requests import Request, SamplingParams
from llava_tools.core.retry import RetryingBackend
from llava_tools.testing import ScriptedBackend

IMAGE = Path(__file__).parent.parent / "examples" / "images" / "night.png"
QUESTION = "What colour is the star?"
TOKENS = 8


class Timed(RetryingBackend):
    """Measures the time spent inside another backend.

    Attributes:
        spent: Seconds since `spent` was last set to 0.
    """

    def __init__(self, backend: Backend) -> None:
        super().__init__(backend, timeout=None, max_retries=0)
        self.spent = 0.0

    def stream(self, request: Request) -> Stream:
        """See `Backend.stream`."""
        begin = time.perf_counter()
        stream = super().stream(request)
        self.spent += time.perf_counter() - begin
        return _TimedStream(self, stream)


class _TimedStream:
    def __init__(self, timed: Timed, stream: Stream) -> None:
        self._timed = timed
        self._stream = stream

    def __iter__(self) -> Iterator[Chunk]:
        return self

    def __next__(self) -> Chunk:
        begin = time.perf_counter()
        try:
            return next(self._stream)
        finally:
            self._timed.spent += time.perf_counter() - begin

    def close(self) -> None:
        begin = time.perf_counter()
        self._stream.close()
        self._timed.spent += time.perf_counter() - begin


def callers(timed: Timed) -> dict[str, Callable[[], object]]:
    """Return functions that send the same request, by name."""
    image = open_image(IMAGE)
    chat = ChatLlava(backend=timed, max_tokens=TOKENS)
    index = LlamaIndexLlava(backend=timed, max_tokens=TOKENS)
    plain = Llava(backend=timed)
    fake = FakeListChatModel(responses=["It is yellow."])
    question = {"type": "text", "text": QUESTION}
    by_handle = HumanMessage([image_block(IMAGE), question])
    data = base64.b64encode(IMAGE.read_bytes()).decode()
    as_base64 = HumanMessage(
        [{"type": "image", "base64": data, "mime_type": "image/png"}, question]
    )
    block = ImageBlock(image=IMAGE.read_bytes(), image_mimetype="image/png")
    as_bytes = ChatMessage([block, TextBlock(text=QUESTION)])
    request = Request((Message("user", (image, QUESTION)),), SamplingParams(max_tokens=TOKENS))
    return {
        "Backend.stream": lambda: collect(timed.stream(request), ""),
        "Llava.ask": lambda: plain.ask(QUESTION, image, max_tokens=TOKENS),
        "ChatLlava.invoke, handle": lambda: chat.invoke([by_handle]),
        "ChatLlava.invoke, base64": lambda: chat.invoke([as_base64]),
        "LangChain alone, base64": lambda: fake.invoke([as_base64]),
        "LlamaIndex chat, bytes": lambda: index.chat([as_bytes]),
        "LlamaIndex chat, text": lambda: index.chat([ChatMessage(QUESTION)]),
    }


def measure(backend: Backend, rounds: int) -> dict[str, dict[str, float]]:
    """Return median milliseconds of the overhead and of the engine's own time."""
    timed = Timed(backend)
    added: dict[str, list[float]] = {}
    engine: dict[str, list[float]] = {}
    functions = callers(timed)
    for number in range(rounds + 2):  # the first two warm up
        for name, call in functions.items():
            timed.spent = 0.0
            begin = time.perf_counter()
            call()
            seconds = time.perf_counter() - begin
            if number > 1:
                added.setdefault(name, []).append(1e3 * (seconds - timed.spent))
                engine.setdefault(name, []).append(1e3 * timed.spent)
    return {
        name: {
            "added_ms": round(statistics.median(times), 3),
            "added_p90_ms": round(statistics.quantiles(times, n=10)[-1], 3),
            "engine_ms": round(statistics.median(engine[name]), 2),
        }
        for name, times in added.items()
    }


def main() -> None:
    """Measure and print a table, then one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--scripted", action="store_true", help="use ScriptedBackend, no model")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with Llava() as model:
        backend = ScriptedBackend(["It is yellow."]) if options.scripted else model.backend
        figures = measure(backend, options.rounds)
    print(f"{'':28}{'added, ms':>12}{'p90':>10}{'engine, ms':>12}")
    for name, times in figures.items():
        print(f"{name:28}" + "".join(f"{value:>11}" for value in times.values()))
    print(json.dumps({"benchmark": "overhead", **vars(options), **describe(), "callers": figures}))


if __name__ == "__main__":
    main()
