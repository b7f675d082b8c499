"""Doubles that need no model: for tests of whatever stands above the backend interface, or searches pages."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from llava_tools.chat import prompt
from llava_tools.chat.prepare import PreparedRequest, prepare
from llava_tools.core.backend import Stream, check_labels
from llava_tools.core.outputs import Chunk, Timings, TokenLogprob, Usage
from llava_tools.core.requests import Request
from llava_tools.errors import EngineClosedError
from llava_tools.images import ImageRef
from llava_tools.structured.parser import constrained

Script = Callable[[Request], str] | Sequence[str]


class ScriptedBackend:
    """Answers from a script, word by word, and remembers what it was asked.

    Prompts are checked, built and counted as a real engine does (a word is a token, an image
    `image_tokens`), stop strings and `max_tokens` hold, logprobs are reported as 0.
    Under a constraint the script writes calls as `toolcall.write_call` does.

    Args:
        script: A function from the request to the answer, or answers given one after the other (the
            last one again and again).
        image_tokens: What an image costs; 576 as in LLaVA 1.5.
        context: Tokens that prompt and answer may have together.
        pause: Called before every chunk, so that a test can hold a stream where it wants.
        scores: A function from a request and a label to the label's log-probability.

    Attributes:
        requests: Every request, in the order in which they came.
        closed_early: How many streams were closed before they were finished.
    """

    model_name = "scripted"

    def __init__(
        self,
        script: Script = ("ok",),
        *,
        image_tokens: int = 576,
        context_length: int = 4096,
        pause: Callable[[], None] | None = None,
        scores: Callable[[Request, str], float] = lambda request, label: -1.0,
    ) -> None:
        self.requests: list[Request] = []
        self.closed_early = 0
        self.context_length = context_length
        self._script = script
        self._image_tokens = image_tokens
        self._pause = pause
        self._scores = scores
        self._lock = threading.Lock()
        self._closed = False

    def stream(self, request: Request) -> Stream:
        """Start answering; see `Backend.stream`."""
        prepared, usage, limit, turn = self._take(request, request.sampling.max_tokens)
        if callable(self._script):
            text = self._script(request)
        else:
            text = self._script[min(turn, len(self._script) - 1)]
        stream = ScriptedStream(self, _deltas(request, text, limit, usage))
        return constrained(stream, prepared.constraint)

    def score(self, request: Request, labels: Sequence[str]) -> list[float]:
        """Return what the script says of each label; see `Backend.score`."""
        check_labels(labels)
        self._take(request, max(len(label.split()) for label in labels))
        return [self._scores(request, label) for label in labels]

    def count_tokens(self, request: Request) -> int:
        """Words plus what the images cost."""
        return self._usage(prepare(request)).prompt_tokens

    def token_ids(self, text: str) -> list[int]:
        """One id a word, counted from 0."""
        return list(range(len(text.split())))

    def close(self) -> None:
        """Refuse further requests."""
        self._closed = True

    def _take(
        self, request: Request, max_tokens: int | None
    ) -> tuple[PreparedRequest, Usage, int, int]:
        """Check and record a request; return it with its usage, token limit and number."""
        if self._closed:
            raise EngineClosedError("This backend is closed.", "Make a new one.")
        prepared = prepare(request)
        usage = self._usage(prepared)
        limit = prompt.max_new_tokens(
            usage.prompt_tokens,
            prepared.images,
            self._image_tokens,
            max_tokens,
            self.context_length,
        )
        with self._lock:
            self.requests.append(request)
            return prepared, usage, limit, len(self.requests) - 1

    def _usage(self, prepared: PreparedRequest) -> Usage:
        pieces = prepared.pieces
        images = self._image_tokens * prepared.images
        words = sum(len(piece.split()) for piece in pieces if isinstance(piece, str))
        return Usage(prompt_tokens=words + images, image_tokens=images)


class ScriptedStream:
    """A `Stream` over prepared chunks."""

    def __init__(self, backend: ScriptedBackend, deltas: list[Chunk]) -> None:
        self._backend = backend
        self._deltas = deltas
        self._next = 0
        self._closed = False

    def __iter__(self) -> Iterator[Chunk]:
        return self

    def __next__(self) -> Chunk:
        if self._backend._pause is not None and self._next < len(self._deltas):
            self._backend._pause()
        if self._closed or self._next >= len(self._deltas):
            raise StopIteration
        self._next += 1
        return self._deltas[self._next - 1]

    def close(self) -> None:
        """Stop; see `Stream.close`."""
        if not self._closed:
            self._closed = True
            with self._backend._lock:
                self._backend.closed_early += self._next < len(self._deltas)


def _deltas(request: Request, text: str, limit: int, usage: Usage) -> list[Chunk]:
    """Cut a text into word chunks under the request's stop strings and token limit."""
    stops = [text.find(stop) for stop in request.sampling.stop if stop in text]
    if stops:
        text = text[: min(stops)]
    words = [word if i == 0 else " " + word for i, word in enumerate(text.split(" "))]
    cut = len(words) > limit
    words = words[:limit]
    logprobs = request.sampling.logprobs
    deltas = [
        Chunk(word, (i,), (TokenLogprob(word, 0.0),) if logprobs else ())
        for i, word in enumerate(words)
    ]
    deltas[-1] = replace(
        deltas[-1],
        finish_reason="length" if cut else "stop",
        usage=replace(usage, completion_tokens=len(words)),
        timings=Timings(),
    )
    return deltas


class ScriptedEmbedder:
    """Vectors without a model: a text or an image is as near to another as a test wants.

    Args:
        texts: From a text to its vector, not all zero; scaled to length one.
        images: From an image to its vector.
        dimensions: Length of the vectors.

    Attributes:
        embedded: How many images were embedded.
    """

    model_name = "scripted"

    def __init__(
        self,
        texts: Callable[[str], Sequence[float]] = lambda text: (1.0, 0.0),
        images: Callable[[ImageRef], Sequence[float]] = lambda image: (1.0, 0.0),
        *,
        dimensions: int = 2,
    ) -> None:
        self.dimensions = dimensions
        self.embedded = 0
        self._texts = texts
        self._images = images

    def embed_texts(self, texts: Sequence[str]) -> list[list[float]]:
        """Return what the script says, scaled."""
        return [_unit(self._texts(text)) for text in texts]

    def embed_images(self, images: Sequence[ImageRef]) -> list[list[float]]:
        """Return what the script says, scaled."""
        self.embedded += len(images)
        return [_unit(self._images(image)) for image in images]


def _unit(vector: Sequence[float]) -> list[float]:
    length = math.hypot(*vector)
    return [number / length for number in vector]
