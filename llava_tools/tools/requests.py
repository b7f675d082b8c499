"""Generators that yield requests for the model and receive its answers.

The work of a visual tool is written once, as such a generator. `run_requests` runs it blocking,
`arun_requests` in an event loop. Requests that are yielded together share a batch.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from llava_tools.core.outputs import Answer
from llava_tools.core.requests import Message, Request, SamplingParams
from llava_tools.core.streaming import aanswer_all, answer_all
from llava_tools.images import ImageRef
from llava_tools.model import Llava

T = TypeVar("T")


@dataclass(frozen=True)
class ScoringRequest:
    """A request for the log-probabilities of labels as its answers."""

    request: Request
    labels: tuple[str, ...]


ModelRequests = tuple[Request, ...] | ScoringRequest
RequestGenerator = Generator[ModelRequests, Any, T]


def build_request(text: str, *images: ImageRef, max_tokens: int) -> Request:
    """Return a request with a question about images, answered greedily."""
    return Request((Message("user", (*images, text)),), SamplingParams(max_tokens=max_tokens))


def get_answers(*requests: Request) -> RequestGenerator[Sequence[Answer]]:
    """Yield requests as one batch and return their answers."""
    return cast(Sequence[Answer], (yield requests))


def get_scores(request: Request, labels: Sequence[str]) -> RequestGenerator[Sequence[float]]:
    """Yield a scoring request and return the labels' log-probabilities."""
    return cast(Sequence[float], (yield ScoringRequest(request, tuple(labels))))


def run_requests(model: Llava, generator: RequestGenerator[T]) -> T:
    """Send the requests of a generator to a model until it returns, and return its value."""
    finished, value = _advance(generator, None)
    while not finished:
        finished, value = _advance(generator, _send(model, value))
    return cast(T, value)


async def arun_requests(model: Llava, generator: RequestGenerator[T]) -> T:
    """`run_requests` without blocking the event loop; cancelling the task stops the generation."""
    finished, value = await asyncio.to_thread(_advance, generator, None)  # it may fetch images
    while not finished:
        if isinstance(value, ScoringRequest):
            outputs = await asyncio.to_thread(_send, model, value)
        else:
            outputs = await aanswer_all(lambda: model.backend, value)
        finished, value = await asyncio.to_thread(_advance, generator, outputs)
    return cast(T, value)


def _advance(generator: RequestGenerator[T], outputs: Any) -> tuple[bool, Any]:
    """Return whether the generator has returned, and its value or the next requests."""
    try:
        return False, generator.send(outputs)
    except StopIteration as stop:
        return True, stop.value


def _send(model: Llava, requests: ModelRequests) -> Sequence[Answer] | Sequence[float]:
    if isinstance(requests, ScoringRequest):
        return model.backend.score(requests.request, requests.labels)
    return answer_all(model.backend, requests)
