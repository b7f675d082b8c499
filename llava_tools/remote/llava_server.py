"""Requests to `llava-tools serve`, which builds the prompt and enforces constraints itself.

So messages, tools and schemas are sent as they are, in OpenAI's fields and a few of that server's:
`handle` of an image, `name` and `is_error` of a tool's result, `describe` and `return_token_ids`.
Tokens, log-probabilities and errors are those of an engine in this process.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Sequence
from typing import Any

from llava_tools.chat.tool_calls import CLOSE_TAG, OPEN_TAG, SEPARATOR, write_json
from llava_tools.core.constraints import Constraint, ToolCall
from llava_tools.core.outputs import Chunk, FinishReason, Timings, ToolCallChunk, Usage
from llava_tools.core.requests import Message, Request
from llava_tools.core.unicode import well_formed
from llava_tools.errors import OutputError, ServerError
from llava_tools.images import ImageRef
from llava_tools.remote.client import Client
from llava_tools.remote.protocol import (
    log_probability,
    parse_logprobs,
    parse_usage,
    stream_error,
    text_of,
)
from llava_tools.structured.parser import ToolCallParser

#: `owned_by` of its models.
OWNER = "llava-tools"

_FINISH_REASONS: dict[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
}


def conversation_fields(request: Request) -> dict[str, Any]:
    """Return the messages of a request and the form of its answer."""
    messages = [_message(message) for message in request.messages]
    return {"messages": messages, **_constraint_fields(request.constraint)}


def request_fields(request: Request, model: str) -> dict[str, Any]:
    """Return the fields of a streamed chat completion."""
    sampling = request.sampling
    fields: dict[str, Any] = {
        "model": model,
        **conversation_fields(request),
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "repetition_penalty": sampling.repetition_penalty,
        "stop": list(sampling.stop),
        "return_token_ids": True,
    }
    if sampling.max_tokens is not None:
        fields["max_tokens"] = sampling.max_tokens
    if sampling.seed is not None:
        fields["seed"] = sampling.seed
    if sampling.logprobs:
        fields |= {"logprobs": True, "top_logprobs": sampling.top_logprobs}
    return fields


def _message(message: Message) -> dict[str, Any]:
    content = [_part(part) for part in message.content]
    fields: dict[str, Any] = {"role": message.role, "content": content}
    if message.role == "tool":
        fields["tool_call_id"] = message.tool_call_id
        fields |= {"name": message.name, "is_error": message.is_error}
    if message.tool_calls:
        fields["tool_calls"] = [_call(call) for call in message.tool_calls]
    return fields


def _part(part: str | ImageRef) -> dict[str, Any]:
    if isinstance(part, str):
        return {"type": "text", "text": well_formed(part)}
    url = f"data:{part.media_type};base64,{base64.b64encode(part.data).decode()}"
    return {"type": "image_url", "image_url": {"url": url, "handle": part.handle}}


def _call(call: ToolCall) -> dict[str, Any]:
    arguments = well_formed(write_json(call.arguments))
    return {
        "id": call.id,
        "type": "function",
        "function": {"name": call.name, "arguments": arguments},
    }


def _constraint_fields(constraint: Constraint) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if constraint.tools:
        modes = {"any": "required", "auto": "auto", "none": "none"}
        named = {"type": "function", "function": {"name": constraint.tool_choice}}
        fields["tools"] = [
            {
                "type": "function",
                "function": {
                    "name": tool.name,
                    "description": tool.description,
                    "parameters": tool.parameters,
                    "strict": constraint.strict,
                },
            }
            for tool in constraint.tools
        ]
        fields["tool_choice"] = modes.get(constraint.tool_choice, named)
        fields["parallel_tool_calls"] = constraint.parallel_tool_calls
    if constraint.schema is not None:
        fields["response_format"] = {
            "type": "json_schema",
            "json_schema": {
                "name": "answer",
                "schema": constraint.schema,
                "strict": constraint.strict,
            },
        }
        fields["describe"] = constraint.describe
    return fields


class LlavaChunkParser:
    """Parses the chunks of one answer, whose text the server has parsed; see `ChunkParser`.

    The answer is checked once more at its end: any server can call itself this project's.
    """

    def __init__(self, request: Request, arrived: float, sent: float) -> None:
        self._check = _AnswerCheck(request.constraint)
        self._alternatives = request.sampling.top_logprobs
        self._arrived = arrived
        self._sent = sent
        self._first_token = 0.0
        self._ending: dict[str, Any] = {}
        self._usage = Usage()

    def feed(self, chunk: Any) -> Chunk | None:
        """Return what the server's next chunk adds to the answer; see `ChunkParser.feed`."""
        if error := chunk.get("error"):
            raise stream_error(error)
        if (usage := chunk.get("usage")) is not None:
            self._usage = parse_usage(usage, usage["prompt_tokens_details"]["image_tokens"])
        if not (choices := chunk["choices"]):
            return None
        choice = choices[0]
        if choice.get("finish_reason") is not None:
            self._ending = choice
        delta = choice["delta"]
        text = well_formed(text_of(delta.get("content") or "", "content"))
        token_ids = tuple(int(token) for token in choice.get("token_ids") or ())
        calls = tuple(_call_chunk(call) for call in delta.get("tool_calls") or ())
        if not (text or token_ids or calls):
            return None
        self._check.add(text, calls)
        self._first_token = self._first_token or time.perf_counter()
        logprobs = parse_logprobs(choice.get("logprobs"), self._alternatives)
        return Chunk(text, token_ids, logprobs, tool_call_chunks=calls)

    def end(self) -> Chunk:
        """Return the final chunk.

        Raises:
            ServerError: The answer is not complete.
            OutputError: It violates the constraint.
        """
        if not self._ending:
            raise ServerError("The server ended the answer before it was finished.", "Try again.")
        now = time.perf_counter()
        finish_reason = _FINISH_REASONS[self._ending["finish_reason"]]
        self._check.finish(finish_reason)
        return Chunk(
            finish_reason=finish_reason,
            usage=self._usage,
            timings=Timings(
                prepare=self._sent - self._arrived,
                first_token=(self._first_token or now) - self._arrived,
                total=now - self._arrived,
            ),
            best_effort=self._ending.get("best_effort") is True,
            stop_string=text_of(self._ending.get("stop_reason") or "", "stop_reason"),
        )


