"""Inputs of a backend: frozen values, checked when they are created. `outputs` has its outputs."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Literal, TypedDict

from llava_tools.core.constraints import UNCONSTRAINED, Constraint, ToolCall
from llava_tools.errors import RequestError, refuse_unknown
from llava_tools.images import ImageRef

Role = Literal["system", "user", "assistant", "tool"]

#: LLaVA's official default of `max_tokens` (llava/eval/run_llava.py).
DEFAULT_MAX_TOKENS = 512


@dataclass(frozen=True)
class Message:
    """One message of a conversation.

    Attributes:
        role: Role of the speaker. A `tool` message has the result of a tool call.
        content: Texts and images in order.
        tool_calls: Tool calls of an assistant message.
        tool_call_id: Id of the call that a tool message answers; may be "" with a `name`.
        name: Name of the tool of a tool message; "" takes it from the call.
        is_error: Whether the tool failed and the content is its error.
    """

    role: Role
    content: tuple[str | ImageRef, ...]
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""
    name: str = ""
    is_error: bool = False

    def __post_init__(self) -> None:
        if self.role not in ("system", "user", "assistant", "tool"):
            raise RequestError(
                f"{self.role!r} is not a role.", "Use 'system', 'user', 'assistant' or 'tool'."
            )
        if not isinstance(self.content, tuple):
            raise RequestError(
                f"The content of a message is a {type(self.content).__name__}.",
                "Pass a tuple of strings and ImageRefs.",
            )
        for part in self.content:
            if not isinstance(part, str | ImageRef):
                raise RequestError(
                    f"The content of a message has a {type(part).__name__}.",
                    "Pass strings, and images through llava_tools.open_image.",
                )
        if self.role in ("system", "assistant") and self.images:
            raise RequestError(
                f"The {self.role} message has an image.",
                "Move it to a user or tool message: LLaVA takes images only there.",
            )
        if self.tool_calls and self.role != "assistant":
            raise RequestError(
                f"The {self.role} message has tool calls.", "Only the assistant calls tools."
            )

    @property
    def text(self) -> str:
        """All text of the message, joined without a separator."""
        return "".join(part for part in self.content if isinstance(part, str))

    @property
    def images(self) -> tuple[ImageRef, ...]:
        """The images of the message in order."""
        return tuple(part for part in self.content if isinstance(part, ImageRef))


class SamplingKeywords(TypedDict, total=False):
    """Keyword arguments for `SamplingParams`."""

    max_tokens: int | None
    temperature: float
    top_p: float
    top_k: int
    stop: str | Iterable[str]
    seed: int | None
    logprobs: bool
    top_logprobs: int
    repetition_penalty: float


@dataclass(frozen=True)
class SamplingParams:
    """Parameters of sampling.

    Attributes:
        max_tokens: Maximum number of new tokens, >= 1. None: 512, or the rest of the context if
            that is less.
        temperature: >= 0. 0, the default, takes the likeliest token, as in LLaVA's benchmarks.
        top_p: Nucleus mass in (0, 1].
        top_k: Samples from the k likeliest tokens; 0 for all.
        stop: Strings that end the answer and are left out of it.
        seed: Makes sampling repeatable, whatever else is in the batch. None: a random seed.
        logprobs: Return the natural log-probability of every token under the unmodified
            distribution (before temperature, top_k, top_p and repetition_penalty).
        top_logprobs: Number of alternatives to return for every token, 0 to 20; needs `logprobs`.
        repetition_penalty: In (0, 10]; divides the positive logits, and multiplies the negative
            ones, of all tokens that the prompt or the answer so far holds (Keskar et al. 2019,
            https://arxiv.org/abs/1909.05858). 1, the default, is none; above 1 the model repeats
            less. Images do not count.
    """

    max_tokens: int | None = None
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    stop: tuple[str, ...] = ()
    seed: int | None = None
    logprobs: bool = False
    top_logprobs: int = 0
    repetition_penalty: float = 1.0

    def __post_init__(self) -> None:
        def out_of_range(name: str, rule: str) -> RequestError:
            return RequestError(f"{name}={getattr(self, name)!r} is out of range.", f"Use {rule}.")

        def is_int(value: object, low: int, high: float = math.inf) -> bool:
            return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high

        def is_number(value: object) -> bool:
            return isinstance(value, int | float) and not isinstance(value, bool)

        if self.max_tokens is not None and not is_int(self.max_tokens, 1):
            raise out_of_range("max_tokens", "a whole number of at least 1, or None")
        if not (is_number(self.temperature) and 0 <= self.temperature <= 100):
            rule = "0 for the likeliest answer, up to 2 for more varied ones"
            raise out_of_range("temperature", rule)
        if not (is_number(self.top_p) and 0 < self.top_p <= 1):
            raise out_of_range("top_p", "a number above 0, at most 1")
        if not is_int(self.top_k, 0):
            raise out_of_range("top_k", "0 (all tokens) or a whole number")
        if self.seed is not None and not is_int(self.seed, 0, 2**63 - 1):
            raise out_of_range("seed", "a whole number from 0 to 2**63 - 1, or None")
        if not is_int(self.top_logprobs, 0, 20):
            raise out_of_range("top_logprobs", "a whole number from 0 to 20")
        if self.top_logprobs and not self.logprobs:
            raise RequestError("top_logprobs needs logprobs=True.", "Set both.")
        if not (is_number(self.repetition_penalty) and 0 < self.repetition_penalty <= 10):
            rule = "1 for none, up to 1.5 for less repetition"
            raise out_of_range("repetition_penalty", rule)
        if not all(isinstance(text, str) and text for text in self.stop):
            raise out_of_range("stop", "strings of at least one character")

    @classmethod
    def from_keywords(cls, options: SamplingKeywords, where: str) -> SamplingParams:
        """Create from keywords; `stop` may be one string.

        Args:
            options: Fields of this class.
            where: Name of the function that takes the keywords, for error messages.

        Raises:
            RequestError: An unknown keyword, or a value out of range.
        """
        refuse_unknown(options, {item.name for item in fields(cls)}, where)
        values = dict(options)
        stop = options.get("stop") or ()
        if not isinstance(stop, Iterable):
            raise RequestError(f"stop={stop!r} is not possible.", "Use a string or a list of them.")
        values["stop"] = (stop,) if isinstance(stop, str) else tuple(stop)
        return cls(**values)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Request:
    """A request to a backend.

    Attributes:
        messages: The conversation.
        sampling: Parameters of sampling.
        constraint: The form of the answer; free text by default.
    """

    messages: tuple[Message, ...]
    sampling: SamplingParams = field(default_factory=SamplingParams)
    constraint: Constraint = UNCONSTRAINED
