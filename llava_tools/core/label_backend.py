"""`LabelBackend`: answers with the likeliest of some labels, instead of generating."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from llava_tools.core.backend import Backend, Stream, WrappedBackend, check_labels
from llava_tools.core.outputs import Chunk, Timings, TokenLogprob, Usage
from llava_tools.core.requests import Request


class LabelBackend(WrappedBackend):
    """A backend whose answers are labels, chosen by the log-probabilities of whole labels.

    An answer is one chunk. Its only log-probability is the label's, with all labels as the
    alternatives, the likeliest first. Backends do not say how many tokens of a prompt belong to
    images, so `Usage.image_tokens` is 0.

    Args:
        backend: Scores the labels.
        labels: See `check_labels`.

    Raises:
        RequestError: A label is not possible.
    """

    def __init__(self, backend: Backend, labels: Sequence[str]) -> None:
        check_labels(labels)
        self.backend = backend
        self._labels = tuple(labels)

    def stream(self, request: Request) -> Stream:
        """See `Backend.stream`."""
        return LabelStream(self, request)

    def answer(self, request: Request) -> Chunk:
        """Return the whole answer."""
        begin = time.perf_counter()
        scores = self.score(request, self._labels)
        pairs = zip(self._labels, scores, strict=True)
        ranked = tuple(sorted(pairs, key=lambda pair: pair[1], reverse=True))
        seconds = time.perf_counter() - begin
        label, logprob = ranked[0]
        return Chunk(
            label,
            logprobs=(TokenLogprob(label, logprob, ranked),),
            finish_reason="stop",
            usage=Usage(prompt_tokens=self.count_tokens(request)),
            timings=Timings(first_token=seconds, total=seconds),
        )


class LabelStream:
    """The stream of one label. Closing it while the labels are scored does not stop that."""

    def __init__(self, backend: LabelBackend, request: Request) -> None:
        self._backend = backend
        self._request = request
        self._ended = False

    def __iter__(self) -> Iterator[Chunk]:
        return self

    def __next__(self) -> Chunk:
        if self._ended:
            raise StopIteration
        self._ended = True
        return self._backend.answer(self._request)

    def close(self) -> None:
        """See `Stream.close`."""
        self._ended = True
