"""Test doubles without a model: `ScriptedBackend` and `ScriptedEmbedder`."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from llava_tools.chat.prepare import PreparedRequest, prepare
from llava_tools.chat.token_limit import max_new_tokens
from llava_tools.core.backend import Stream, check_labels, check_left_out
from llava_tools.core.calibration import UNCALIBRATED, Calibration
from llava_tools.core.image_grid import ImageGrid
from llava_tools.core.outputs import Chunk, FinishReason, Timings, TokenLogprob, Usage
from llava_tools.core.requests import Request
from llava_tools.errors import EngineClosedError
from llava_tools.images import ImageRef
from llava_tools.structured.constrained_stream import constrained

Script = Callable[[Request], str] | Sequence[str]


class ScriptedBackend:
    """A backend that answers from a script, word by word, and records its requests.

    Requests are checked and their prompts built and counted as in the engine (a word is a token).
    Stop strings and `max_tokens` are applied; logprobs are 0. The script writes tool calls as
    `chat.tool_calls.write_call` does.

    Args:
        script: A function from a request to its answer, or the answers in order; the last one is
            repeated.
        image_tokens: Tokens of an image; 576 as in LLaVA 1.5.
        context_length: Maximum number of tokens of prompt and answer together.
        pause: Called before each chunk, so that a test can block a stream.
        scores: A function from a request and a label to the label's log-probability.
        scores_without: A function from a request, a label and the positions of the image tokens
            that are left out, to the label's log-probability; None for `scores`.
        calibration: What `Llava.choose` and the like apply to the scores.

    Attributes:
        requests: All requests, in order of arrival.
        closed_early: Number of streams that were closed before their end.
    """

    model_name = "scripted"
    measures_evidence = True

    def __init__(
        self,
        script: Script = ("ok",),
        *,
        image_tokens: int = 576,
        context_length: int = 4096,
        pause: Callable[[], None] | None = None,
        scores: Callable[[Request, str], float] = lambda request, label: -1.0,
        scores_without: Callable[[Request, str, Sequence[int]], float] | None = None,
        calibration: Calibration = UNCALIBRATED,
    ) -> None:
        self.calibration = calibration
        self.requests: list[Request] = []
        self.closed_early = 0
        self.context_length = context_length
        self._script = script
        self._image_tokens = image_tokens
        self._pause = pause
        self._scores = scores
        self._scores_without = scores_without or (lambda request, label, _: scores(request, label))
        self._lock = threading.Lock()
        self._closed = False

    def stream(self, request: Request) -> Stream:
        """See `Backend.stream`."""
        prepared, usage, limit, number = self._record(request, request.sampling.max_tokens)
        if callable(self._script):
            text = self._script(request)
        else:
            text = self._script[min(number, len(self._script) - 1)]
        stream = ScriptedStream(self, _chunks(request, text, limit, usage))
        stop = request.sampling.stop
        return constrained(stream, prepared.constraint, stop=stop, usage=usage)

    def score(self, request: Request, labels: Sequence[str]) -> list[float]:
        """See `Backend.score`."""
        check_labels(labels)
        self._record(request, max(len(label.split()) for label in labels))
        return [self._scores(request, label) for label in labels]

    @property
    def image_grid(self) -> ImageGrid:
        """See `EvidenceBackend.image_grid`: a padded square of the image tokens."""
        return ImageGrid(math.isqrt(self._image_tokens), padded=True)

    def score_without(
        self,
        request: Request,
        label: str,
        left_out: Sequence[Sequence[int]],
        cancelled: threading.Event | None = None,
    ) -> list[float]:
        """See `EvidenceBackend.score_without`."""
        check_labels([label])
        prepared, *_ = self._record(request, len(label.split()))
        check_left_out(left_out, prepared.images * self._image_tokens)
        return [self._scores_without(request, label, positions) for positions in left_out]

    def count_tokens(self, request: Request) -> int:
        """Return the number of words and image tokens."""
        return self._usage(prepare(request)).prompt_tokens

    def token_ids(self, text: str) -> list[int]:
        """Return one id for each word, from 0."""
        return list(range(len(text.split())))

    def close(self) -> None:
        """Refuse further requests."""
        self._closed = True

    def _record(
        self, request: Request, max_tokens: int | None
    ) -> tuple[PreparedRequest, Usage, int, int]:
        """Check and record a request; return it with its usage, token limit and number."""
        if self._closed:
            raise EngineClosedError("This backend is closed.", "Make a new one.")
        prepared = prepare(request)
        usage = self._usage(prepared)
        limit = max_new_tokens(
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
        images = self._image_tokens * prepared.images
        words = sum(len(piece.split()) for piece in prepared.pieces if isinstance(piece, str))
        return Usage(prompt_tokens=words + images, image_tokens=images)


class ScriptedStream:
    """A stream of fixed chunks."""

    def __init__(self, backend: ScriptedBackend, chunks: list[Chunk]) -> None:
        self._backend = backend
        self._chunks = chunks
        self._next = 0
        self._closed = False

    def __iter__(self) -> Iterator[Chunk]:
        return self

    def __next__(self) -> Chunk:
        if self._backend._pause is not None and self._next < len(self._chunks):
            self._backend._pause()
        if self._closed or self._next >= len(self._chunks):
            raise StopIteration
        self._next += 1
        return self._chunks[self._next - 1]

    def close(self) -> None:
        """See `Stream.close`."""
        if not self._closed:
            self._closed = True
            with self._backend._lock:
                self._backend.closed_early += self._next < len(self._chunks)


def _chunks(request: Request, text: str, limit: int, usage: Usage) -> list[Chunk]:
    """Split a text into words, up to the first stop string and the token limit."""
    stops = [(text.find(stop), stop) for stop in request.sampling.stop if stop in text]
    end, stop_string = min(stops, default=(len(text), ""))
    text = text[:end]
    words = [word if i == 0 else " " + word for i, word in enumerate(text.split(" "))]
    finish_reason: FinishReason = "length" if len(words) > limit else "stop"
    words = words[:limit]
    logprobs = request.sampling.logprobs
    chunks = [
        Chunk(word, (i,), (TokenLogprob(word, 0.0),) if logprobs else ())
        for i, word in enumerate(words)
    ]
    chunks[-1] = replace(
        chunks[-1],
        finish_reason=finish_reason,
        usage=replace(usage, completion_tokens=len(words)),
        timings=Timings(),
        stop_string=stop_string if finish_reason == "stop" else "",
    )
    return chunks


class ScriptedEmbedder:
    """An encoder whose vectors a test chooses; they are scaled to unit length.

    Args:
        texts: A function from a text to its vector, not all zero.
        images: A function from an image to its vector, not all zero.
        dimensions: Length of the vectors.

    Attributes:
        embedded: Number of images that were embedded.
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
        """See `Encoder.embed_texts`."""
        return [_unit(self._texts(text)) for text in texts]

    def embed_images(self, images: Sequence[ImageRef]) -> list[list[float]]:
        """See `Encoder.embed_images`."""
        self.embedded += len(images)
        return [_unit(self._images(image)) for image in images]


def _unit(vector: Sequence[float]) -> list[float]:
    length = math.hypot(*vector)
    return [number / length for number in vector]
