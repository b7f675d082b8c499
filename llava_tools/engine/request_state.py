"""One request inside the engine: the state that the engine thread and the caller's thread share."""

from __future__ import annotations

import queue
from dataclasses import dataclass, field
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


@dataclass(eq=False)
class RequestState:
    """A request in flight.

    Attributes:
        request_id: Unique in the process.
        sampling: How its tokens are drawn.
        arrived: `time.perf_counter()` of its arrival.
        submitted: The same of its submission to the batch.
        prompt_ids: Token ids of the prompt, images as virtual ids.
        image_tokens: How many ids of the prompt are virtual.
        max_tokens: New tokens at most.
        outputs: From the engine thread to the caller: step outputs, or the error that ended it.
        cached_tokens: Prompt tokens found in the KV cache; written by the engine thread.
        logprobs: One entry a token if the request asks for log-probabilities.
        constraint: Which tokens may come next; None for any.
        constraint_error: Why the constraint failed; written by the engine thread before the last
            step output.
        generator: Its source of randomness; the sampler makes it when it first draws.
        has_output: Whether its first token was generated; written by the engine thread.
        dropped: Whether its stream was garbage-collected before it was finished.
    """

    request_id: str
    sampling: SamplingParams
    arrived: float
    submitted: float = 0.0
    prompt_ids: list[int] = field(default_factory=list)
    image_tokens: int = 0
    max_tokens: int = 0
    outputs: queue.SimpleQueue[StepOutput | EngineError] = field(default_factory=queue.SimpleQueue)
    cached_tokens: int = 0
    logprobs: list[TokenIdLogprob] = field(default_factory=list)
    constraint: TokenConstraint | None = None
    constraint_error: str = ""
    generator: torch.Generator | None = None
    has_output: bool = False
    dropped: bool = False

    def __deepcopy__(self, memo: object) -> Self:
        # transformers copies a request's keywords when it preempts it; the state must stay shared.
        return self
