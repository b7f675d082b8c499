"""Answers and chunks in the form of chat completions."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from typing import Any

from llava_tools import __version__
from llava_tools.chat.tool_calls import write_json
from llava_tools.core.outputs import Answer, Chunk, TokenLogprob, ToolCallChunk, Usage

FINGERPRINT = f"llava-tools-{__version__}"


class CompletionWriter:
    """Writes one chat completion, whole or in chunks.

    Args:
        model: The name under which the client requested the model.
        logprobs: Whether the request has `logprobs`.
        token_ids: Whether to write `token_ids`, as vLLM does.
        usage: Whether a stream ends with a chunk of the usage.
    """

    def __init__(self, model: str, *, logprobs: bool, token_ids: bool, usage: bool) -> None:
        self._logprobs = logprobs
        self._token_ids = token_ids
        self._usage = usage
        self._head = {
            "id": f"chatcmpl-{uuid.uuid4().hex}",
            "created": int(time.time()),
            "model": model,
            "system_fingerprint": FINGERPRINT,
        }

    def completion(self, answer: Answer) -> dict[str, Any]:
        """Return a whole answer."""
        message: dict[str, Any] = {
            "role": "assistant",
            "content": answer.text or (None if answer.tool_calls else ""),
            "refusal": None,
        }
        if answer.tool_calls:
            message["tool_calls"] = [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {"name": call.name, "arguments": write_json(call.arguments)},
                }
                for call in answer.tool_calls
            ]
        choice = self._choice(answer, answer.finish_reason) | {"message": message}
        head = {**self._head, "object": "chat.completion"}
        return {**head, "choices": [choice], "usage": write_usage(answer.usage)}

    def first(self) -> dict[str, Any]:
        """Return the first chunk, with the role."""
        return self._chunk({"role": "assistant", "content": ""}, {})

    def chunks(self, chunk: Chunk) -> list[dict[str, Any]]:
        """Return what a chunk of the answer adds; its last one ends the completion."""
        written = []
        delta: dict[str, Any] = {"content": chunk.text} if chunk.text else {}
        if chunk.tool_call_chunks:
            delta["tool_calls"] = [_call_delta(call) for call in chunk.tool_call_chunks]
        if delta or (chunk.logprobs and self._logprobs) or (chunk.token_ids and self._token_ids):
            written.append(self._chunk(delta, self._choice(chunk, None)))
        if chunk.finish_reason is not None:
            ending: dict[str, Any] = {"finish_reason": chunk.finish_reason}
            if chunk.best_effort:
                ending["best_effort"] = True
            if chunk.stop_string:  # as in vLLM
                ending["stop_reason"] = chunk.stop_string
            written.append(self._chunk({}, ending))
            if self._usage:
                usage = write_usage(chunk.usage or Usage())
                written.append(self._chunk({}, {}) | {"choices": [], "usage": usage})
        return written

    def _chunk(self, delta: dict[str, Any], choice: dict[str, Any]) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None} | choice
        chunk = {**self._head, "object": "chat.completion.chunk", "choices": [choice]}
        return {**chunk, "usage": None} if self._usage else chunk

    def _choice(self, part: Answer | Chunk, finish_reason: str | None) -> dict[str, Any]:
        choice: dict[str, Any] = {"index": 0, "logprobs": None, "finish_reason": finish_reason}
        if self._logprobs:
            choice["logprobs"] = {"content": write_logprobs(part.logprobs), "refusal": None}
        if self._token_ids:
            choice["token_ids"] = list(part.token_ids)
        if part.best_effort:
            choice["best_effort"] = True
        return choice


def _call_delta(call: ToolCallChunk) -> dict[str, Any]:
    """Return a chunk of a call; its first one has the id and the name."""
    function = {"arguments": call.arguments}
    if call.id is None:
        return {"index": call.index, "function": function}
    function = {"name": call.name or "", **function}
    return {"index": call.index, "id": call.id, "type": "function", "function": function}


def write_usage(usage: Usage) -> dict[str, Any]:
    """Return the usage of chat completions and embeddings."""
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {
            "cached_tokens": usage.cached_tokens,
            "image_tokens": usage.image_tokens,
        },
    }


def write_logprobs(tokens: Sequence[TokenLogprob]) -> list[dict[str, Any]]:
    """Return log-probabilities with their alternatives."""
    return [
        {
            **_logprob(token.token, token.logprob),
            "top_logprobs": [_logprob(text, value) for text, value in token.top],
        }
        for token in tokens
    ]


def _logprob(token: str, logprob: float) -> dict[str, Any]:
    return {"token": token, "logprob": logprob, "bytes": list(token.encode())}
