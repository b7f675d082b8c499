"""What `ChatLlava.invoke` and LlamaIndex's `chat` add to the engine's own time.

The engine is timed from within each call: the seconds spent in its stream. The rest of the call is
the wrapper's: messages to a request, the image's block to an image, callbacks, the answer to a
message. Asked in turns, about an image by its handle, as agents carry it on, and as base64, as it
comes first; next to what LangChain itself does around a model that is none.

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

IMAGE = Path(__file__).parent.parent / "examples" / "pictures" / "night.png"
QUESTION = "What colour is the star?"
TOKENS = 8


class Timed(RetryingBackend):
    """A backend that notes the time spent inside another one.

    Attributes:
        spent: Seconds since it was last set to 0.
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


def ways(timed: Timed) -> dict[str, Callable[[], object]]:
    """Return everybody who asks the same, by name."""
    image = open_image(IMAGE)
    chat = ChatLlava(backend=timed, max_tokens=TOKENS)
    index = LlamaIndexLlava(backend=timed, max_tokens=TOKENS)
    plain = Llava(backend=timed)
    fake = FakeListChatModel(responses=["It is yellow."])
    told = {"type": "text", "text": QUESTION}
    known = HumanMessage([image_block(IMAGE), told])
    data = base64.b64encode(IMAGE.read_bytes()).decode()
    whole = HumanMessage([{"type": "image", "base64": data, "mime_type": "image/png"}, told])
    block = ImageBlock(image=IMAGE.read_bytes(), image_mimetype="image/png")
    asked = ChatMessage([block, TextBlock(text=QUESTION)])
    request = Request((Message("user", (image, QUESTION)),), SamplingParams(max_tokens=TOKENS))
    return {
        "the seam": lambda: collect(timed.stream(request), ""),
        "Llava.ask": lambda: plain.ask(QUESTION, image, max_tokens=TOKENS),
        "ChatLlava.invoke, handle": lambda: chat.invoke([known]),
        "ChatLlava.invoke, base64": lambda: chat.invoke([whole]),
        "LangChain alone, base64": lambda: fake.invoke([whole]),
        "LlamaIndex chat, bytes": lambda: index.chat([asked]),
        "LlamaIndex chat, text": lambda: index.chat([ChatMessage(QUESTION)]),
    }


def measure(backend: Backend, rounds: int) -> dict[str, dict[str, float]]:
    """Return medians in milliseconds: of what was added, and of the engine's own time."""
    timed = Timed(backend)
    added: dict[str, list[float]] = {}
    own: dict[str, list[float]] = {}
    asked = ways(timed)
    for number in range(rounds + 2):  # the first two warm up
        for name, ask in asked.items():
            timed.spent = 0.0
            begin = time.perf_counter()
            ask()
            took = time.perf_counter() - begin
            if number > 1:
                added.setdefault(name, []).append(1e3 * (took - timed.spent))
                own.setdefault(name, []).append(1e3 * timed.spent)
    return {
        name: {
            "added_ms": round(statistics.median(times), 3),
            "added_p90_ms": round(statistics.quantiles(times, n=10)[-1], 3),
            "engine_ms": round(statistics.median(own[name]), 2),
        }
        for name, times in added.items()
    }


def main() -> None:
    """Measure and print a table, then one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--scripted", action="store_true", help="no model: ScriptedBackend")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with Llava() as model:
        backend = ScriptedBackend(["It is yellow."]) if options.scripted else model.backend
        figures = measure(backend, options.rounds)
    print(f"{'':28}{'added, ms':>12}{'p90':>10}{'engine, ms':>12}")
    for name, found in figures.items():
        print(f"{name:28}" + "".join(f"{value:>11}" for value in found.values()))
    print(json.dumps({"benchmark": "overhead", **vars(options), **describe(), "ways": figures}))


if __name__ == "__main__":
    main()
