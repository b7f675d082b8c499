"""One request inside the engine: the state that the engine thread and the caller's thread share."""

from __future__ import annotations

import math
import queue
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch

from llava_tools.core.requests import SamplingParams
from llava_tools.errors import EngineError


class TokenConstraint(Protocol):
    """Which tokens an answer may consist of."""

    @property
    def error(self) -> str:
        """Why the constraint cannot go on; "" as long as it can."""

    def allowed_bits(self) -> bytes:
        """Return which tokens may come next, a bit each, lowest first; none if it cannot go on."""

    def accept(self, token: int) -> None:
        """Advance by a token that is allowed."""

    def forced_tokens(self, limit: int) -> list[int]:
        """Return the tokens that must come next, `limit` at most, and advance by them.

        If nothing may follow, the last one ends the answer.
        """


@dataclass(frozen=True)
class TokenIdLogprob:
    """Log-probability of one generated token, and the likeliest token ids with theirs."""

    logprob: float
    top: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class StepOutput:
    """The tokens that a step added to an answer, and when."""

    tokens: Sequence[int]
    finished: bool
    time: float


@dataclass(frozen=True)
class PromptImage:
    """An image of a prompt.

    Attributes:
        begin: Position of its first token.
        features: What the language model reads there, [tokens, hidden].
    """

    begin: int
    features: torch.Tensor

    @property
    def end(self) -> int:
        """The position after its last token."""
        return self.begin + len(self.features)


@dataclass(eq=False)
class RequestState:
    """A request in flight.

    Attributes:
        request_id: Unique in the engine.
        sampling: How its tokens are drawn.
        arrived: `time.perf_counter()` of its arrival.
        submitted: The same of its submission to the batch.
        prompt_ids: Token ids of the prompt, images as virtual ids.
        images: The images of the prompt, in order.
        private_from: Position in the prompt from which its KV is not kept for other requests.
        max_tokens: New tokens at most.
        label: Tokens of a label whose log-probabilities are wanted, instead of new tokens.
        step_seconds: Its share of its steps' durations, by tokens; written by the engine thread.
        outputs: From the engine thread to the caller: step outputs, or the error that ended it.
        cached_tokens: Prompt tokens found in the KV cache; written by the engine thread.
        logprobs: One entry a token if the request asks for log-probabilities.
        constraint: Which tokens may come next; None for any.
        constraint_error: Why the constraint failed; written by the engine thread before the last
            step output.
        generator: Its source of randomness; the sampler makes it when it first draws.
        tokens: The loop's list of the ids of its prompt and of its answer so far.
        seen: Which ids of the vocabulary `tokens` holds, for a repetition penalty, [vocab_size];
            the sampler makes it when it first needs it.
        seen_count: How many of `tokens` are in `seen`.
        dropped: Whether its stream was garbage-collected before it was finished.
    """

    request_id: str
    sampling: SamplingParams
    arrived: float
    submitted: float = 0.0
    prompt_ids: list[int] = field(default_factory=list)
    images: list[PromptImage] = field(default_factory=list)
    private_from: float = math.inf
    max_tokens: int = 0
    label: Sequence[int] = ()
    step_seconds: float = 0.0
    outputs: queue.SimpleQueue[StepOutput | EngineError] = field(default_factory=queue.SimpleQueue)
    cached_tokens: int = 0
    logprobs: list[TokenIdLogprob] = field(default_factory=list)
    constraint: TokenConstraint | None = None
    constraint_error: str = ""
    generator: torch.Generator | None = None
    tokens: Sequence[int] = ()
    seen: torch.Tensor | None = None
    seen_count: int = 0
    dropped: bool = False

    @property
    def image_tokens(self) -> int:
        """How many ids of the prompt are virtual."""
        return sum(len(image.features) for image in self.images)

    @property
    def last_image_end(self) -> int:
        """The position after the prompt's last image; 0 without images."""
        return self.images[-1].end if self.images else 0
