"""A backend whose model may be unloaded between requests and is loaded again by the next one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Protocol

from llava_tools.core.backend import (
    Backend,
    Stream,
    calibration_of,
    evidence_backend,
    measures_evidence,
)
from llava_tools.core.image_grid import ImageGrid
from llava_tools.core.outputs import Chunk
from llava_tools.core.requests import Request


class Lease(Protocol):
    """Keeps a model loaded until it is closed or garbage-collected."""

    @property
    def model(self) -> Backend:
        """The loaded model; not to be read after `close`."""

    def close(self) -> None:
        """End the lease. Safe from any thread, and more than once."""


class LeasedBackend:
    """A backend that holds its model only while it answers.

    Args:
        lease: Returns a lease of the loaded model. It is called here too, for the model's name.

    Attributes:
        model_name: See `Backend.model_name`.
        context_length: See `Backend.context_length`.
        measures_evidence: See `backend.measures_evidence`.
        calibration: See `backend.calibration_of`.
    """

    def __init__(self, lease: Callable[[], Lease]) -> None:
        self._lease = lease
        with closing(lease()) as first:
            self.model_name = first.model.model_name
            self.context_length = first.model.context_length
            self.measures_evidence = measures_evidence(first.model)
            self.calibration = calibration_of(first.model)

    def stream(self, request: Request) -> Stream:
        """See `Backend.stream`. The model stays loaded until the stream is over."""
        lease = self._lease()
        try:
            return LeasedStream(lease.model.stream(request), lease)
        except BaseException:
            lease.close()
            raise

    def score(self, request: Request, labels: Sequence[str]) -> list[float]:
        """See `Backend.score`."""
        with closing(self._lease()) as lease:
            return lease.model.score(request, labels)

    @property
    def image_grid(self) -> ImageGrid:
        """See `EvidenceBackend.image_grid`."""
        with closing(self._lease()) as lease:
            return evidence_backend(lease.model).image_grid

    def score_without(
        self,
        request: Request,
        label: str,
        left_out: Sequence[Sequence[int]],
        cancelled: threading.Event | None = None,
    ) -> list[float]:
        """See `EvidenceBackend.score_without`."""
        with closing(self._lease()) as lease:
            model = evidence_backend(lease.model)
            return model.score_without(request, label, left_out, cancelled)

    def count_tokens(self, request: Request) -> int:
        """See `Backend.count_tokens`."""
        with closing(self._lease()) as lease:
            return lease.model.count_tokens(request)

    def token_ids(self, text: str) -> list[int]:
        """See `Backend.token_ids`."""
        with closing(self._lease()) as lease:
            return lease.model.token_ids(text)

    def close(self) -> None:
        """See `Backend.close`."""
        with closing(self._lease()) as lease:
            lease.model.close()


class LeasedStream:
    """A stream that ends its lease when it is over, closed or garbage-collected.

    It then holds the stream below no more, which holds the model.
    """

    def __init__(self, stream: Stream, lease: Lease) -> None:
        self._stream: Stream | None = stream
        self._lease = lease

    def __iter__(self) -> Iterator[Chunk]:
        return self

    def __next__(self) -> Chunk:
        stream = self._stream
        if stream is None:
            raise StopIteration
        try:
            return next(stream)
        except BaseException:
            self._end()
            raise

    def close(self) -> None:
        """See `Stream.close`."""
        if (stream := self._stream) is not None:
            stream.close()
            self._end()

    def _end(self) -> None:
        self._stream = None
        self._lease.close()
