"""Outputs of a backend: chunks of an answer, and the whole answer collected from them."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
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
        image_tokens: Prompt tokens of images (576 for each in LLaVA 1.5).
        cached_tokens: Prompt tokens whose KV was reused from earlier requests.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    image_tokens: int = 0
    cached_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        """Prompt and completion tokens together."""
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True)
class Timings:
    """Durations of one request in seconds, measured by the backend.

    Attributes:
        prepare: Reading and encoding images, building the prompt.
        first_token: From the request's arrival to its first token.
        total: From the request's arrival to its last token.
    """

    prepare: float = 0.0
    first_token: float = 0.0
    total: float = 0.0


@dataclass(frozen=True)
class ToolCallChunk:
    """A chunk of a tool call.

    Attributes:
        index: Position of the call in the answer, from 0.
        arguments: The next characters of the arguments' JSON; may be empty.
        id: Id of the call; in its first chunk only.
        name: Name of the tool; in the call's first chunk only.
    """

    index: int
    arguments: str = ""
    id: str | None = None
    name: str | None = None


@dataclass(frozen=True)
class Chunk:
    """A chunk of an answer. The last one of a stream has a `finish_reason`, usage and timings.

    Attributes:
        text: New text, without tool calls; may be empty.
        token_ids: New tokens.
        logprobs: One entry for each of `token_ids` if the request has `logprobs`.
        finish_reason: `stop` (end of turn or a stop string), `length` (`max_tokens` reached) or
            `tool_calls` (the caller runs the tools and sends their results).
        tool_call_chunks: New chunks of tool calls.
        best_effort: Set in the last chunk if the constraint was not enforced in full.
        stop_string: In the last chunk the stop string that ended the answer, if that is known.
        prompt_seconds: In the first chunk the seconds that were spent on the prompt: those of
            `Timings.prepare`, and its share of the model's steps, without those spent on other
            requests meanwhile. None in others, and if the backend does not know.
    """

    text: str = ""
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()
    finish_reason: FinishReason | None = None
    usage: Usage | None = None
    timings: Timings | None = None
    tool_call_chunks: tuple[ToolCallChunk, ...] = ()
    best_effort: bool = False
    stop_string: str = ""
    prompt_seconds: float | None = None


@dataclass(frozen=True)
class Answer:
    """A whole answer, collected from `Chunk`s, whose fields have the same meaning.

    A notebook shows the text, and below it the model, its tokens and its time.

    Attributes:
        model: Name of the model.
        token_ids: Generated tokens, the end-of-turn token included.
        best_effort: The constraint was validated, but not enforced in full.
    """

    text: str
    finish_reason: FinishReason
    usage: Usage
    timings: Timings
    model: str
    token_ids: tuple[int, ...] = field(default=(), repr=False)
    logprobs: tuple[TokenLogprob, ...] = field(default=(), repr=False)
    tool_calls: tuple[ToolCall, ...] = ()
    best_effort: bool = False

    def __str__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        calls = "".join(
            f"<pre>{html.escape(f'{call.name}({dict(call.arguments)})')}</pre>"
            for call in self.tool_calls
        )
        note = (
            f"{self.model}, {self.usage.completion_tokens} tokens, {self.timings.total:.1f} s, "
            f"{self.finish_reason}"
        )
        text = html.escape(self.text).replace("\n", "<br>")
        return f"<div><p>{text}</p>{calls}<small>{html.escape(note)}</small></div>"


def check_complete(chunks: Sequence[Chunk]) -> None:
    """Check that a stream came to its end, so that a partial answer never counts as whole.

    Raises:
        EngineError: The last chunk has no finish reason.
    """
    if not chunks or chunks[-1].finish_reason is None:
        raise EngineError(
            "The stream ended before the answer was complete.", "Send the request again."
        )


def collect(chunks: Iterable[Chunk], model: str) -> Answer:
    """Collect a stream of chunks into an answer.

    Raises:
        EngineError: The stream ended without a finish reason, since it was closed.
    """
    text: list[str] = []
    token_ids: list[int] = []
    logprobs: list[TokenLogprob] = []
    calls: dict[int, list[ToolCallChunk]] = {}
    last: Chunk | None = None
    for last in chunks:
        text.append(last.text)
        token_ids.extend(last.token_ids)
        logprobs.extend(last.logprobs)
        for chunk in last.tool_call_chunks:
            calls.setdefault(chunk.index, []).append(chunk)
    if last is None or last.finish_reason is None:
        raise EngineError(
            "The stream ended before the answer was complete.",
            "Read it to its end before closing it.",
        )
    return Answer(
        text="".join(text),
        finish_reason=last.finish_reason,
        usage=last.usage or Usage(),
        timings=last.timings or Timings(),
        model=model,
        token_ids=tuple(token_ids),
        logprobs=tuple(logprobs),
        tool_calls=tuple(_collect_call(call_chunks) for call_chunks in calls.values()),
        best_effort=last.best_effort,
    )


def _collect_call(chunks: list[ToolCallChunk]) -> ToolCall:
    """Join the chunks of a call; the backend has validated its arguments."""
    arguments = "".join(chunk.arguments for chunk in chunks)
    return ToolCall(chunks[0].id or "", chunks[0].name or "", json.loads(arguments))
