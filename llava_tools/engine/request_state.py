"""One request inside the engine: what the model's thread and the caller's thread share."""

from __future__ import annotations

import queue
import threading
import time
from dataclasses import dataclass
from typing import Protocol, Self

import torch

from llava_tools.core.requests import SamplingParams
from llava_tools.errors import EngineError


class Rules(Protocol):
    """Which tokens an answer may be made of: a grammar, or the spelling of a label."""

    @property
    def fault(self) -> str:
        """What went wrong; "" as long as nothing did."""
        ...

    def forbidden(self, device: torch.device) -> torch.Tensor:
        """Return which tokens may not come next, bool [vocabulary]."""
        ...

    def accept(self, token: int) -> None:
        """Go on by a token that was not forbidden."""
        ...


@dataclass(frozen=True)
class TokenRecord:
    """Log-probabilities of one generated token: its own and the likeliest ids with theirs."""

    logprob: float
    top: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class Step:
    """All tokens generated so far, and when the last of them was."""

    tokens: list[int]
    finished: bool
    at: float


class RequestState:
    """A request in flight.

    Attributes:
        request_id: Unique in the process.
        sampling: How its tokens are drawn.
        max_tokens: New tokens at most.
        arrived: `time.perf_counter()` of its arrival.
        outputs: From the model's thread to the caller: steps, or the error that ended it.
        cached_tokens: Prompt tokens found in the KV cache; written by the model's thread.
        records: One entry a token where log-probabilities were asked for.
        matcher: Which tokens may come next; None for any.
        fault: What went wrong in the matcher; written by the model's thread before the last step.
        generator: Its source of randomness, made by the sampler where it needs one.
        begun: Whether a first token was there; written by the model's thread.
        cancelled: Set when its stream was closed.
        dropped: Whether its stream was garbage-collected before it was over.
    """

    def __init__(self, request_id: str, sampling: SamplingParams, arrived: float) -> None:
        self.request_id = request_id
        self.sampling = sampling
        self.max_tokens = 0
        self.arrived = arrived
        self.outputs: queue.SimpleQueue[Step | EngineError] = queue.SimpleQueue()
        self.cached_tokens = 0
        self.records: list[TokenRecord] = []
        self.matcher: Rules | None = None
        self.fault = ""
        self.generator: torch.Generator | None = None
        self.begun = False
        self.cancelled = threading.Event()
        self.dropped = False

    def __deepcopy__(self, memo: object) -> Self:
        # transformers copies a request's keywords when it preempts it; the request state stays one.
        return self

    def report(self, tokens: list[int], finished: bool) -> None:
        """Hand tokens to the caller; called by the model's thread."""
        self.outputs.put(Step(tokens, finished, time.perf_counter()))

    def fail(self, error: EngineError) -> None:
        """End the request with an error; called by the model's thread or at shutdown."""
        self.outputs.put(error)
