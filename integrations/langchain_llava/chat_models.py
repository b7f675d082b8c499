"""`ChatLlava`: LangChain's messages and options in, a `Request` through the backend interface, messages out.

The way of a call: `_prepare` turns messages (messages.py) and options into a `Request`, the engine
of `llava_tools` answers it in `Chunk`s, results.py turns those into messages or chunks, errors.py
makes errors LangChain's. Tools and schemas are bound in constrained.py and become the request's
constraint in binding.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, closing
from dataclasses import replace
from typing import Any, ClassVar

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import ModelProfile
from langchain_core.language_models.base import LangSmithParams
from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.utils import secret_from_env
from pydantic import Field, SecretStr, ValidationError, model_validator

from langchain_llava import binding, results
from langchain_llava.constrained import ConstrainedChatModel
from langchain_llava.errors import as_langchain, of_validation
from langchain_llava.messages import to_messages
from langchain_llava.options import SYNONYMS, profile
from llava_tools import __version__
from llava_tools.core.backend import Backend
from llava_tools.core.requests import Message, Request
from llava_tools.core.streaming import aanswer, answer, astream
from llava_tools.model_fields import ModelFields
from llava_tools.options import ENGINE_OPTIONS, SAMPLING_OPTIONS, normalize, sampling_params


class ChatLlava(ModelFields, ConstrainedChatModel):
    """LLaVA 1.5 on this machine, as a LangChain chat model that sees.

    Making one loads nothing. The first request loads the model, once for the process, shared with
    every other wrapper that asks for the same one; concurrent requests run in one batch. Options of
    sampling may also be given to a call or bound; they and `stop` override the fields.

        ChatLlava(model="7b", quantization="4bit").invoke([HumanMessage([
            {"type": "text", "text": "What colour is the car?"},
            {"type": "image", "url": "https://example.org/street.jpg"},
        ])])

    Raises:
        RequestError: An unknown option, or a value that is not possible.
    """

    synonyms: ClassVar[Mapping[str, str]] = SYNONYMS

    api_key: SecretStr | None = Field(
        default_factory=secret_from_env("LLAVA_API_KEY", default=None)
    )
    """For the server at `base_url`, from LLAVA_API_KEY; a model in this process needs none."""
    system: str | None = None
    """System sentence of conversations that bring none. None: LLaVA's own. Empty: none at all."""
    streaming: bool = False
    """Stream inside `invoke` too, for callbacks that want tokens."""

    def __init__(self, **given: Any) -> None:
        try:
            super().__init__(**given)
        except ValidationError as error:
            raise of_validation(error) from None  # it would show every option, the key too

    @model_validator(mode="after")
    def _set_llava_version(self) -> ChatLlava:
        self._add_version("llava-tools", __version__)
        return self

    # ---- asking -----------------------------------------------------------------------------

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        with as_langchain():
            load, request = self._prepare(messages, stop, kwargs)
            return results.to_result(answer(load(), request), logprobs=request.sampling.logprobs)

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        with as_langchain():
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
        with as_langchain():
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
        with as_langchain():
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
        """Count the prompt of a conversation as the model would be given it; loads the model.

        Images cost what they cost the model (576 tokens each in LLaVA 1.5).
        """
        with as_langchain():
            load, request = self._prepare(messages, None, {"tools": tools} if tools else {})
            last = request.messages[-1].role if request.messages else None
            if last not in ("user", "tool"):
                # A part of a conversation, as trim_messages asks for: a word closes it.
                closed = (*request.messages, Message("user", ("?",)))
                request = replace(request, messages=closed)
            return load().count_tokens(request)

    def get_token_ids(self, text: str) -> list[int]:
        """Return the ids of plain text in the model's own vocabulary; loads the model."""
        with as_langchain():
            return self._llava().backend.token_ids(text)

    def _prepare(
        self, messages: Sequence[BaseMessage], stop: list[str] | None, kwargs: dict[str, Any]
    ) -> tuple[Callable[[], Backend], Request]:
        """Return what loads the backend, and the request for it; nothing is loaded yet."""
        # LangChain obeys `stream` itself, before it comes here.
        kwargs = {name: value for name, value in kwargs.items() if name != "stream"}
        names = ("model", *SAMPLING_OPTIONS, *binding.KEYWORDS)
        options = normalize(kwargs, names, "A ChatLlava call", SYNONYMS)
        constraint = binding.constraint(options)
        for name in binding.KEYWORDS:
            options.pop(name, None)
        load = self._loader(options.pop("model", None))
        if stop is not None:
            options["stop"] = stop
        defaults = {name: getattr(self, name) for name in SAMPLING_OPTIONS}
        sampling = sampling_params({**defaults, **options}, "A ChatLlava call")
        converted = to_messages(messages, self._resolver)
        if self.system is not None and not any(m.role == "system" for m in converted):
            converted = (Message("system", (self.system,)), *converted)
        return load, Request(converted, sampling, constraint)

    # ---- what LangChain wants to know ----------------------------------------------------------

    @property
    def _llm_type(self) -> str:
        return "llava"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        names = ("model", *ENGINE_OPTIONS, *SAMPLING_OPTIONS, "system")
        return {name: value for name in names if (value := getattr(self, name)) is not None}

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        model = kwargs.get("model") or kwargs.get("model_name") or self.model
        params = LangSmithParams(
            ls_provider=results.PROVIDER, ls_model_name=model, ls_model_type="chat"
        )
        if (temperature := kwargs.get("temperature", self.temperature)) is not None:
            params["ls_temperature"] = temperature
        if (max_tokens := kwargs.get("max_tokens", self.max_tokens)) is not None:
            params["ls_max_tokens"] = max_tokens
        if ends := (self.stop if stop is None else stop):
            params["ls_stop"] = ends
        return params

    def _combine_llm_outputs(self, outputs: list[dict[str, Any] | None], /) -> dict[str, Any]:
        names = [output["model_name"] for output in outputs if output]
        return {"model_name": names[0]} if names else {}

    def _resolve_model_profile(self) -> ModelProfile:
        return profile(self._known_context_length)

    def _get_llm_string(self, stop: list[str] | None = None, **kwargs: Any) -> str:
        # The cache's key. A backend of the user's own is not serialized, yet it answers.
        key = super()._get_llm_string(stop, **kwargs)
        return key if self.backend is None else f"{key}---{self.backend.model_name}"

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """Tell LangChain that `dumps` and `load` work."""
        return True

    @property
    def lc_secrets(self) -> dict[str, str]:
        """What is left out of serialized models, and the environment variable to take it from."""
        return {"api_key": "LLAVA_API_KEY"}
