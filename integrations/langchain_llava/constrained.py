"""The part of `ChatLlava` that binds tools and forms of answers to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage
from langchain_core.runnables import Runnable

from langchain_llava import binding, structured
from langchain_llava.errors import as_langchain
from llava_tools.errors import unknown_option


class ConstrainedChatModel(BaseChatModel):
    """A chat model whose calls take the keywords of `binding.KEYWORDS`."""

    def bind_tools(
        self,
        tools: Sequence[binding.Tool],
        *,
        tool_choice: binding.ToolChoice = None,
        strict: bool | None = None,
        parallel_tool_calls: bool | None = None,
        response_format: Any = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Let the model call tools.

        Calls always name a tool that may be called, and satisfy its schema; one that was cut off
        is an error.

        Args:
            tools: Functions, pydantic or TypedDict classes, LangChain tools, OpenAI tool dicts.
            tool_choice: `auto` (None): words or calls. `any` (`required`, True): one or more calls.
                `none` (False): words. A name, or OpenAI's dict of one: exactly that tool.
            strict: None or True refuses schemas that cannot be enforced in full. False enforces
                what can be and checks the rest afterwards; `response_metadata["best_effort"]`
                tells so.
            parallel_tool_calls: False allows one call an answer.
            response_format: The form of answers that are not calls: a class, a JSON schema,
                OpenAI's `json_schema` or `json_object`.
            **kwargs: Options of sampling, as a call takes them.

        Raises:
            RequestError: A tool, choice or option that is not possible.
        """
        bound: dict[str, Any] = {"tools": [], "tool_choice": tool_choice, "strict": strict}
        bound["parallel_tool_calls"] = parallel_tool_calls
        with as_langchain():
            bound["tools"] = [binding.tool_dict(tool) for tool in tools]
            if response_format is not None:
                bound["response_format"] = binding.format_dict(response_format)
            # Two tools of one name may be bound, as LangChain's suite does, but not called with.
            named = {tool["function"]["name"]: tool for tool in bound["tools"]}
            binding.constraint({**bound, "tools": list(named.values())})
        told = {name: value for name, value in bound.items() if value is not None}
        return super().bind(**told, **kwargs)

    def with_structured_output(
        self,
        schema: structured.Form | None = None,
        *,
        method: structured.Method = "json_schema",
        include_raw: bool = False,
        strict: bool | None = None,
        **kwargs: Any,
    ) -> structured.Structured:
        """Answer in a form: an instance of a pydantic class, or a dict.

        Args:
            schema: A pydantic or TypedDict class, a JSON schema, an OpenAI tool dict. None for any
                JSON object (`json_mode` only).
            method: `json_schema`: the answer is the JSON. `function_calling`: it is a tool call.
                `json_mode`: for code that names it; a schema is enforced all the same.
            include_raw: Return a dict of `raw`, `parsed` and `parsing_error`.
            strict: As in `bind_tools`.
            **kwargs: None are taken.

        Raises:
            RequestError: A schema or method that is not possible.
        """
        with as_langchain():
            for name in kwargs:
                raise unknown_option(
                    name, ("schema", "method", "include_raw", "strict"), "with_structured_output"
                )
            return structured.structured(
                self, schema, method, include_raw=include_raw, strict=strict
            )
