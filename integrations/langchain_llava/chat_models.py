"""`ChatLlava`: LangChain's messages and options in, a `Request` through the seam, messages out.

The way of a call: `_prepare` turns messages (messages.py) and options into a `Request`, the engine
of `llava_tools` answers it in `Delta`s, results.py turns those into messages or chunks, errors.py
makes errors LangChain's. Tools and schemas are bound in constrained.py and become the request's
constraint in binding.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any, cast

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import ModelProfile
from langchain_core.language_models.base import LangSmithParams
from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.utils import secret_from_env
from pydantic import (
    Field,
    PrivateAttr,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)

from langchain_llava import binding, options, results
from langchain_llava.constrained import ConstrainedChatModel
from langchain_llava.errors import as_langchain, of_validation
from langchain_llava.messages import to_messages
from llava_tools import __version__, option_names
from llava_tools.core.backend import Backend
from llava_tools.errors import RequestError
from llava_tools.images.fetch import Fetcher
from llava_tools.model import Llava
from llava_tools.options import Dtype, EngineKeywords, EngineOptions, Quantization
from llava_tools.core.retry import PatientBackend
from llava_tools.images.access import Pictures
from llava_tools.core.requests import Message, Request
from llava_tools.core.outputs import fold


class ChatLlava(ConstrainedChatModel):
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

    model: str = "tiny"
    """`tiny` (embedded, the default), `7b`, `13b`, a hub id or a folder. Also `model_name`."""
    # What the engine is loaded with: see `llava_tools.options.EngineOptions`.
    device: str = "auto"
    dtype: Dtype = "auto"
    quantization: Quantization | None = None
    revision: str | None = None
    offline: bool = False
    context: int | None = None
    reuse: bool = True
    max_queue: int = 256
    base_url: str | None = None
    """Address of an OpenAI-compatible server that runs the model (`http://host:8000/v1`)."""
    api_key: SecretStr | None = Field(
        default_factory=secret_from_env("LLAVA_API_KEY", default=None)
    )
    """For the server at `base_url`, from LLAVA_API_KEY; a model in this process needs none."""
    # How tokens are drawn: see `llava_tools.core.requests.Sampling`. None is that class's default.
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop: list[str] | None = None
    """Strings that end the answer. Also `stop_sequences`."""
    seed: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    system: str | None = None
    """System sentence of conversations that bring none. None: LLaVA's own. Empty: none at all."""
    allowed_hosts: tuple[str, ...] = ()
    """Hosts ("host" or "host:port") in private networks that picture URLs may lead to."""
    allow_local_paths: bool = False
    """Whether image blocks may name local files. Only where nobody else writes messages."""
    timeout: float | None = Field(default=None, gt=0)
    """Seconds that an answer may take, loading the model not counted."""
    max_retries: int = Field(default=0, ge=0)
    """How often a request that met a full queue or a crashed step is sent again."""
    streaming: bool = False
    """Stream inside `invoke` too, for callbacks that want tokens."""
    backend: Backend | None = Field(default=None, exclude=True, repr=False)
    """An engine of your own, instead of the one that `model` and its options would load."""

    _engines: dict[EngineOptions, Llava] = PrivateAttr(default_factory=dict)

    def __init__(self, **given: Any) -> None:
        try:
            super().__init__(**given)
        except ValidationError as error:
            raise of_validation(error) from None  # it would show every option, the key too

    @model_validator(mode="before")
    @classmethod
    def _check_options(cls, given: Any) -> Any:
        """Check what can be checked without the model, so that a typo fails here."""
        if not isinstance(given, dict):
            return given  # a ChatLlava that is somebody's field
        return option_names.checked(given, cls.model_fields, cls.__name__, options.OTHER_NAMES)

    @field_validator("allowed_hosts")
    @classmethod
    def _check_hosts(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        Fetcher(allowed_hosts=frozenset(hosts))
        return tuple(sorted(hosts))

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
            backend, request = self._prepare(messages, stop, kwargs)
            stream = backend.stream(request)
            try:
                answer = fold(stream, backend.model_name)
            finally:
                stream.close()
            return results.to_result(answer, logprobs=request.sampling.logprobs)

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        with as_langchain():
            # In a thread: pictures may have to be fetched.
            backend, request = await asyncio.to_thread(self._prepare, messages, stop, kwargs)
            async with aclosing(backend.astream(request)) as stream:
                deltas = [delta async for delta in stream]
            answer = fold(deltas, backend.model_name)
            return results.to_result(answer, logprobs=request.sampling.logprobs)

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        with as_langchain():
            backend, request = self._prepare(messages, stop, kwargs)
            chunks = results.Chunks(backend, logprobs=request.sampling.logprobs)
            stream = backend.stream(request)
            try:
                for delta in stream:
                    chunk = chunks.add(delta)
                    if run_manager:
                        run_manager.on_llm_new_token(delta.text, chunk=chunk)
                    yield chunk
            finally:
                stream.close()
            chunks.end()

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        with as_langchain():
            backend, request = await asyncio.to_thread(self._prepare, messages, stop, kwargs)
            chunks = results.Chunks(backend, logprobs=request.sampling.logprobs)
            async with aclosing(backend.astream(request)) as stream:
                async for delta in stream:
                    chunk = chunks.add(delta)
                    if run_manager:
                        await run_manager.on_llm_new_token(delta.text, chunk=chunk)
                    yield chunk
            chunks.end()

    def get_num_tokens_from_messages(
        self, messages: list[BaseMessage], tools: Sequence[Any] | None = None
    ) -> int:
        """Count the prompt of a conversation as the model would be given it; loads the model.

        Pictures cost what they cost the model (576 tokens each in LLaVA 1.5).
        """
        with as_langchain():
            backend, request = self._prepare(messages, None, {"tools": tools} if tools else {})
            last = request.messages[-1].role if request.messages else None
            if last not in ("user", "tool"):
                # A part of a conversation, as trim_messages asks for: a word closes it.
                closed = (*request.messages, Message("user", ("?",)))
                request = replace(request, messages=closed)
            return backend.count_tokens(request)

    def get_token_ids(self, text: str) -> list[int]:
        """Return the ids of plain text in the model's own vocabulary; loads the model."""
        with as_langchain():
            return self._engine(None).backend.token_ids(text)

    def close(self) -> None:
        """Give the model's memory back if nobody else uses it; the next request loads it again."""
        while self._engines:
            self._engines.popitem()[1].close()

    def _prepare(
        self, messages: Sequence[BaseMessage], stop: list[str] | None, given: dict[str, Any]
    ) -> tuple[PatientBackend, Request]:
        """Return whom to ask and what; nothing is loaded yet."""
        # `stream` is LangChain's own, and obeyed before it comes here.
        asked = {name: value for name, value in given.items() if name != "stream"}
        names = ("model", *option_names.SAMPLING, *binding.KEYWORDS)
        told = option_names.known(asked, names, "A ChatLlava call", options.OTHER_NAMES)
        constraint = binding.constraint(told)
        for name in binding.KEYWORDS:
            told.pop(name, None)
        engine = self._engine(told.pop("model", None))
        if stop is not None:
            told["stop"] = stop
        usual = {name: getattr(self, name) for name in option_names.SAMPLING}
        sampling = option_names.sampling({**usual, **told}, "A ChatLlava call")
        fetcher = Fetcher(allowed_hosts=frozenset(self.allowed_hosts))
        said = to_messages(messages, Pictures(self.allow_local_paths, fetcher))
        if self.system is not None and not any(message.role == "system" for message in said):
            said = (Message("system", (self.system,)), *said)
        backend = PatientBackend(lambda: engine.backend, self.timeout, self.max_retries)
        return backend, Request(said, sampling, constraint)

    def _engine(self, model: str | None) -> Llava:
        """Return the holder of the engine, another model's where the call names one."""
        if self.backend is not None:
            if model not in (None, self.model):
                raise RequestError(
                    f"model={model!r} cannot be chosen: this ChatLlava was given a backend.",
                    "Make another ChatLlava for that model.",
                )
            return Llava(self.model, backend=self.backend)
        chosen = cast(EngineKeywords, {name: getattr(self, name) for name in option_names.ENGINE})
        if self.base_url is not None and self.api_key is not None:
            chosen["api_key"] = self.api_key.get_secret_value()
        name = self.model if model is None else model
        if name != self.model:
            chosen["revision"] = None  # it names a state of our own model
        wanted = EngineOptions.of(name, chosen, type(self).__name__)
        return self._engines.setdefault(wanted, Llava(name, **chosen))

    # ---- what LangChain wants to know ----------------------------------------------------------

    @property
    def _llm_type(self) -> str:
        return "llava"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        names = ("model", *option_names.ENGINE, *option_names.SAMPLING, "system")
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
        own = self.backend.context if self.backend is not None else self.context
        unnamed = self.base_url is not None and self.model == "tiny"
        return options.profile("" if unnamed else self.model, own)

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
