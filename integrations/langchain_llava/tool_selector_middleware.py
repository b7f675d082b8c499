"""`LlavaToolSelectorMiddleware`: an agent's tools, narrowed to the likeliest for a request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

try:
    from langchain.agents.middleware import AgentMiddleware, ModelRequest, ModelResponse
except ImportError as error:
    from llava_tools.errors import MissingExtraError

    raise MissingExtraError("langchain", "agents") from error

from langchain_llava.chat_models import ChatLlava
from langchain_llava.errors import translated_errors
from langchain_llava.selector import LlavaSelector
from llava_tools.errors import check_count
from llava_tools.label_scoring import Classification


class LlavaToolSelectorMiddleware(AgentMiddleware[Any, Any]):
    """Offers the planner only the tools that fit the user's last message best.

    A small planner does better with few tools. Langchain's `LLMToolSelectorMiddleware` has the
    model write a list of names; here the names are scored, so the selection is always valid.

    Args:
        llm: The model that selects; the embedded one by default.
        max_tools: Number of tools to offer, at least 1.
        always_include: Names of tools that are offered beside them.

    Raises:
        RequestError: An impossible number.
    """

    def __init__(
        self,
        llm: ChatLlava | None = None,
        *,
        max_tools: int = 3,
        always_include: Sequence[str] = (),
    ) -> None:
        super().__init__()
        with translated_errors():
            check_count("max_tools", max_tools)
        self.llm = ChatLlava() if llm is None else llm
        self.max_tools = max_tools
        self.always_include = frozenset(always_include)

    def wrap_model_call(
        self,
        request: ModelRequest[Any],
        handler: Callable[[ModelRequest[Any]], ModelResponse[Any]],
    ) -> ModelResponse[Any]:
        """Narrow the tools, then call the model."""
        selector = self._selector(request)
        if selector is None:
            return handler(request)
        return handler(self._narrowed(request, selector.invoke(request.messages)))

    async def awrap_model_call(
        self,
        request: ModelRequest[Any],
        handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]],
    ) -> ModelResponse[Any]:
        """Narrow the tools, then call the model."""
        selector = self._selector(request)
        if selector is None:
            return await handler(request)
        return await handler(self._narrowed(request, await selector.ainvoke(request.messages)))

    def _selector(self, request: ModelRequest[Any]) -> LlavaSelector | None:
        """Return a selector among the tools; None if all of them may be offered."""
        options = {
            tool.name: tool.description
            for tool in request.tools
            if not isinstance(tool, dict) and tool.name not in self.always_include
        }
        if len(options) <= self.max_tools:
            return None
        return LlavaSelector(llm=self.llm, options=options)

    def _narrowed(self, request: ModelRequest[Any], choice: Classification) -> ModelRequest[Any]:
        """Leave out all but the likeliest tools; tools of a provider (dicts) stay."""
        ranked = sorted(choice.probabilities, key=choice.probabilities.__getitem__, reverse=True)
        names = {*ranked[: self.max_tools], *self.always_include}
        tools = [tool for tool in request.tools if isinstance(tool, dict) or tool.name in names]
        return request.override(tools=tools)
