"""The options of a model as pydantic fields, shared by the framework adapters.

An adapter's class inherits the fields, their checks and the loading of the backend. It adds its
framework's names of the options (`synonyms`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self, cast

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PrivateAttr,
    SecretStr,
    field_validator,
    model_validator,
)

from llava_tools.chat.formats import ConversationName
from llava_tools.core.backend import Backend
from llava_tools.core.label_backend import LabelBackend
from llava_tools.core.retry import with_retries
from llava_tools.errors import RequestError
from llava_tools.images.access import ImageResolver
from llava_tools.images.fetch import Fetcher
from llava_tools.images.store import ImageStore, open_store
from llava_tools.model import Llava
from llava_tools.options import (
    ALIASES,
    CONTEXT_LENGTHS,
    ENGINE_OPTIONS,
    Dtype,
    EngineKeywords,
    EngineOptions,
    Quantization,
    validate_options,
)


def _check_image_store(image_store: Any) -> Any:
    if image_store is not None:
        open_store(image_store)
    return str(image_store) if isinstance(image_store, Path) else image_store


def _path_text(path: Any) -> Any:
    return os.fspath(path) if isinstance(path, os.PathLike) else path


def _write_image_store(image_store: ImageStore | str | None) -> str | None:
    return image_store.key if isinstance(image_store, ImageStore) else image_store


#: The field `image_store`: checked, and written as the folder. A store in memory is written as a
#: name that is refused when it is read, so that nobody gets another store without knowing.
ImageStoreField = Annotated[
    ImageStore | str | None,
    BeforeValidator(_check_image_store),
    PlainSerializer(_write_image_store),
]


class LoadFields(BaseModel):
    """Fields that say how a model is loaded; see `llava_tools.options.LoadOptions`."""

    device: str = "auto"
    """`auto` takes CUDA, then Apple's MPS, then the CPU; or a torch device name like `cuda:1`."""
    dtype: Dtype = "auto"
    """`auto` takes bfloat16 if the hardware supports it, float16 on older GPUs and MPS, else
    float32; the embedded model always runs in float32."""
    revision: str | None = None
    """Branch, tag or commit of the model on the hub."""
    local_files_only: bool = False
    """Load from the cache or a folder only, without the network."""


class EmbeddingFields(LoadFields):
    """Fields of an embedding model, but for the model's name, which frameworks call differently."""

    clip: str | None = None
    """Hub id or folder of the CLIP whose vision tower the model has. None: `clip/` in the model's
    folder, else the CLIP of LLaVA 1.5."""
    clip_revision: str | None = None
    """Branch, tag or commit of that CLIP on the hub."""


