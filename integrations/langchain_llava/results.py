"""From a backend's answers and chunks to LangChain's results.

The metadata of an answer (usage, finish reason, timings) is in the message, or in the last chunk of
a stream; log-probabilities are in the chunk of their tokens. The sum of the chunks equals the
message.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import cast

from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.ai import InputTokenDetails, UsageMetadata
from langchain_core.messages.tool import tool_call, tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

from llava_tools.core.backend import Backend
from llava_tools.core.constraints import ToolCall
from llava_tools.core.outputs import (
    Answer,
    Chunk,
    Timings,
    TokenLogprob,
    Usage,
    check_complete,
    collect,
)

PROVIDER = "llava"


def to_result(answer: Answer, *, logprobs: bool) -> ChatResult:
    """Convert a complete answer; `logprobs`: whether the request wants them."""
    metadata = _metadata(answer, logprobs)
    message = AIMessage(
        content=answer.text,
        tool_calls=[
            tool_call(name=call.name, args=dict(call.arguments), id=call.id)
            for call in answer.tool_calls
        ],
        response_metadata=metadata,
        usage_metadata=_usage(answer.usage),
    )
    generation = ChatGeneration(message=message, generation_info=_info(metadata))
    return ChatResult(generations=[generation], llm_output={"model_name": answer.model})


def to_answer(message: AIMessage) -> Answer:
    """Return the answer that `to_result`, or a sum of chunks, made a message of; no token ids."""
    metadata = message.response_metadata
    usage = message.usage_metadata
    details = cast(dict[str, int], usage.get("input_token_details", {}) if usage else {})
    return Answer(
        text=str(message.text),
        finish_reason=metadata["finish_reason"],
        usage=Usage(
            prompt_tokens=usage["input_tokens"] if usage else 0,
            completion_tokens=usage["output_tokens"] if usage else 0,
            image_tokens=details.get("image", 0),
            cached_tokens=details.get("cache_read", 0),
        ),
        timings=Timings(**metadata["timings"]),
        model=metadata["model_name"],
        logprobs=tuple(
            TokenLogprob(
                item["token"],
                item["logprob"],
                tuple((top["token"], top["logprob"]) for top in item["top_logprobs"]),
            )
            for item in metadata.get("logprobs", {}).get("content", ())
        ),
        tool_calls=tuple(
            ToolCall(call["id"] or "", call["name"], call["args"]) for call in message.tool_calls
        ),
        best_effort=metadata.get("best_effort", False),
    )


class ChunkConverter:
    """Converts the chunks of one stream; the last one carries the metadata of the answer."""

    def __init__(self, load: Callable[[], Backend], *, logprobs: bool) -> None:
        self._load = load
        self._logprobs = logprobs
        self._chunks: list[Chunk] = []

    def convert(self, chunk: Chunk) -> ChatGenerationChunk:
        """Convert the next chunk."""
        self._chunks.append(chunk)
        calls = [
            tool_call_chunk(name=piece.name, args=piece.arguments, id=piece.id, index=piece.index)
            for piece in chunk.tool_call_chunks
        ]
        logprobs: dict[str, object] = {}  # LangChain joins the lists of all chunks
        if chunk.logprobs or (self._logprobs and chunk.finish_reason):
            logprobs = {"logprobs": {"content": _logprobs(chunk.logprobs)}}
        if chunk.finish_reason is None:
            message = AIMessageChunk(
                content=chunk.text, tool_call_chunks=calls, response_metadata=logprobs
            )
            return ChatGenerationChunk(message=message, generation_info=logprobs or None)
        answer = collect(self._chunks, self._load().model_name)
        metadata = _metadata(answer, logprobs=False) | logprobs
        message = AIMessageChunk(
            content=chunk.text,
            tool_call_chunks=calls,
            response_metadata=metadata,
            usage_metadata=_usage(answer.usage),
            chunk_position="last",
        )
        return ChatGenerationChunk(message=message, generation_info=_info(metadata))

    def check_finished(self) -> None:
        """See `check_complete`."""
        check_complete(self._chunks)


def _metadata(answer: Answer, logprobs: bool) -> dict[str, object]:
    metadata: dict[str, object] = {
        "model_name": answer.model,
        "model_provider": PROVIDER,
        "finish_reason": answer.finish_reason,
        "timings": asdict(answer.timings),
    }
    if answer.best_effort:
        metadata["best_effort"] = True
    if logprobs:
        metadata["logprobs"] = {"content": _logprobs(answer.logprobs)}
    return metadata


def _info(metadata: dict[str, object]) -> dict[str, object]:
    """Return the part of the metadata that LangChain reads from `generation_info`."""
    return {key: metadata[key] for key in ("finish_reason", "logprobs") if key in metadata}


def _usage(usage: Usage) -> UsageMetadata:
    # InputTokenDetails allows further keys, such as `image`.
    details = {"cache_read": usage.cached_tokens, "image": usage.image_tokens}
    return UsageMetadata(
        input_tokens=usage.prompt_tokens,
        output_tokens=usage.completion_tokens,
        total_tokens=usage.total_tokens,
        input_token_details=cast(InputTokenDetails, details),
    )


def _logprobs(tokens: Iterable[TokenLogprob]) -> list[dict[str, object]]:
    """Return log-probabilities in the layout of OpenAI's chat completions."""
    return [
        {
            "token": item.token,
            "logprob": item.logprob,
            "top_logprobs": [{"token": token, "logprob": value} for token, value in item.top],
        }
        for item in tokens
    ]
