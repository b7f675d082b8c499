"""Converts the backend's answers into LlamaIndex's responses.

Text and tool calls become blocks; while streaming, each response holds everything so far, with the
log-probabilities. Usage, finish reason and timings come once: with the answer, or the last chunk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    CompletionResponse,
    ContentBlock,
    LogProb,
    MessageRole,
    TextBlock,
    ToolCallBlock,
)

from llava_tools.core.backend import Backend
from llava_tools.core.outputs import Answer, Chunk, TokenLogprob, check_complete, collect


def to_response(answer: Answer, delta: str | None = None) -> ChatResponse:
    """Convert a whole answer; `delta` is the text of its last chunk if it was streamed."""
    calls = [
        ToolCallBlock(tool_call_id=call.id, tool_name=call.name, tool_kwargs=dict(call.arguments))
        for call in answer.tool_calls
    ]
    usage = {**asdict(answer.usage), "total_tokens": answer.usage.total_tokens}
    return ChatResponse(
        message=_message(answer.text, calls),
        delta=delta,
        raw={
            "model": answer.model,
            "finish_reason": answer.finish_reason,
            "usage": usage,
            "timings": asdict(answer.timings),
            "best_effort": answer.best_effort,
        },
        logprobs=_logprobs(answer.logprobs) or None,
        additional_kwargs={
            name: usage[name] for name in ("prompt_tokens", "completion_tokens", "total_tokens")
        },
    )


def to_completion(response: ChatResponse) -> CompletionResponse:
    """Convert a chat's response, or a chunk of one, into a completion's."""
    return CompletionResponse(
        text=response.message.content or "",
        delta=response.delta,
        raw=response.raw,
        logprobs=response.logprobs,
        additional_kwargs=response.additional_kwargs,
    )


class ChunkConverter:
    """Converts a stream chunk by chunk; the last response equals the whole answer's."""

    def __init__(self, load: Callable[[], Backend]) -> None:
        self._load = load
        self._chunks: list[Chunk] = []
        self._text = ""
        self._calls: dict[int, dict[str, Any]] = {}
        self._logprobs: list[list[LogProb]] = []

    def convert(self, chunk: Chunk) -> ChatResponse:
        """Convert the next chunk."""
        self._chunks.append(chunk)
        if chunk.finish_reason is not None:
            return to_response(collect(self._chunks, self._load().model_name), chunk.text)
        self._text += chunk.text
        for part in chunk.tool_call_chunks:
            call = self._calls.setdefault(
                part.index, {"tool_call_id": part.id, "tool_name": part.name, "tool_kwargs": ""}
            )
            call["tool_kwargs"] += part.arguments
        calls = [ToolCallBlock(**call) for call in self._calls.values()]
        self._logprobs += _logprobs(chunk.logprobs)
        return ChatResponse(
            message=_message(self._text, calls),
            delta=chunk.text,
            logprobs=list(self._logprobs) or None,
        )

    def check_finished(self) -> None:
        """See `check_complete`."""
        check_complete(self._chunks)


def _message(text: str, calls: list[ToolCallBlock]) -> ChatMessage:
    texts: list[ContentBlock] = [TextBlock(text=text)] if text or not calls else []
    return ChatMessage(role=MessageRole.ASSISTANT, blocks=[*texts, *calls])


def _logprobs(tokens: Iterable[TokenLogprob]) -> list[list[LogProb]]:
    """Return, for each token, the sampled one and then its likeliest alternatives."""
    return [
        [
            LogProb(token=token, logprob=value, bytes=list(token.encode()))
            for token, value in [
                (item.token, item.logprob),
                *(pair for pair in item.top if pair[0] != item.token),
            ]
        ]
        for item in tokens
    ]
