"""Middlewares with which weak planners finish.

    create_agent(model, tools, middleware=[RepeatedCallMiddleware(), OutputErrorMiddleware()])

Both leave the conversation as it is: a checkpoint holds nothing of them. For a planner that makes
ever new calls see langchain's `ToolCallLimitMiddleware`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any

try:
    from langchain.agents.middleware import AgentMiddleware, ModelRequest, ModelResponse
except ImportError as error:
    from llava_tools.errors import MissingExtraError

    raise MissingExtraError("langchain", "agents") from error

from langchain_core.messages import (
    AIMessage,
    AnyMessage,
    HumanMessage,
    ToolCall,
    ToolMessage,
)

from langchain_llava.errors import translated_errors
from llava_tools.chat import planning
from llava_tools.errors import OutputError


class RepeatedCallMiddleware(AgentMiddleware[Any, Any]):
    """Withdraws a tool whose calls bring nothing new, so that a loop of equal calls ends.

    When the same call has had the same result `limit` times since the user's last message, its tool
    is not offered to the model until another call has brought something new. A planner without any
    tool left answers in text. Works with every chat model.

    Args:
        limit: Number of equal results, at least 1. Raise it for planners that poll.

    Raises:
        RequestError: An impossible limit.
    """

    def __init__(self, limit: int = planning.REPEAT_LIMIT) -> None:
        super().__init__()
        with translated_errors():
            self.limit = planning.check_repeat_limit(limit)

    def wrap_model_call(
        self,
        request: ModelRequest[Any],
        handler: Callable[[ModelRequest[Any]], ModelResponse[Any]],
    ) -> ModelResponse[Any]:
        """Call the model without the exhausted tools."""
        return handler(self._narrowed(request))

    async def awrap_model_call(
        self,
        request: ModelRequest[Any],
        handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]],
    ) -> ModelResponse[Any]:
        """Call the model without the exhausted tools."""
        return await handler(self._narrowed(request))

    def _narrowed(self, request: ModelRequest[Any]) -> ModelRequest[Any]:
        exhausted = planning.exhausted_tools(_completed_calls(request.messages), self.limit)
        if not exhausted:
            return request
        tools = [
            tool for tool in request.tools if isinstance(tool, dict) or tool.name not in exhausted
        ]
        return request.override(tools=tools)


class OutputErrorMiddleware(AgentMiddleware[Any, Any]):
    """Gives a refused answer of `ChatLlava` back to it once, instead of ending the run.

    An answer is refused with an `OutputError` if `max_tokens` cuts a tool call off, or if a server
    did not enforce its form. The model then reads what it wrote and what is wrong with it. A second
    refusal is raised. Langchain's `ModelRetryMiddleware` sends the same messages again, to which a
    model answers alike at temperature 0.
    """

    def wrap_model_call(
        self,
        request: ModelRequest[Any],
        handler: Callable[[ModelRequest[Any]], ModelResponse[Any]],
    ) -> ModelResponse[Any]:
        """Call the model, at most twice."""
        try:
            return handler(request)
        except OutputError as error:
            retried = _with_attempt(request, error)
        return handler(retried)

    async def awrap_model_call(
        self,
        request: ModelRequest[Any],
        handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]],
    ) -> ModelResponse[Any]:
        """Call the model, at most twice."""
        try:
            return await handler(request)
        except OutputError as error:
            retried = _with_attempt(request, error)
        return await handler(retried)


def _with_attempt(request: ModelRequest[Any], error: OutputError) -> ModelRequest[Any]:
    attempt, hint = planning.attempt_and_hint(error)
    return request.override(messages=[*request.messages, AIMessage(attempt), HumanMessage(hint)])


def _completed_calls(messages: Iterable[AnyMessage]) -> Iterator[planning.CompletedCall]:
    """Yield the calls since the user's last message that have a result."""
    calls: dict[str | None, ToolCall] = {}
    completed: list[planning.CompletedCall] = []
    for message in messages:
        if isinstance(message, HumanMessage):
            completed.clear()
        elif isinstance(message, AIMessage):
            calls |= {call["id"]: call for call in message.tool_calls}
        elif isinstance(message, ToolMessage) and (call := calls.get(message.tool_call_id)):
            result = f"{message.status}: {message.content}"
            completed.append(planning.CompletedCall(call["name"], call["args"], result))
    yield from completed