class ModelFields(LoadFields):
    """Fields of a chat model over `Llava`; the first request loads the model.

    See `llava_tools.options.EngineOptions` for the engine's fields and
    `llava_tools.core.requests.SamplingParams` for those of sampling; a None means its default.

    Raises:
        RequestError: An unknown option or an impossible value.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    #: The framework's names of options, and the fields that they mean.
    synonyms: ClassVar[Mapping[str, str]] = {}

    model: str = "tiny"
    """`tiny` (the default), `0.5b`, `7b`, `13b`, a hub id or a folder. Also `model_name`."""
    conversation: ConversationName | None = None
    """Conversation format that the model was trained on; None for that of the checkpoint."""
    quantization: Quantization | None = None
    """`4bit` or `8bit` weights: on CUDA through bitsandbytes; on CPUs with AVX512, `8bit` with AVX2
    too."""
    context_length: int | None = None
    """Maximum number of tokens of prompt and answer together, at least 64. None: the model's own,
    4,096 in LLaVA 1.5. Also `context_window` in LlamaIndex."""
    prefix_caching: bool = True
    """Reuse image features and the KV of shared prompt prefixes between requests."""
    max_concurrent_requests: int = 256
    """Maximum number of requests at a time; further ones raise `QueueFullError`."""
    keep_alive: float | str | None = None
    """Time without a request after which the model is unloaded; the next request loads it again.
    Seconds, or a text like `5m`; None or a negative value: never."""
    calibration: Annotated[str | None, BeforeValidator(_path_text)] = None
    """File of `llava-tools calibrate`, for probabilities of labels. None: `calibration.json` in the
    model's folder, if there is one."""
    base_url: str | None = None
    """URL of an OpenAI-compatible server that runs the model (`http://host:8000/v1`)."""
    api_key: SecretStr | None = Field(default=None, exclude=True, repr=False)
    """API key for that server; by default the environment variable LLAVA_API_KEY."""
    default_headers: dict[str, str] | None = Field(default=None, exclude=True, repr=False)
    """HTTP headers of every request to that server; not serialized, since they may hold secrets."""
    extra_body: dict[str, Any] | None = None
    """Further fields of the JSON of every request for an answer."""
    proxy: str | None = Field(default=None, exclude=True, repr=False)
    """URL of a proxy to that server. Proxies that the environment names are not used."""
    http_async_client: Any = Field(default=None, exclude=True, repr=False)
    """An `httpx.AsyncClient` for that server. It belongs to this model, and is closed with it."""
    max_tokens: int | None = None
    """Maximum number of new tokens. None: 512, or the rest of the context if that is less."""
    temperature: float | None = None
    """Temperature of sampling; 0, the default, takes the likeliest token."""
    top_p: float | None = None
    """Nucleus mass in (0, 1]; 1 by default."""
    top_k: int | None = None
    """Sample from the k likeliest tokens; 0, the default, for all."""
    stop: list[str] | None = None
    """Strings that end the answer and are left out of it."""
    seed: int | None = None
    """Makes sampling repeatable, whatever else is in the batch. None: a random seed."""
    logprobs: bool | None = None
    """Return the natural log-probability of every token under the unmodified distribution."""
    top_logprobs: int | None = None
    """Number of alternatives to return for every token, 0 to 20; needs `logprobs`."""
    repetition_penalty: float | None = None
    """Above 1 the model repeats less of the prompt and the answer so far; 1, the default, is none.
    Images do not count."""
    allowed_hosts: tuple[str, ...] = ()
    """Hosts ("host" or "host:port") in private networks that image URLs may lead to."""
    allowed_directories: tuple[str, ...] = ()
    """Folders, with subfolders, whose files messages may name."""
    allow_local_paths: bool = False
    """Whether messages may name any local file; only safe if you write all messages yourself."""
    image_store: ImageStoreField = None
    """Where images of messages are kept and handles are looked up: an `ImageStore` or the folder of
    one. None: the store of the process. Models with different stores do not see each other's
    images."""
    timeout: float | None = Field(default=None, gt=0)
    """Maximum duration of an answer in seconds, without loading the model."""
    max_retries: int = Field(default=0, ge=0)
    """Maximum number of retries after a full queue or a crashed step."""
    validate_model_on_init: bool = False
    """Load the model at once, or ask the server at `base_url` for it, not at the first request."""
    backend: Backend | None = Field(default=None, exclude=True, repr=False)
    """A custom backend, instead of the one of `model` and its options."""

    _llavas: dict[EngineOptions, Llava] = PrivateAttr(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _validate_options(cls, values: Any) -> Any:
        """Check all options; nothing is loaded."""
        if not isinstance(values, dict):
            return values  # an instance, as the field of another pydantic model
        return validate_options(values, cls.model_fields, cls.__name__, cls.synonyms)

    @model_validator(mode="after")
    def _validate_model(self) -> Self:
        if self.validate_model_on_init:
            _ = self._llava().backend
        return self

    @field_validator("allowed_hosts")
    @classmethod
    def _check_hosts(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        Fetcher(allowed_hosts=frozenset(hosts))
        return tuple(sorted(hosts))

    @field_validator("allowed_directories", mode="before")
    @classmethod
    def _check_directories(cls, directories: Any) -> Any:
        if isinstance(directories, str | Path):
            raise RequestError(
                f"allowed_directories={str(directories)!r} is one folder.", "Give a list."
            )
        folders = [os.path.abspath(Path(path).expanduser()) for path in directories]
        ImageResolver(allowed_directories=folders)
        return tuple(folders)

    def close(self) -> None:
        """Release the model; the next request loads it again."""
        while self._llavas:
            self._llavas.popitem()[1].close()

    @property
    def _resolver(self) -> ImageResolver:
        return ImageResolver(
            self.image_store,
            allowed_directories=self.allowed_directories,
            allowed_hosts=self.allowed_hosts,
            allow_local_paths=self.allow_local_paths,
        )

    def _loader(
        self, model: str | None = None, labels: Sequence[str] | None = None
    ) -> Callable[[], Backend]:
        """Return a function that loads the backend of `model`, by default `self.model`.

        With `labels` it is a `LabelBackend`. Later calls of the function return the same backend,
        even if `close` was called meanwhile.
        """
        llava = self._llava(model)

        def load() -> Backend:
            backend = llava.backend if labels is None else LabelBackend(llava.backend, labels)
            return with_retries(backend, self.timeout, self.max_retries)

        return cache(load)

    def _llava(self, model: str | None = None) -> Llava:
        name = self.model if model is None else model
        if self.backend is not None:
            if name != self.model:
                raise RequestError(
                    f"model={model!r} is not possible: this {type(self).__name__} has a custom "
                    "backend.",
                    f"Create another {type(self).__name__} for that model.",
                )
            return Llava(self.model, backend=self.backend)
        keywords = cast(
            EngineKeywords, {option: getattr(self, option) for option in ENGINE_OPTIONS}
        )
        if self.base_url is not None and self.api_key is not None:
            keywords["api_key"] = self.api_key.get_secret_value()
        if name != self.model:
            keywords["revision"] = keywords["calibration"] = None  # those of `self.model`
        options = EngineOptions.from_keywords(name, keywords, type(self).__name__)
        return self._llavas.setdefault(options, Llava(name, **keywords))

    @property
    def _configured_context_length(self) -> int | None:
        """The context length, or None if the model must be loaded to know it."""
        if self.backend is not None:
            return self.backend.context_length
        if self.context_length is not None:
            return self.context_length
        if self.base_url is not None and self.model == "tiny":  # any model that the server runs
            return None
        return CONTEXT_LENGTHS.get(ALIASES.get(self.model, self.model))
