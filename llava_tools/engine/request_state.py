"""One request inside the engine: the state that the engine thread and the caller's thread share."""

from __future__ import annotations

import queue
import threading
import time
from dataclasses import dataclass
from typing import Protocol, Self

import torch

from llava_tools.core.requests import SamplingParams
from llava_tools.errors import EngineError


class TokenConstraint(Protocol):
    """Which tokens an answer may consist of: a grammar, or the forced tokens of a label."""

    @property
    def error(self) -> str:
        """Why the constraint cannot go on; "" as long as it can."""

    def forbidden(self, device: torch.device) -> torch.Tensor:
        """Return which tokens may not come next, bool [vocab_size]."""

    def accept(self, token: int) -> None:
        """Advance by a token that was not forbidden."""


@dataclass(frozen=True)
class TokenIdLogprob:
    """Log-probability of one generated token, and the likeliest token ids with theirs."""

    logprob: float
    top: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class StepOutput:
    """All tokens that a request has generated so far, and when the last of them came."""

    tokens: list[int]
    finished: bool
    time: float


class RequestState:
    """A request in flight.

    Attributes:
        request_id: Unique in the process.
        sampling: How its tokens are drawn.
        arrived: `time.perf_counter()` of its arrival.
        submitted: The same of its submission to the batch.
        prompt_ids: Token ids of the prompt, images as virtual ids.
        image_tokens: How many of them are virtual.
        max_tokens: New tokens at most.
        outputs: From the engine thread to the caller: step outputs, or the error that ended it.
        cached_tokens: Prompt tokens found in the KV cache; written by the engine thread.
        logprobs: One entry a token if the request asks for log-probabilities.
        constraint: Which tokens may come next; None for any.
        constraint_error: Why the constraint failed; written by the engine thread before the last
            step output.
        generator: Its source of randomness; the sampler makes it when it first draws.
        has_output: Whether its first token was generated; written by the engine thread.
        cancelled: Set when its stream was closed.
        dropped: Whether its stream was garbage-collected before it was finished.
    """

    def __init__(self, request_id: str, sampling: SamplingParams, arrived: float) -> None:
        self.request_id = request_id
        self.sampling = sampling
        self.arrived = self.submitted = arrived
        self.prompt_ids: list[int] = []
        self.image_tokens = 0
        self.max_tokens = 0
        self.outputs: queue.SimpleQueue[StepOutput | EngineError] = queue.SimpleQueue()
        self.cached_tokens = 0
        self.logprobs: list[TokenIdLogprob] = []
        self.constraint: TokenConstraint | None = None
        self.constraint_error = ""
        self.generator: torch.Generator | None = None
        self.has_output = False
        self.cancelled = threading.Event()
        self.dropped = False

    def __deepcopy__(self, memo: object) -> Self:
        # transformers copies a request's keywords when it preempts it; the state must stay shared.
        return self

    def report(self, tokens: list[int], finished: bool) -> None:
        """Hand tokens to the caller; called on the engine thread."""
        self.outputs.put(StepOutput(tokens, finished, time.perf_counter()))

    def fail(self, error: EngineError) -> None:
        """End the request with an error; also called when its stream or the engine closes."""
        self.outputs.put(error)
