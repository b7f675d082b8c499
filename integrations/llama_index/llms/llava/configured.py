"""What a `Llava` is made with: fields, checked before anything is loaded, and their engine."""

from __future__ import annotations

from typing import Any, cast

from llama_index.core.base.llms.types import LLMMetadata
from llama_index.core.llms.function_calling import FunctionCallingLLM
from pydantic import (
    Field,
    PrivateAttr,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)

from llava_tools import option_names
from llava_tools.core.backend import Backend
from llava_tools.images.fetch import Fetcher
from llava_tools.model import Llava as Engine
from llava_tools.options import ALIASES, CONTEXTS, Dtype, EngineKeywords, Quantization
from llava_tools.core.retry import PatientBackend
from llava_tools.images.access import Pictures
from llava_tools.core.requests import DEFAULT_MAX_TOKENS

#: Other names under which LlamaIndex's users know our options.
OTHER_NAMES = {"model_name": "model", "context_window": "context"}


class Configured(FunctionCallingLLM):
    """The options of `Llava`, and the engine that they choose."""

    model: str = "tiny"
    """`tiny` (embedded, the default), `7b`, `13b`, a hub id or a folder. Also `model_name`."""
    # What the engine is loaded with: see `llava_tools.options.EngineOptions`.
    device: str = "auto"
    dtype: Dtype = "auto"
    quantization: Quantization | None = None
    revision: str | None = None
    offline: bool = False
    context: int | None = None
    """Tokens of prompt and answer together. Also `context_window`."""
    reuse: bool = True
    max_queue: int = 256
    base_url: str | None = None
    """Address of an OpenAI-compatible server that runs the model (`http://host:8000/v1`)."""
    api_key: SecretStr | None = Field(default=None, exclude=True, repr=False)
    """For that server; by default what LLAVA_API_KEY holds."""
    # How tokens are drawn: see `llava_tools.core.requests.Sampling`. None is that class's default.
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop: list[str] | None = None
    seed: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    lenient: bool = False
    """Take schemas that cannot be enforced in full; the answer is checked, and `best_effort`."""
    allowed_hosts: tuple[str, ...] = ()
    """Hosts ("host" or "host:port") in private networks that picture URLs may lead to."""
    allow_local_paths: bool = False
    """Whether blocks of messages may name local files. Only where nobody else writes messages."""
    timeout: float | None = Field(default=None, gt=0)
    """Seconds that an answer may take, loading the model not counted."""
    max_retries: int = Field(default=0, ge=0)
    """How often a request that met a full queue or a crashed step is sent again."""
    backend: Backend | None = Field(default=None, exclude=True, repr=False)
    """An engine of your own, instead of the one that `model` and its options would load."""

    _engine: Engine | None = PrivateAttr(default=None)

    def __init__(self, **given: Any) -> None:
        try:
            super().__init__(**given)
        except ValidationError as error:
            raise option_names.of_validation(error, "Llava") from None

    @model_validator(mode="before")
    @classmethod
    def _check_options(cls, given: Any) -> Any:
        """Check what can be checked without the model, so that a typo fails here."""
        if not isinstance(given, dict):
            return given  # a Llava that is somebody's field
        return option_names.checked(given, cls.model_fields, cls.__name__, OTHER_NAMES)

    @field_validator("allowed_hosts")
    @classmethod
    def _check_hosts(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        Fetcher(allowed_hosts=frozenset(hosts))
        return tuple(sorted(hosts))

    @classmethod
    def class_name(cls) -> str:
        """Return the name under which LlamaIndex serializes this class and knows that it sees."""
        return "llava_multi_modal_llm"

    @property
    def metadata(self) -> LLMMetadata:
        """What LlamaIndex wants to know of the model, told without loading it."""
        unnamed = self.base_url is not None and self.model == "tiny"
        known = None if unnamed else CONTEXTS.get(ALIASES.get(self.model, self.model))
        own = self.backend.context if self.backend is not None else self.context
        told = LLMMetadata(
            num_output=self.max_tokens or DEFAULT_MAX_TOKENS,
            is_chat_model=True,
            is_function_calling_model=True,
            model_name=self.model if self.backend is None else self.backend.model_name,
        )
        window = own or known
        return told if window is None else told.model_copy(update={"context_window": window})

    def close(self) -> None:
        """Give the model's memory back if nobody else uses it; the next request loads it again."""
        if self._engine is not None:
            self._engine.close()
            self._engine = None

    def _backend(self) -> Backend:
        """Return the engine, which loads the model when it is first used."""
        if self._engine is None:
            chosen = cast(EngineKeywords, {name: getattr(self, name) for name in option_names.ENGINE})
            if self.api_key is not None:
                chosen["api_key"] = self.api_key.get_secret_value()
            self._engine = Engine(self.model, backend=self.backend, **chosen)
        engine = self._engine
        return PatientBackend(lambda: engine.backend, self.timeout, self.max_retries)

    @property
    def _pictures(self) -> Pictures:
        return Pictures(self.allow_local_paths, Fetcher(frozenset(self.allowed_hosts)))
