"""The backend interface: `Request` in, a stream of `Chunk`s out.

The engine, the remote client and `testing.ScriptedBackend` implement it. Code above this interface
does not depend on where the model runs. `streaming` collects answers from any backend.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator, Sequence
from typing import Protocol, runtime_checkable

from llava_tools.core.calibration import UNCALIBRATED, Calibration
from llava_tools.core.image_grid import ImageGrid
from llava_tools.core.outputs import Chunk
from llava_tools.core.requests import Request
from llava_tools.errors import RequestError
from llava_tools.images import ImageRef


class Stream(Iterator[Chunk], Protocol):
    """An iterator of an answer's chunks; the last one has a finish reason."""

    def close(self) -> None:
        """Stop the generation and end the iteration. Safe from any thread, and more than once."""


@runtime_checkable
class Backend(Protocol):
    """An engine, in this process or remote. All methods are thread-safe."""

    @property
    def model_name(self) -> str:
        """Name of the model, as reported in answers."""

    @property
    def context_length(self) -> int:
        """Maximum number of tokens of prompt and answer together."""

    def stream(self, request: Request) -> Stream:
        """Start answering a request.

        Raises:
            RequestError: The request cannot be answered as it is.
            EngineError: The engine cannot accept it.
        """

    def score(self, request: Request, labels: Sequence[str]) -> list[float]:
        """Return the log-probability of each label as the whole answer, without sampling.

        Args:
            request: The conversation. Its sampling parameters are ignored; its constraint only
                appears in the prompt.
            labels: See `check_labels`.

        Returns:
            For each label the natural log-probability of its tokens and the end of the turn, <= 0,
            under the unmodified distribution.

        Raises:
            RequestError: The request or a label is not possible.
            EngineError: The engine cannot accept it, or could not finish.
        """

    def count_tokens(self, request: Request) -> int:
        """Return the number of tokens of the prompt, images included."""

    def token_ids(self, text: str) -> list[int]:
        """Return the token ids of plain text; special tokens in it are encoded as text."""

    def close(self) -> None:
        """Fail the running requests and free the model's memory. Safe to call more than once."""


@runtime_checkable
class EvidenceBackend(Protocol):
    """What a backend offers beside `Backend` if it can leave out parts of an image."""

    @property
    def image_grid(self) -> ImageGrid:
        """Where an image's tokens lie in the image."""

    def score_without(
        self,
        request: Request,
        label: str,
        left_out: Sequence[Sequence[int]],
        cancelled: threading.Event | None = None,
    ) -> list[float]:
        """Score a label as the whole answer with some of the images' tokens left out.

        Their features are replaced by neutral ones; the images are not encoded again.

        Args:
            request: The conversation, as in `Backend.score`.
            label: See `check_labels`.
            left_out: For each score the positions of the tokens that are left out, counted through
                the tokens of all images of the conversation in order, from 0. Empty for none.
            cancelled: Set it from another thread to stop.

        Returns:
            For each item of `left_out` what `Backend.score` returns for the label.

        Raises:
            RequestError: The request, the label or a position is not possible.
            EngineError: The engine cannot accept it, or could not finish.
        """


