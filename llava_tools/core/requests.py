"""Requests: what goes into a backend. Plain frozen values, checked when they are made.

Free of torch and of any framework. `outputs` holds what comes out.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Literal, TypedDict

from llava_tools.core.constraints import FREE, Constraint, ToolCall
from llava_tools.errors import RequestError, refuse_unknown
from llava_tools.images import ImageRef

Role = Literal["system", "user", "assistant", "tool"]

#: LLaVA's official limit of new tokens when the caller names none (llava/eval/run_llava.py).
DEFAULT_MAX_TOKENS = 512


@dataclass(frozen=True)
class Message:
    """One message of a conversation.

    Attributes:
        role: Who speaks. `tool` carries what a tool returned.
        content: Texts and images in the order in which they were given.
        tool_calls: Calls that the assistant made in this message.
        call_id: Which call a tool's message answers.
        name: Name of the tool whose message it is; "" takes it from the call.
        is_error: Whether the tool failed, and the content is its error.
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
                    f"A message holds a {type(part).__name__}.",
                    "Pass strings, and pictures through llava_tools.open_image.",
                )
        if self.role in ("system", "assistant") and self.images:
            raise RequestError(
                f"A picture stands in the {self.role} message, where LLaVA cannot look at it.",
                "Move it to a user or tool message.",
            )
        if self.tool_calls and self.role != "assistant":
            raise RequestError(
                f"The {self.role} message holds tool calls.", "Only the assistant calls tools."
            )

    @property
    def text(self) -> str:
        """All texts of the message, joined without a separator."""
        return "".join(part for part in self.content if isinstance(part, str))

    @property
    def images(self) -> tuple[ImageRef, ...]:
        """The images of the message in order."""
        return tuple(part for part in self.content if isinstance(part, ImageRef))


class SamplingKeywords(TypedDict, total=False):
    """Keywords that every asking function takes; see `SamplingParams`."""

    max_tokens: int | None
    temperature: float
    top_p: float
    top_k: int
    stop: str | Iterable[str]
    seed: int | None
    logprobs: bool
    top_logprobs: int


@dataclass(frozen=True)
class SamplingParams:
    """How tokens are drawn.

    Attributes:
        max_tokens: New tokens at most, >= 1. None: 512, or what the context leaves if that is less.
        temperature: >= 0. 0 takes the likeliest token (the benchmarks' way, and the default).
        top_p: Nucleus mass in (0, 1].
        top_k: Only the k likeliest tokens; 0 for all.
        stop: Strings that end the answer; they are not part of it.
        seed: Makes sampling repeatable whatever else runs in the batch. None: a fresh seed.
        logprobs: Report the natural log-probability of every token under the unmodified
            distribution (before temperature, top_k and top_p).
        top_logprobs: How many alternatives to report for every token, 0 to 20; needs `logprobs`.
    """

    max_tokens: int | None = None
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    stop: tuple[str, ...] = ()
    seed: int | None = None
    logprobs: bool = False
    top_logprobs: int = 0

    def __post_init__(self) -> None:
        def refuse(name: str, rule: str) -> RequestError:
            return RequestError(f"{name}={getattr(self, name)!r} is out of range.", f"Use {rule}.")

        def whole(value: object) -> bool:
            return isinstance(value, int) and not isinstance(value, bool)

        def number(value: object) -> bool:
            return isinstance(value, int | float) and not isinstance(value, bool)

        if self.max_tokens is not None and not (whole(self.max_tokens) and self.max_tokens >= 1):
            raise refuse("max_tokens", "a whole number of at least 1, or None")
        if not (number(self.temperature) and 0 <= self.temperature <= 100):
            raise refuse("temperature", "0 for the likeliest answer, up to 2 for more varied ones")
        if not (number(self.top_p) and 0 < self.top_p <= 1):
            raise refuse("top_p", "a number above 0, at most 1")
        if not (whole(self.top_k) and self.top_k >= 0):
            raise refuse("top_k", "0 (all tokens) or a whole number")
        if self.seed is not None and not (whole(self.seed) and 0 <= self.seed < 2**63):
            raise refuse("seed", "a whole number from 0 to 2**63 - 1, or None")
        if not (whole(self.top_logprobs) and 0 <= self.top_logprobs <= 20):
            raise refuse("top_logprobs", "a whole number from 0 to 20")
        if self.top_logprobs and not self.logprobs:
            raise RequestError("top_logprobs needs logprobs=True.", "Set both.")
        if not all(isinstance(text, str) and text for text in self.stop):
            raise refuse("stop", "strings of at least one character")

    @classmethod
    def from_keywords(cls, options: SamplingKeywords, where: str) -> SamplingParams:
        """Build from keywords.

        Args:
            options: Any of this class's fields; `stop` may be one string.
            where: Who takes the keywords, for the error message.

        Raises:
            RequestError: An unknown keyword, or a value out of range.
        """
        known = {item.name for item in fields(cls)}
        refuse_unknown(options, known, where)
        values = dict(options)
        stop = options.get("stop") or ()
        if not isinstance(stop, Iterable):
            raise RequestError(f"stop={stop!r} is not possible.", "Use a string or several.")
        values["stop"] = (stop,) if isinstance(stop, str) else tuple(stop)
        return cls(**values)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Request:
    """Everything that a backend needs to answer.

    Attributes:
        messages: The conversation; the last one is the user's or a tool's.
        sampling: How tokens are drawn.
        constraint: What the answer has to be; free text by default.
    """

    messages: tuple[Message, ...]
    sampling: SamplingParams = field(default_factory=SamplingParams)
    constraint: Constraint = FREE
