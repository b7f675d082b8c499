"""Generators that yield requests for the model and receive its answers.

The work of a visual tool is written once, as such a generator. `run_requests` runs it blocking,
`arun_requests` in an event loop. Requests that are yielded together share a batch. A
`RequestSender` sends them; a framework may have one of its own, so that its callbacks see them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, cast

from llava_tools import evidence, label_scoring
from llava_tools.core.backend import calibration_of
from llava_tools.core.calibration import Calibration
from llava_tools.core.outputs import Answer
from llava_tools.core.requests import Message, Request, SamplingParams
from llava_tools.core.streaming import aanswer_all, answer_all
from llava_tools.evidence import EvidenceMap
from llava_tools.images import ImageRef
from llava_tools.model import Llava

T = TypeVar("T")


@dataclass(frozen=True)
class ScoringRequest:
    """A request for the log-probabilities of labels as its answers."""

    request: Request
    labels: tuple[str, ...]


@dataclass(frozen=True)
class EvidenceRequest:
    """A request for the part of its image that an answer to it depends on."""

    request: Request
    answer: str


@dataclass(frozen=True)
class CalibrationRequest:
    """A request for the calibration of the model's probabilities."""


ModelRequests = tuple[Request, ...] | ScoringRequest | EvidenceRequest | CalibrationRequest
RequestGenerator = Generator[ModelRequests, Any, T]


class RequestSender(Protocol):
    """Sends requests to a model, and returns answers in their order or the labels' scores.

    Cancelling the task of an async method stops the generation.
    """

    def answer(self, requests: Sequence[Request]) -> Sequence[Answer]:
        """Answer requests that may share a batch."""

    def score(self, request: ScoringRequest) -> Sequence[float]:
        """Return the labels' log-probabilities."""

    def calibration(self) -> Calibration:
        """Return the calibration of the model, which may have to be loaded."""

    def evidence(self, request: EvidenceRequest) -> EvidenceMap:
        """Return which part of the image the answer depends on."""

    async def aanswer(self, requests: Sequence[Request]) -> Sequence[Answer]:
        """`answer` without blocking the event loop."""

    async def ascore(self, request: ScoringRequest) -> Sequence[float]:
        """`score` without blocking the event loop."""

    async def aevidence(self, request: EvidenceRequest) -> EvidenceMap:
        """`evidence` without blocking the event loop."""


@dataclass(frozen=True)
class BackendSender:
    """Sends requests to the backend of a `Llava`."""

    model: Llava

    def answer(self, requests: Sequence[Request]) -> Sequence[Answer]:
        """See `RequestSender.answer`."""
        return answer_all(self.model.backend, requests)

    def score(self, request: ScoringRequest) -> Sequence[float]:
        """See `RequestSender.score`."""
        return self.model.backend.score(request.request, request.labels)

    def calibration(self) -> Calibration:
        """See `RequestSender.calibration`."""
        return calibration_of(self.model.backend)

    def evidence(self, request: EvidenceRequest) -> EvidenceMap:
        """See `RequestSender.evidence`."""
        return evidence.measure(self.model.backend, request.request, request.answer)

    async def aanswer(self, requests: Sequence[Request]) -> Sequence[Answer]:
        """See `RequestSender.aanswer`."""
        return await aanswer_all(lambda: self.model.backend, requests)

    async def ascore(self, request: ScoringRequest) -> Sequence[float]:
        """See `RequestSender.ascore`. The scoring itself cannot be stopped."""
        return await asyncio.to_thread(self.score, request)

    async def aevidence(self, request: EvidenceRequest) -> EvidenceMap:
        """See `RequestSender.aevidence`."""
        return await evidence.ameasure(lambda: self.model.backend, request.request, request.answer)


def build_request(text: str, *images: ImageRef, max_tokens: int) -> Request:
    """Return a request with a question about images, answered greedily."""
    return Request((Message("user", (*images, text)),), SamplingParams(max_tokens=max_tokens))


def get_answers(*requests: Request) -> RequestGenerator[Sequence[Answer]]:
    """Yield requests as one batch and return their answers."""
    return cast(Sequence[Answer], (yield requests))


def get_scores(request: Request, labels: Sequence[str]) -> RequestGenerator[Sequence[float]]:
    """Yield a scoring request and return the labels' log-probabilities."""
    return cast(Sequence[float], (yield ScoringRequest(request, tuple(labels))))


def get_evidence(request: Request, answer: str) -> RequestGenerator[EvidenceMap]:
    """Yield an evidence request and return the map."""
    return cast(EvidenceMap, (yield EvidenceRequest(request, answer)))


def get_calibration() -> RequestGenerator[Calibration]:
    """Yield a request for the calibration of the model and return it."""
    return cast(Calibration, (yield CalibrationRequest()))


def get_certainty(text: str, image: ImageRef) -> RequestGenerator[float]:
    """Yield a scoring request and return how probably an image shows what a text describes.

    See `Llava.score`.
    """
    request = build_request(label_scoring.shows_question(text), image, max_tokens=1)
    scores = yield from get_scores(request, label_scoring.YES_OR_NO)
    scaling = (yield from get_calibration()).yes_no
    return label_scoring.yes_probability(scores, scaling)


def run_requests(model: Llava | RequestSender, generator: RequestGenerator[T]) -> T:
    """Send the requests of a generator to a model until it returns, and return its value."""
    sender = _sender(model)
    finished, value = _advance(generator, None)
    while not finished:
        finished, value = _advance(generator, _send(sender, value))
    return cast(T, value)


async def arun_requests(model: Llava | RequestSender, generator: RequestGenerator[T]) -> T:
    """`run_requests` without blocking the event loop; cancelling the task stops the generation."""
    sender = _sender(model)
    finished, value = await asyncio.to_thread(_advance, generator, None)  # it may fetch images
    while not finished:
        outputs = await _asend(sender, value)
        finished, value = await asyncio.to_thread(_advance, generator, outputs)
    return cast(T, value)


def _sender(model: Llava | RequestSender) -> RequestSender:
    return BackendSender(model) if isinstance(model, Llava) else model


def _send(sender: RequestSender, requests: ModelRequests) -> Any:
    match requests:
        case ScoringRequest():
            return sender.score(requests)
        case EvidenceRequest():
            return sender.evidence(requests)
        case CalibrationRequest():
            return sender.calibration()
    return sender.answer(requests)


async def _asend(sender: RequestSender, requests: ModelRequests) -> Any:
    match requests:
        case ScoringRequest():
            return await sender.ascore(requests)
        case EvidenceRequest():
            return await sender.aevidence(requests)
        case CalibrationRequest():
            return await asyncio.to_thread(sender.calibration)
    return await sender.aanswer(requests)


def _advance(generator: RequestGenerator[T], outputs: Any) -> tuple[bool, Any]:
    """Return whether the generator has returned, and its value or the next requests."""
    try:
        return False, generator.send(outputs)
    except StopIteration as stop:
        return True, stop.value
