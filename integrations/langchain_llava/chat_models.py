"""`ChatLlava`: from LangChain's messages and options to a `Request`, and back to messages.

messages.py converts the conversation, constraints.py the tools and schemas; a backend of
`llava_tools` streams `Chunk`s; results.py converts these to messages, errors.py converts errors.
identity.py has the base class, with the names and options that LangChain reads.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, closing
from dataclasses import replace
from typing import Any, ClassVar

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.utils import secret_from_env
from pydantic import Field, SecretStr, model_validator

from langchain_llava import constraints, results, structured_output
from langchain_llava.compat import add_version
from langchain_llava.errors import translated_errors
from langchain_llava.identity import ModelIdentity
from langchain_llava.messages import to_messages
from langchain_llava.options import SYNONYMS, option_errors
from llava_tools import __version__
from llava_tools.core.backend import Backend, check_labels
from llava_tools.core.requests import Message, Request
from llava_tools.core.streaming import aanswer, answer, astream
from llava_tools.errors import refuse_unknown
from llava_tools.options import SAMPLING_OPTIONS, normalize, sampling_params


class ChatLlava(ModelIdentity):
    """LLaVA 1.5 as a chat model with vision, on this machine or a server of your own.

    The first request loads the model, once for the process; all models of equal options share it,
    and concurrent requests run in one batch. Sampling options of a call or of `bind`, and `stop`,
    override the fields.

    Setup:
        Install the extras `torch` and `langchain`.

    Key arguments:
        `model`, `device`, `dtype` and `quantization` choose the model, `base_url` a server that
        runs it; `max_tokens`, `temperature`, `stop` and `seed` are the defaults of requests.

    Instantiate:
        ```python
        from langchain_llava import ChatLlava

        model = ChatLlava(model="tiny", temperature=0)
        ```

    Invoke:
        ```python
        model.invoke("Hello!", max_tokens=20).text
        ```

    Stream:
        ```python
        for chunk in model.stream("Hello!"):
            print(chunk.text, end="")
        ```

    Images:
        ```python
        from langchain_core.messages import HumanMessage
        from langchain_llava import image_block

        image = image_block("examples/images/night.png")
        question = HumanMessage([image, "What colour is the star?"])
        model.invoke([question]).text
        ```

    Tool calling:
        ```python
        def get_price(item: str) -> str:
            "Get the price of an item."
            return "4.20"

        buyer = model.bind_tools([get_price], tool_choice="any")
        buyer.invoke("What does the tea cost?").tool_calls
        ```

    Structured output:
        ```python
        from pydantic import BaseModel, Field

        class Star(BaseModel):
            colour: str = Field(max_length=10)

        model.with_structured_output(Star).invoke([question])
        ```

    Raises:
        RequestError: An unknown option, or an impossible value.
    """

    synonyms: ClassVar[Mapping[str, str]] = SYNONYMS

    api_key: SecretStr | None = Field(
        default_factory=secret_from_env("LLAVA_API_KEY", default=None)
    )
    """Key for the server at `base_url`, by default from the environment."""
    system: str | None = None
    """System prompt of conversations without one. None: LLaVA's own. Empty: no system prompt."""
    streaming: bool = False
    """Also stream in `invoke`, for callbacks that read tokens."""

    def __init__(self, **options: Any) -> None:
        with option_errors("ChatLlava"):
            super().__init__(**options)

    @model_validator(mode="after")
    def _set_llava_version(self) -> ChatLlava:
        add_version(self, "llava-tools", __version__)
        return self

    def bind_tools(
        self,
        tools: Sequence[constraints.Tool],
        *,
        tool_choice: constraints.ToolChoice = None,
        strict: bool | None = None,
        parallel_tool_calls: bool | None = None,
        response_format: Any = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Let the model call tools.

        Each call names one of the tools and satisfies its schema. A call that is cut off by
        `max_tokens` raises an error.

        Args:
            tools: Functions, pydantic or TypedDict classes, LangChain tools, OpenAI tool dicts.
            tool_choice: `auto` (None): text or calls. `any` (`required`, True): at least one call.
                `none` (False): text. A tool's name, or OpenAI's dict that names one: one call of
                that tool.
            strict: None or True refuses schemas that cannot be enforced in full. False enforces
                them as far as possible, checks answers afterwards and marks them with
                `response_metadata["best_effort"]`.
            parallel_tool_calls: False allows one call per answer.
            response_format: Schema of answers that are not calls: a class, a JSON schema, OpenAI's
                `json_schema` or `json_object`.
            **kwargs: Sampling options, as for `invoke`.

        Raises:
            RequestError: An impossible tool, choice or option.
        """
        with translated_errors():
            unread = ("ls_structured_output_format",)  # LangChain reads it from bound keywords
            self._prepare((), None, {n: kwargs[n] for n in kwargs if n not in unread})
            bound = constraints.bound_keywords(
                tools,
                response_format,
                tool_choice=tool_choice,
                strict=strict,
                parallel_tool_calls=parallel_tool_calls,
            )
        return self.bind(**bound, **kwargs)

    def with_structured_output(
        self,
        schema: structured_output.OutputSchema | None = None,
        *,
        method: structured_output.Method = "json_schema",
        include_raw: bool = False,
        strict: bool | None = None,
        **kwargs: Any,
    ) -> structured_output.StructuredModel:
        """Answer with an instance of a pydantic class, or with a dict.

        Args:
            schema: A pydantic or TypedDict class, a JSON schema, an OpenAI tool dict. None for any
                JSON object (`json_mode` only).
            method: `json_schema`: the answer is the JSON. `function_calling`: it is a tool call.
                `json_mode`: like `json_schema`, but the schema may be None.
            include_raw: Return a dict with `raw`, `parsed` and `parsing_error`.
            strict: As in `bind_tools`.
            **kwargs: Not supported.

        Raises:
            RequestError: An impossible schema or method.
        """
        with translated_errors():
            options = ("schema", "method", "include_raw", "strict")
            refuse_unknown(kwargs, options, "with_structured_output")
            return structured_output.structured_output(
                self, schema, method, include_raw=include_raw, strict=strict
            )

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        with translated_errors():
            load, request = self._prepare(messages, stop, kwargs)
            return results.to_result(answer(load(), request), logprobs=request.sampling.logprobs)

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        with translated_errors():
            # In a thread: images may have to be fetched.
            load, request = await asyncio.to_thread(self._prepare, messages, stop, kwargs)
            result = await aanswer(load, request)
            return results.to_result(result, logprobs=request.sampling.logprobs)

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        with translated_errors():
            load, request = self._prepare(messages, stop, kwargs)
            converter = results.ChunkConverter(load, logprobs=request.sampling.logprobs)
            with closing(load().stream(request)) as stream:
                for chunk in stream:
                    converted = converter.convert(chunk)
                    if run_manager:
                        run_manager.on_llm_new_token(chunk.text, chunk=converted)
                    yield converted
            converter.check_finished()

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        with translated_errors():
            load, request = await asyncio.to_thread(self._prepare, messages, stop, kwargs)
            converter = results.ChunkConverter(load, logprobs=request.sampling.logprobs)
            async with aclosing(astream(load, request)) as stream:
                async for chunk in stream:
                    converted = converter.convert(chunk)
                    if run_manager:
                        await run_manager.on_llm_new_token(chunk.text, chunk=converted)
                    yield converted
            converter.check_finished()

    def get_num_tokens_from_messages(
        self, messages: list[BaseMessage], tools: Sequence[Any] | None = None
    ) -> int:
        """Count the tokens of a conversation's prompt, including images; loads the model.

        In LLaVA 1.5 an image is 576 tokens.
        """
        with translated_errors():
            load, request = self._prepare(messages, None, {"tools": tools} if tools else {})
            last = request.messages[-1].role if request.messages else None
            if last not in ("user", "tool"):
                # trim_messages counts parts of conversations; a prompt has to end with a question.
                request = replace(request, messages=(*request.messages, Message("user", ("?",))))
            return load().count_tokens(request)

    def get_token_ids(self, text: str) -> list[int]:
        """Return the ids of plain text in the model's vocabulary; loads the model."""
        with translated_errors():
            return self._llava().backend.token_ids(text)

    def _prepare(
        self, messages: Sequence[BaseMessage], stop: list[str] | None, kwargs: dict[str, Any]
    ) -> tuple[Callable[[], Backend], Request]:
        """Return a function that loads the backend, and the request for it; loads nothing."""
        kwargs.pop("stream", None)  # LangChain handles it, but passes it on
        names = ("model", "labels", *SAMPLING_OPTIONS, *constraints.KEYWORDS)
        options = normalize(kwargs, names, "A ChatLlava call", SYNONYMS)
        constraint = constraints.constraint(options)
        options = {n: value for n, value in options.items() if n not in constraints.KEYWORDS}
        if (labels := options.pop("labels", None)) is not None:
            check_labels(labels)
            options["logprobs"] = True  # the labels' are the answer's
        load = self._loader(options.pop("model", None), labels)
        if stop is not None:
            options["stop"] = stop
        defaults = {name: getattr(self, name) for name in SAMPLING_OPTIONS}
        sampling = sampling_params({**defaults, **options}, "A ChatLlava call")
        converted = to_messages(messages, self._resolver)
        if self.system is not None and not any(m.role == "system" for m in converted):
            converted = (Message("system", (self.system,)), *converted)
        return load, Request(converted, sampling, constraint)
