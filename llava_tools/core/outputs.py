"""What comes out of a backend: steps of an answer, and the answer that they spell."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from llava_tools.core.constraints import ToolCall
from llava_tools.errors import EngineError

FinishReason = Literal["stop", "length", "tool_calls"]


@dataclass(frozen=True)
class TokenLogprob:
    """One generated token with its natural log-probability and the likeliest alternatives."""

    token: str
    logprob: float
    top: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Usage:
    """Tokens of one request.

    Attributes:
        prompt_tokens: All tokens of the prompt, images included.
        completion_tokens: Generated tokens, the end-of-turn token included.
        image_tokens: How many of the prompt's tokens are images (576 each in LLaVA 1.5).
        cached_tokens: How many of the prompt's tokens were reused from earlier requests.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    image_tokens: int = 0
    cached_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        """Prompt and completion together."""
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True)
class Timings:
    """Seconds of one request, measured by the backend.

    Attributes:
        prepare: Reading images, encoding the new ones, building the prompt.
        first_token: From the request's arrival until its first token.
        total: From the request's arrival until its last token.
    """

    prepare: float = 0.0
    first_token: float = 0.0
    total: float = 0.0


@dataclass(frozen=True)
class ToolCallChunk:
    """A piece of a tool call on its way.

    Attributes:
        index: Which call of the answer, from 0.
        arguments: The next characters of the arguments' JSON; may be empty.
        id: Name of the call, with its first piece only.
        name: Name of the tool, with the call's first piece only.
    """

    index: int
    arguments: str = ""
    id: str | None = None
    name: str | None = None


@dataclass(frozen=True)
class Chunk:
    """A step of an answer. The last one of a stream has a `finish_reason`, usage and timings.

    Attributes:
        text: New text; may be empty.
        token_ids: The tokens that came with this step.
        logprobs: One entry for each of `token_ids` where the request asked for them.
        finish_reason: `stop` (end of turn or a stop string), `length` (`max_tokens` reached) or
            `tool_calls` (tools are to be called, and their results given back).
        tool_call_chunks: New pieces of tool calls, which are no part of the text.
        best_effort: With the last one: part of the constraint could only be checked, not enforced.
    """

    text: str = ""
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()
    finish_reason: FinishReason | None = None
    usage: Usage | None = None
    timings: Timings | None = None
    tool_call_chunks: tuple[ToolCallChunk, ...] = ()
    best_effort: bool = False


@dataclass(frozen=True)
class Answer:
    """A whole answer: the fold of a stream of `Chunk`s.

    Attributes:
        text: The texts of the chunks, one after the other.
        finish_reason: `stop`, `length` or `tool_calls`.
        model: Name of the model that answered.
        token_ids: Generated tokens, the end-of-turn token included.
        logprobs: One entry a token where asked for.
        tool_calls: The calls that the model made.
        best_effort: Part of the constraint could only be checked, not enforced (lenient mode).
    """

    text: str
    finish_reason: FinishReason
    usage: Usage
    timings: Timings
    model: str
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()
    best_effort: bool = False

    def __str__(self) -> str:
        return self.text


def collect(deltas: Iterable[Chunk], model: str) -> Answer:
    """Fold a stream of chunks into the answer that they spell.

    Raises:
        EngineError: The stream ended without a finish reason: somebody closed it.
    """
    text: list[str] = []
    token_ids: list[int] = []
    logprobs: list[TokenLogprob] = []
    calls: dict[int, list[ToolCallChunk]] = {}
    last: Chunk | None = None
    for last in deltas:
        text.append(last.text)
        token_ids.extend(last.token_ids)
        logprobs.extend(last.logprobs)
        for piece in last.tool_call_chunks:
            calls.setdefault(piece.index, []).append(piece)
    if last is None or last.finish_reason is None:
        raise EngineError(
            "The stream ended before it was finished.", "It was closed while it was being read."
        )
    return Answer(
        text="".join(text),
        finish_reason=last.finish_reason,
        usage=last.usage or Usage(),
        timings=last.timings or Timings(),
        model=model,
        token_ids=tuple(token_ids),
        logprobs=tuple(logprobs),
        tool_calls=tuple(_call(pieces) for pieces in calls.values()),
        best_effort=last.best_effort,
    )


def _call(pieces: list[ToolCallChunk]) -> ToolCall:
    """Put a call together; a backend has checked that its arguments are whole."""
    arguments = "".join(piece.arguments for piece in pieces)
    return ToolCall(pieces[0].id or "", pieces[0].name or "", json.loads(arguments))