class WrappedBackend:
    """A backend that answers through another one; a subclass overrides what differs.

    Attributes:
        backend: The other backend.
    """

    backend: Backend

    @property
    def model_name(self) -> str:
        """See `Backend.model_name`."""
        return self.backend.model_name

    @property
    def context_length(self) -> int:
        """See `Backend.context_length`."""
        return self.backend.context_length

    @property
    def reports_logprobs(self) -> bool:
        """See `reports_logprobs`."""
        return reports_logprobs(self.backend)

    @property
    def scores_labels(self) -> bool:
        """See `scores_labels`."""
        return scores_labels(self.backend)

    @property
    def calibration(self) -> Calibration:
        """See `calibration_of`."""
        return calibration_of(self.backend)

    def score(self, request: Request, labels: Sequence[str]) -> list[float]:
        """See `Backend.score`."""
        return self.backend.score(request, labels)

    @property
    def measures_evidence(self) -> bool:
        """See `measures_evidence`."""
        return measures_evidence(self.backend)

    @property
    def image_grid(self) -> ImageGrid:
        """See `EvidenceBackend.image_grid`."""
        return evidence_backend(self.backend).image_grid

    def score_without(
        self,
        request: Request,
        label: str,
        left_out: Sequence[Sequence[int]],
        cancelled: threading.Event | None = None,
    ) -> list[float]:
        """See `EvidenceBackend.score_without`."""
        inner = evidence_backend(self.backend)
        return inner.score_without(request, label, left_out, cancelled)

    def count_tokens(self, request: Request) -> int:
        """See `Backend.count_tokens`."""
        return self.backend.count_tokens(request)

    def token_ids(self, text: str) -> list[int]:
        """See `Backend.token_ids`."""
        return self.backend.token_ids(text)

    def close(self) -> None:
        """See `Backend.close`."""
        self.backend.close()


def reports_logprobs(backend: Backend) -> bool:
    """Return whether answers have log-probabilities on request.

    A backend has them unless its attribute `reports_logprobs` is False, as with some servers.
    """
    return bool(getattr(backend, "reports_logprobs", True))


def scores_labels(backend: Backend) -> bool:
    """Return whether `Backend.score` works, unless the attribute `scores_labels` is False."""
    return bool(getattr(backend, "scores_labels", True))


def measures_evidence(backend: Backend) -> bool:
    """Return whether a backend is an `EvidenceBackend`: its attribute `measures_evidence`."""
    return bool(getattr(backend, "measures_evidence", False))


def evidence_backend(backend: Backend) -> EvidenceBackend:
    """Return a backend as one that can leave out parts of an image.

    Raises:
        RequestError: It cannot.
    """
    if measures_evidence(backend) and isinstance(backend, EvidenceBackend):
        return backend
    raise RequestError(
        f"{backend.model_name} does not say what its answers depend on: evidence needs the model "
        "in this process.",
        "Leave out base_url.",
    )


def calibration_of(backend: Backend) -> Calibration:
    """Return the attribute `calibration` of a backend; without one, a calibration of no effect.

    `Backend.score` does not apply it.
    """
    calibration: Calibration = getattr(backend, "calibration", UNCALIBRATED)
    return calibration


class Encoder(Protocol):
    """Embeds texts and images. All methods are thread-safe."""

    @property
    def model_name(self) -> str:
        """Name of the CLIP model, as stored in an index."""

    @property
    def dimensions(self) -> int:
        """Length of the vectors."""

    def embed_texts(self, texts: Sequence[str]) -> list[list[float]]:
        """Return a unit vector for each text."""

    def embed_images(self, images: Sequence[ImageRef]) -> list[list[float]]:
        """Return a unit vector for each image."""


class EmbeddingModel(Encoder, Protocol):
    """An encoder with memory to free."""

    def close(self) -> None:
        """Free the memory."""


def check_labels(labels: Sequence[str]) -> None:
    """Check labels: answers are text without surrounding white space, so labels are too.

    Raises:
        RequestError: There is no label, or one is blank, padded or repeated.
    """
    if isinstance(labels, str) or not labels:
        raise RequestError(f"labels={labels!r} is no list of labels.", "Give one or more strings.")
    for label in labels:
        if not isinstance(label, str) or not label or label != label.strip():
            raise RequestError(
                f"{label!r} cannot be a label.", "Give text without white space around it."
            )
        if labels.count(label) > 1:
            raise RequestError(f"The label {label!r} is given twice.", "Give it once.")


def check_left_out(left_out: Sequence[Sequence[int]], image_tokens: int) -> None:
    """Check the positions of `EvidenceBackend.score_without`.

    Raises:
        RequestError: A conversation with that many image tokens has no such position.
    """
    for position in itertools.chain.from_iterable(left_out):
        if not 0 <= position < image_tokens:
            raise RequestError(
                f"{position} is no position of an image token.",
                f"The images of this conversation have {image_tokens}, counted from 0.",
            )
