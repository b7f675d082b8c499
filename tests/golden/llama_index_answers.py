"""LlamaIndex's Llava: scripted answers in, responses, chunks and objects out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from llama_index.core.base.llms.types import ContentBlock, LogProb, ToolCallBlock
from llama_index.core.llms import (
    ChatMessage,
    ChatResponse,
    CompletionResponse,
    ImageBlock,
    TextBlock,
)

from llama_index.llms.llava import Llava
from llava_tools.testing import ScriptedBackend
from tests.golden.langchain_inputs import ADD_ANSWER, PERSON_ANSWER, PNG, Person
from tests.golden.llama_index_requests import ADD, NOTED, PROMPT
from tests.golden.plain import outcome, without_empty

TWO = f"{ADD_ANSWER}\n{ADD_ANSWER.replace('add', 'sum')}"


def block_as_plain(block: ContentBlock) -> Any:
    if isinstance(block, TextBlock):
        return block.text
    assert isinstance(block, ToolCallBlock)
    return {"id": block.tool_call_id, "name": block.tool_name, "arguments": block.tool_kwargs}


def _raw(raw: Any) -> Any:
    """Return what an answer tells about itself; of its timings only their names."""
    if not isinstance(raw, dict):
        return None
    return {**raw, "timings": sorted(raw["timings"])}


def _logprobs(logprobs: Sequence[Sequence[LogProb]] | None) -> Any:
    return [[[one.token, one.logprob, one.bytes] for one in token] for token in logprobs or ()]


def response_as_dict(response: ChatResponse) -> dict[str, Any]:
    optional = {
        "delta": response.delta,
        "raw": _raw(response.raw),
        "logprobs": _logprobs(response.logprobs),
        "additional": response.additional_kwargs,
    }
    return {
        "role": response.message.role.value,
        "blocks": [block_as_plain(block) for block in response.message.blocks],
        **without_empty(optional),
    }


def completion_as_dict(completion: CompletionResponse) -> dict[str, Any]:
    optional = {
        "delta": completion.delta,
        "raw": _raw(completion.raw),
        "logprobs": _logprobs(completion.logprobs),
        "additional": completion.additional_kwargs,
    }
    return {"text": completion.text, **without_empty(optional)}


def _llm(script: str, **options: Any) -> Llava:
    return Llava(backend=ScriptedBackend([script]), **options)


def _chat(script: str, messages: Sequence[ChatMessage] | None = None, **options: Any) -> Any:
    conversation = messages or [ChatMessage("What?")]

    def chunks() -> list[dict[str, Any]]:
        return [response_as_dict(r) for r in _llm(script).stream_chat(conversation, **options)]

    return {
        "response": outcome(lambda: response_as_dict(_llm(script).chat(conversation, **options))),
        "chunks": outcome(chunks),
    }


def _complete(script: str, **options: Any) -> Any:
    def chunks() -> list[dict[str, Any]]:
        return [completion_as_dict(c) for c in _llm(script).stream_complete("What?", **options)]

    return {
        "response": outcome(lambda: completion_as_dict(_llm(script).complete("What?", **options))),
        "chunks": outcome(chunks),
    }


def _selected(script: str, **options: Any) -> Any:
    """Return which tools a chat with tools calls, step by step while it streams too."""

    def plain(response: ChatResponse) -> Any:
        calls = _llm("").get_tool_calls_from_response(response, error_on_no_tool_call=False)
        return [[call.tool_id, call.tool_name, call.tool_kwargs] for call in calls]

    tools = [ADD, NOTED]

    def streamed() -> list[Any]:
        steps = _llm(script).stream_chat_with_tools(tools, user_msg="Add.", **options)
        return [plain(step) for step in steps]

    return {
        "calls": outcome(
            lambda: plain(_llm(script).chat_with_tools(tools, user_msg="Add.", **options))
        ),
        "steps": outcome(streamed),
    }


def _predicted(script: str) -> Any:
    def steps() -> list[Any]:
        found = _llm(script).stream_structured_predict(Person, PROMPT, name="Ada")
        return [step.model_dump() for step in found]

    return {
        "object": outcome(
            lambda: _llm(script).structured_predict(Person, PROMPT, name="Ada").model_dump()
        ),
        "steps": outcome(steps),
    }


def _no_call() -> Any:
    response = _llm("No.").chat_with_tools([ADD], user_msg="Add.")
    return outcome(lambda: _llm("").get_tool_calls_from_response(response))


def _metadata() -> dict[str, Any]:
    about = Llava(model="7b", temperature=0.5, max_tokens=9).metadata
    return {
        "context_window": about.context_window,
        "num_output": about.num_output,
        "is_chat_model": about.is_chat_model,
        "is_function_calling_model": about.is_function_calling_model,
        "model_name": about.model_name,
        "class_name": Llava.class_name(),
    }


CASES: dict[str, Callable[[], Any]] = {
    "chat: words": partial(_chat, "A red box."),
    "chat: an image": partial(
        _chat, "Red.", [ChatMessage(blocks=[ImageBlock(image=PNG), TextBlock(text="What?")])]
    ),
    "chat: no words": partial(_chat, ""),
    "chat: cut off": partial(_chat, "one two three", max_tokens=2),
    "chat: stopped": partial(_chat, "one END three", stop=["END"]),
    "chat: logprobs": partial(_chat, "one ü", logprobs=True, top_logprobs=1),
    "chat: a call": partial(_chat, ADD_ANSWER, tools=[ADD]),
    "chat: two calls": partial(_chat, TWO, tools=[ADD, NOTED]),
    "chat: a call cut off": partial(_chat, ADD_ANSWER, tools=[ADD], max_tokens=2),
    "chat: lenient": partial(_chat, PERSON_ANSWER, response_format=Person, strict=False),
    "complete: words": partial(_complete, "A red box."),
    "complete: logprobs": partial(_complete, "one two", logprobs=True),
    "complete: cut off": partial(_complete, "one two three", max_tokens=2),
    "chat with tools: a call": partial(_selected, ADD_ANSWER),
    "chat with tools: two calls": partial(_selected, TWO, allow_parallel_tool_calls=True),
    "chat with tools: two calls where one may be": partial(_selected, TWO),
    "chat with tools: words": partial(_selected, "No."),
    "chat with tools: no call": _no_call,
    "structured predict": partial(_predicted, PERSON_ANSWER),
    "structured predict: not of the schema": partial(_predicted, '{"age": 1}'),
    "metadata": _metadata,
}
