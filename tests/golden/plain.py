"""Converters to plain JSON with keys of their own.

The golden files must not change when our code renames a field or a class. So every converter reads
attributes explicitly, and nothing here uses `asdict`, `vars`, `repr` or the name of a class of
ours. Values that equal a default are left out, to keep the files short.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from llava_tools.chat import prompt
from llava_tools.core.constraints import Constraint, ToolCall, ToolSpec
from llava_tools.core.outputs import Answer, Chunk, ToolCallChunk, Usage
from llava_tools.core.requests import Message, Request, SamplingParams
from llava_tools.images import ImageRef

Plain = Any
_EMPTY: tuple[object, ...] = (None, "", [], {}, False)


def without_empty(values: Mapping[str, Plain]) -> dict[str, Plain]:
    """Return a dict without None, False and whatever is empty; numbers stay."""
    return {
        key: value
        for key, value in values.items()
        if not any(value is empty or (value == empty and value != 0) for empty in _EMPTY)
    }


def _changed(values: Mapping[str, Plain], defaults: Mapping[str, Plain]) -> dict[str, Plain]:
    return {key: value for key, value in values.items() if value != defaults[key]}


def image_as_dict(image: ImageRef) -> dict[str, Plain]:
    width, height = image.size
    return {
        "handle": image.handle,
        "width": width,
        "height": height,
        "media_type": image.media_type,
        "came_from": image.source,
    }


def part_as_plain(part: str | ImageRef) -> Plain:
    return {"image": part.handle} if isinstance(part, ImageRef) else part


def call_as_dict(call: ToolCall) -> dict[str, Plain]:
    return {"id": call.id, "name": call.name, "arguments": dict(call.arguments)}


def message_as_dict(message: Message) -> dict[str, Plain]:
    optional = {
        "calls": [call_as_dict(call) for call in message.tool_calls],
        "call_id": message.tool_call_id,
        "name": message.name,
        "failed": message.is_error,
    }
    content = [part_as_plain(part) for part in message.content]
    return {"role": message.role, "content": content, **without_empty(optional)}


def sampling_as_dict(sampling: SamplingParams) -> dict[str, Plain]:
    values = {
        "max_tokens": sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "stop": list(sampling.stop),
        "seed": sampling.seed,
        "logprobs": sampling.logprobs,
        "top_logprobs": sampling.top_logprobs,
    }
    defaults: dict[str, Plain] = {
        "max_tokens": None,
        "temperature": 0.0,
        "top_p": 1.0,
        "top_k": 0,
        "stop": [],
        "seed": None,
        "logprobs": False,
        "top_logprobs": 0,
    }
    return _changed(values, defaults)


def tool_as_dict(tool: ToolSpec) -> dict[str, Plain]:
    return {
        "name": tool.name,
        "description": tool.description,
        "parameters": plain_json(tool.parameters),
    }


def constraint_as_dict(constraint: Constraint) -> dict[str, Plain]:
    values = {
        "tools": [tool_as_dict(tool) for tool in constraint.tools],
        "choice": constraint.tool_choice,
        "parallel": constraint.parallel_tool_calls,
        "schema": plain_json(constraint.schema),
        "schema_in_prompt": constraint.describe,
        "lenient": not constraint.strict,
    }
    defaults: dict[str, Plain] = {
        "tools": [],
        "choice": "auto",
        "parallel": True,
        "schema": None,
        "schema_in_prompt": True,
        "lenient": False,
    }
    return _changed(values, defaults)


def request_as_dict(request: Request) -> dict[str, Plain]:
    """Return a request with its prompt, which shows the order of a schema's fields too."""
    optional = {
        "sampling": sampling_as_dict(request.sampling),
        "constraint": constraint_as_dict(request.constraint),
    }
    pieces = prompt.build(request.messages, constraint=request.constraint)
    return {
        "messages": [message_as_dict(message) for message in request.messages],
        "prompt": prompt.render(pieces),
        **without_empty(optional),
    }


def usage_as_dict(usage: Usage) -> dict[str, Plain]:
    return {
        "prompt": usage.prompt_tokens,
        "completion": usage.completion_tokens,
        "images": usage.image_tokens,
        "cached": usage.cached_tokens,
        "total": usage.total_tokens,
    }


def call_delta_as_dict(piece: ToolCallChunk) -> dict[str, Plain]:
    optional = {"id": piece.id, "name": piece.name}
    return {"index": piece.index, "arguments": piece.arguments, **without_empty(optional)}


def delta_as_dict(delta: Chunk) -> dict[str, Plain]:
    """Return a step of an answer without its timings."""
    return without_empty(
        {
            "text": delta.text,
            "tokens": " ".join(map(str, delta.token_ids)),
            "logprobs": [[item.token, item.logprob, list(item.top)] for item in delta.logprobs],
            "calls": [call_delta_as_dict(piece) for piece in delta.tool_call_chunks],
            "finish_reason": delta.finish_reason,
            "usage": None if delta.usage is None else usage_as_dict(delta.usage),
            "best_effort": delta.best_effort,
        }
    )


def answer_as_dict(answer: Answer) -> dict[str, Plain]:
    """Return an answer without its timings."""
    optional = {
        "tokens": " ".join(map(str, answer.token_ids)),
        "logprobs": [[item.token, item.logprob, list(item.top)] for item in answer.logprobs],
        "calls": [call_as_dict(call) for call in answer.tool_calls],
        "best_effort": answer.best_effort,
    }
    return {
        "text": answer.text,
        "as_string": str(answer),
        "finish_reason": answer.finish_reason,
        "model": answer.model,
        "usage": usage_as_dict(answer.usage),
        **without_empty(optional),
    }


def plain_json(value: object) -> Plain:
    """Return JSON-like data with plain dicts and lists, in the order that it has."""
    return json.loads(json.dumps(value, default=dict))


def outcome(work: Callable[[], Plain]) -> Plain:
    """Return what some work gives, or the text of the error that it raises."""
    try:
        return work()
    except Exception as error:  # noqa: BLE001 - whichever it is, its text is the result
        return error_as_dict(error)


def error_as_dict(error: BaseException) -> dict[str, Plain]:
    """Return an error's text, and which errors of Python and of frameworks catch it."""
    caught_as = [
        base.__name__
        for base in type(error).__mro__
        if base.__module__.split(".")[0] in ("builtins", "langchain_core")
        and base not in (object, BaseException, Exception)
    ]
    optional = {"caught_as": caught_as, "retryable": getattr(error, "retryable", False)}
    return {"error": str(error), **without_empty(optional)}


def texts(values: Iterable[object]) -> list[str]:
    return [str(value) for value in values]