class _AnswerCheck:
    """Checks calls and text that a server has parsed, as if the model had written them here."""

    def __init__(self, constraint: Constraint) -> None:
        self._constraint = constraint
        self._texts: list[str] = []
        self._calls: dict[int, list[ToolCallChunk]] = {}

    def add(self, text: str, calls: Sequence[ToolCallChunk]) -> None:
        """Add what a chunk adds to the answer."""
        self._texts.append(text)
        for call in calls:
            self._calls.setdefault(call.index, []).append(call)

    def finish(self, reason: FinishReason) -> None:
        """Check the whole answer; `OutputError` if it violates the constraint."""
        parser = ToolCallParser(self._constraint)
        written = "".join(self._texts)
        if self._calls:
            written += SEPARATOR.join(map(_written_call, self._calls.values()))
            if written and not self._constraint.callable_tools:
                raise OutputError("The server called a tool, and the request has none.")
        parser.feed(written)
        parser.finish(reason)


def _written_call(chunks: Sequence[ToolCallChunk]) -> str:
    arguments = "".join(chunk.arguments for chunk in chunks)
    name = write_json(chunks[0].name)
    return f'{OPEN_TAG}{{"name": {name}, "arguments": {arguments}}}{CLOSE_TAG}'


def _call_chunk(call: Any) -> ToolCallChunk:
    function, id_ = call["function"], call.get("id")
    name = function.get("name")
    return ToolCallChunk(
        int(call["index"]),
        well_formed(text_of(function["arguments"], "arguments")),
        None if id_ is None else text_of(id_, "id"),
        None if name is None else text_of(name, "name"),
    )


async def count_tokens(client: Client, model: str, request: Request) -> int:
    """Return the number of tokens of a prompt."""
    fields = {"model": model, **conversation_fields(request)}
    answer = await client.post_to_root("tokenize", fields)
    with client.translated_errors():
        return int(answer["count"])


async def score(client: Client, model: str, request: Request, labels: Sequence[str]) -> list[float]:
    """Return the log-probability of each label as the whole answer."""
    fields = {"model": model, **conversation_fields(request), "labels": list(labels)}
    answer = await client.post_to_root("llava/score", fields)
    with client.translated_errors():
        scores = [log_probability(score) for score in answer["scores"]]
        if len(scores) != len(labels):
            raise ValueError(f"{len(scores)} scores for {len(labels)} labels")
        return scores
