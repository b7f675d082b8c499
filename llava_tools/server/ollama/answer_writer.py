"""Answers and chunks in the form of Ollama's API; durations are in nanoseconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from llava_tools.core.constraints import ToolCall
from llava_tools.core.outputs import Answer, Chunk, TokenLogprob

#: Writes text and tool calls in the form of a route.
WriteContent = Callable[[str, Sequence[ToolCall]], dict[str, Any]]


class AnswerWriter:
    """Writes one answer, whole or in chunks.

    Args:
        model: The name under which the client requested the model.
        content: Writes text and tool calls.
    """

    def __init__(self, model: str, content: WriteContent) -> None:
        self._model = model
        self._content = content
        self._start = time.monotonic()

    def chunk(self, chunk: Chunk) -> dict[str, Any] | None:
        """Return what a chunk of the answer adds; None for nothing. Tool calls come whole."""
        if not chunk.text and not chunk.logprobs:
            return None
        return self._write(chunk.text) | _logprobs(chunk.logprobs)

    def tool_calls(self, calls: Sequence[ToolCall]) -> dict[str, Any]:
        """Return the chunk with the tool calls of the answer."""
        return self._write("", calls)

    def last(self, answer: Answer) -> dict[str, Any]:
        """Return the last chunk of an answer."""
        return self._write("") | self._ending(answer)

    def whole(self, answer: Answer) -> dict[str, Any]:
        """Return a whole answer."""
        written = self._write(answer.text, answer.tool_calls) | _logprobs(answer.logprobs)
        return written | self._ending(answer)

    def empty(self, reason: str) -> dict[str, Any]:
        """Return the answer to a request that only loads or unloads the model."""
        return self._write("") | {"done": True, "done_reason": reason}

    def _write(self, text: str, calls: Sequence[ToolCall] = ()) -> dict[str, Any]:
        head = {"model": self._model, "created_at": timestamp(datetime.now(UTC))}
        return head | self._content(text, calls) | {"done": False}

    def _ending(self, answer: Answer) -> dict[str, Any]:
        """Return the reason and the figures of an answer; loading includes waiting."""
        total = time.monotonic() - self._start
        timings = answer.timings
        return {
            "done": True,
            "done_reason": "length" if answer.finish_reason == "length" else "stop",
            "total_duration": nanoseconds(total),
            "load_duration": nanoseconds(total - timings.total),
            "prompt_eval_count": answer.usage.prompt_tokens,
            "prompt_eval_duration": nanoseconds(timings.first_token),
            "eval_count": answer.usage.completion_tokens,
            "eval_duration": nanoseconds(timings.total - timings.first_token),
        }


def write_message(text: str, calls: Sequence[ToolCall]) -> dict[str, Any]:
    """Return text and tool calls in the form of `/api/chat`."""
    message: dict[str, Any] = {"role": "assistant", "content": text}
    if calls:
        message["tool_calls"] = [
            {
                "id": call.id,
                "function": {"index": i, "name": call.name, "arguments": dict(call.arguments)},
            }
            for i, call in enumerate(calls)
        ]
    return {"message": message}


def write_response(text: str, calls: Sequence[ToolCall]) -> dict[str, Any]:
    """Return text in the form of `/api/generate`, which has no tools."""
    return {"response": text}


def timestamp(moment: datetime) -> str:
    """Return a moment of UTC as in RFC 3339."""
    return moment.replace(tzinfo=None).isoformat() + "Z"


def nanoseconds(seconds: float) -> int:
    """Return a duration in nanoseconds."""
    return max(round(seconds * 1e9), 0)


def _logprobs(tokens: Iterable[TokenLogprob]) -> dict[str, Any]:
    """Return the log-probabilities of tokens; nothing for none."""
    written = [
        _logprob(token.token, token.logprob)
        | {"top_logprobs": [_logprob(text, value) for text, value in token.top]}
        for token in tokens
    ]
    return {"logprobs": written} if written else {}


def _logprob(token: str, logprob: float) -> dict[str, Any]:
    return {"token": token, "logprob": logprob, "bytes": list(token.encode(errors="replace"))}
