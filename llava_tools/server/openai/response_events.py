"""Chunks of an answer as the events of a response; the last event holds the whole response."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from typing import Any

from llava_tools.core.outputs import Chunk, TokenLogprob, ToolCallChunk, Usage
from llava_tools.errors import LlavaToolsError
from llava_tools.server.errors import to_http
from llava_tools.server.openai.completion import write_logprobs

#: An event, without its sequence number.
Event = dict[str, Any]


class ResponseWriter:
    """Writes one response.

    Args:
        model: The name under which the client requested the model.
        echo: Fields of the request that the response repeats.
        logprobs: Whether the request has log-probabilities.

    Attributes:
        response: The response so far; complete after the last chunk.
    """

    def __init__(self, model: str, echo: dict[str, Any], *, logprobs: bool) -> None:
        self._logprobs = logprobs
        self._sequence_number = -1
        self._item: dict[str, Any] | None = None  # the one that is being written
        self._text: list[str] = []  # of the item's text or arguments
        self._tokens: list[TokenLogprob] = []
        self._call_index: int | None = None
        self.response: dict[str, Any] = {
            "id": _new_id("resp"),
            "object": "response",
            "created_at": int(time.time()),
            "status": "in_progress",
            "error": None,
            "incomplete_details": None,
            "model": model,
            "output": [],
            "usage": None,
            **echo,
        }

    def start(self) -> Iterator[Event]:
        """Yield the events before the first chunk."""
        yield self._event("response.created", response=self._snapshot())
        yield self._event("response.in_progress", response=self._snapshot())

    def feed(self, chunk: Chunk) -> Iterator[Event]:
        """Yield the events of a chunk; its last one ends the response."""
        if chunk.text:
            yield from self._feed_text(chunk)
        for call in chunk.tool_call_chunks:
            yield from self._feed_call(call)
        if chunk.finish_reason is None:
            return
        if not self._item and not self.response["output"]:
            yield from self._open_message()  # an empty answer
        status = "incomplete" if chunk.finish_reason == "length" else "completed"
        yield from self._close_item(status)
        self.response["status"] = status
        if status == "incomplete":
            self.response["incomplete_details"] = {"reason": "max_output_tokens"}
        self.response["usage"] = _write_usage(chunk.usage or Usage())
        yield self._event(f"response.{status}", response=self._snapshot())

    def fail(self, error: LlavaToolsError) -> Iterator[Event]:
        """Yield the events of an error."""
        http = to_http(error)
        yield self._event("error", code=http.code, message=http.message, param=http.param)
        self.response["status"] = "failed"
        self.response["error"] = {"code": "server_error", "message": http.message}
        yield self._event("response.failed", response=self._snapshot())

    def _feed_text(self, chunk: Chunk) -> Iterator[Event]:
        if not self._item or self._item["type"] != "message":
            yield from self._close_item()
            yield from self._open_message()
        self._text.append(chunk.text)
        logprobs: list[dict[str, Any]] = []
        if self._logprobs:
            self._tokens += chunk.logprobs
            logprobs = write_logprobs(chunk.logprobs)
        yield self._part_event("output_text.delta", delta=chunk.text, logprobs=logprobs)

    def _feed_call(self, call: ToolCallChunk) -> Iterator[Event]:
        if call.index != self._call_index:
            yield from self._close_item()
            self._call_index = call.index
            yield self._open_item(
                type="function_call",
                id=_new_id("fc"),
                call_id=call.id or "",
                name=call.name or "",
                arguments="",
            )
        if call.arguments:
            self._text.append(call.arguments)
            yield self._item_event("function_call_arguments.delta", delta=call.arguments)

    def _open_message(self) -> Iterator[Event]:
        yield self._open_item(type="message", id=_new_id("msg"), role="assistant", content=[])
        yield self._part_event("content_part.added", part=self._part(""))

    def _open_item(self, **item: Any) -> Event:
        self._item = {**item, "status": "in_progress"}
        self._text, self._tokens = [], []
        return self._event("response.output_item.added", output_index=self._index, item=self._item)

    def _close_item(self, status: str = "completed") -> Iterator[Event]:
        """Yield the events that end the item being written, if there is one."""
        if (item := self._item) is None:
            return
        text = "".join(self._text)
        if item["type"] == "message":
            part = self._part(text)
            yield self._part_event("output_text.done", text=text, logprobs=part["logprobs"])
            yield self._part_event("content_part.done", part=part)
            item = {**item, "content": [part]}
        else:
            yield self._item_event(
                "function_call_arguments.done", arguments=text, name=item["name"]
            )
            item = {**item, "arguments": text}
        item["status"] = status
        yield self._event("response.output_item.done", output_index=self._index, item=item)
        self.response["output"].append(item)
        self._item = None

    def _part(self, text: str) -> dict[str, Any]:
        """Return the content of the message being written."""
        logprobs = write_logprobs(self._tokens)
        return {"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs}

    @property
    def _index(self) -> int:
        """Position of the item being written."""
        return len(self.response["output"])

    def _part_event(self, name: str, /, **fields: Any) -> Event:
        return self._item_event(name, content_index=0, **fields)

    def _item_event(self, name: str, /, **fields: Any) -> Event:
        assert self._item is not None
        fields |= {"item_id": self._item["id"], "output_index": self._index}
        return self._event(f"response.{name}", **fields)

    def _event(self, name: str, /, **fields: Any) -> Event:
        self._sequence_number += 1
        return {"type": name, "sequence_number": self._sequence_number, **fields}

    def _snapshot(self) -> dict[str, Any]:
        return {**self.response, "output": list(self.response["output"])}


def _new_id(prefix: str) -> str:
    return f"{prefix}_{uuid.uuid4().hex}"


def _write_usage(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage.total_tokens,
    }
