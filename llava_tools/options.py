"""Options of models, checked before anything is loaded.

`EngineOptions` and `EmbeddingOptions` hold them; the functions at the end convert and check the
options of framework adapters, which have other names for some.
"""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, TypedDict, cast

from llava_tools.chat.formats import FORMATS, ConversationName
from llava_tools.core.connection import (
    CONNECTION_OPTIONS,
    check_connection,
    move_credentials,
    without_credentials,
)
from llava_tools.core.duration import parse_duration
from llava_tools.core.known_models import ALIASES as ALIASES
from llava_tools.core.known_models import CLIP as CLIP
from llava_tools.core.known_models import CONTEXT_LENGTHS as CONTEXT_LENGTHS
from llava_tools.core.known_models import DEFAULT_CONTEXT_LENGTH as DEFAULT_CONTEXT_LENGTH
from llava_tools.core.known_models import TINY_NOTICE as TINY_NOTICE
from llava_tools.core.option_names import normalize as normalize
from llava_tools.core.requests import SamplingKeywords, SamplingParams
from llava_tools.errors import LlavaToolsError, RequestError, refuse_unknown

if TYPE_CHECKING:
    from pydantic import ValidationError

Dtype = Literal["auto", "float32", "float16", "bfloat16"]
Quantization = Literal["4bit", "8bit"]

#: Options that a server takes when it starts, not from a client.
_SERVER_OPTIONS = (
    "device",
    "dtype",
    "quantization",
    "revision",
    "local_files_only",
    "prefix_caching",
    "keep_alive",
)
_URL = re.compile(r"https?://[^\s/?#]+[^\s?#]*")


class LoadKeywords(TypedDict, total=False):
    """Keyword arguments for `LoadOptions`."""

    device: str
    dtype: Dtype
    revision: str | None
    local_files_only: bool


class EngineKeywords(LoadKeywords, total=False):
    """Keyword arguments for `EngineOptions`."""

    quantization: Quantization | None
    conversation: ConversationName | None
    context_length: int | None
    prefix_caching: bool
    max_concurrent_requests: int
    keep_alive: float | str | None
    calibration: str | Path | None
    base_url: str | None
    api_key: str | None
    default_headers: Mapping[str, str] | None
    extra_body: Mapping[str, Any] | None
    proxy: str | None
    http_async_client: Any


class EmbeddingKeywords(LoadKeywords, total=False):
    """Keyword arguments for `EmbeddingOptions`."""

    clip: str | None
    clip_revision: str | None


@dataclass(frozen=True)
class LoadOptions:
    """The source of a model and its device.

    Attributes:
        model: `tiny` (the embedded model), `0.5b`, `7b`, `13b`, a hub id or a local folder.
        device: `auto` takes CUDA, then Apple's MPS, then the CPU; or a torch device name.
        dtype: `auto` takes bfloat16 if the hardware supports it, float16 on older GPUs and MPS,
            else float32; the embedded model always runs in float32.
        revision: Branch, tag or commit on the hub.
        local_files_only: Load from the cache or a folder only, without the network.

    Raises:
        RequestError: An impossible value.
    """

    model: str = "tiny"
    device: str = "auto"
    dtype: Dtype = "auto"
    revision: str | None = None
    local_files_only: bool = False

    def __post_init__(self) -> None:
        valid = isinstance(self.model, str) and self.model.strip() != ""
        self._check("model", valid, "'tiny', '0.5b', '7b', '13b', a hub id or a folder")
        dtypes = ("auto", "float32", "float16", "bfloat16")
        self._check("dtype", self.dtype in dtypes, "'auto', 'float32', 'float16' or 'bfloat16'")
        type_ = self.device.split(":")[0] if isinstance(self.device, str) else None
        rule = "'auto', 'cpu', 'mps', 'cuda', or one GPU like 'cuda:1'"
        self._check("device", type_ in ("auto", "cpu", "cuda", "mps"), rule)
        valid = self.revision is None or isinstance(self.revision, str)
        self._check("revision", valid, "a branch, tag or commit, or None")
        self._check("local_files_only", isinstance(self.local_files_only, bool), "True or False")

    def _check(self, name: str, valid: bool, rule: str) -> None:
        if not valid:
            value = getattr(self, name)
            raise RequestError(f"{name}={value!r} is not possible.", f"Use {rule}.")

    @classmethod
    def from_keywords(cls, model: str, keywords: LoadKeywords, where: str) -> Self:
        """Create from the keyword arguments of `where`, a class or function.

        Raises:
            RequestError: An unknown keyword or an impossible value.
        """
        names = {item.name for item in fields(cls)} - {"model"}
        refuse_unknown(keywords, names, where)
        return cls(model, **keywords)

    @property
    def source(self) -> str:
        """The model without short names: `tiny`, a hub id or a folder."""
        return ALIASES.get(self.model, self.model)


@dataclass(frozen=True)
class EngineOptions(LoadOptions):
    """Options of an engine. Equal options share one engine in a process.

    Attributes:
        quantization: `4bit` or `8bit` weights: on CUDA through bitsandbytes; on CPUs with AVX512,
            `8bit` with AVX2 too.
        conversation: Conversation format that the model was trained on: `vicuna_v1`, `chatml`,
            `llama3`, `phi3` or `joycaption`. None takes that of the checkpoint's chat template or
            vocabulary; with `base_url`, `vicuna_v1`.
        context_length: Maximum number of tokens of prompt and answer together; None for as many as
            the model was built for (4,096 in LLaVA 1.5), but at most 8,192.
        prefix_caching: Reuse image features and the KV of shared prompt prefixes between requests.
        max_concurrent_requests: Further requests raise `QueueFullError`.
        keep_alive: Time without a request after which the model is unloaded; the next request loads
            it again. Seconds, or a text like `5m`; None or a negative value: never. Of objects that
            share an engine the longest counts.
        calibration: File of `llava-tools calibrate`, for the probabilities of `Llava.choose` and
            `Llava.score`. None for `calibration.json` in the model's folder, if there is one; with
            `base_url`, probabilities are then as the server reports them.
        base_url: URL of an OpenAI-compatible server (`http://host:8000/v1`) that runs the model
            instead; `tiny`, the default, is then the model that it serves. A user's name and
            password in it move to `default_headers`.
        api_key: API key for that server; by default the environment variable LLAVA_API_KEY.
        default_headers: HTTP headers of every request to that server.
        extra_body: Further fields of the JSON of every request for an answer.
        proxy: URL of a proxy to that server. Proxies that the environment names are not used.
        http_async_client: An `httpx.AsyncClient` (or httpx2's) for that server, with its own
            proxies, certificates and timeouts. It belongs to this model, and is closed with it.
    """

    quantization: Quantization | None = None
    conversation: ConversationName | None = None
    context_length: int | None = None
    prefix_caching: bool = True
    max_concurrent_requests: int = 256
    keep_alive: float | str | None = field(default=None, compare=False)
    calibration: str | Path | None = None
    base_url: str | None = None
    api_key: str | None = field(default=None, repr=False)
    default_headers: Mapping[str, str] | None = field(default=None, repr=False, hash=False)
    extra_body: Mapping[str, Any] | None = field(default=None, repr=False, hash=False)
    proxy: str | None = field(default=None, repr=False)
    http_async_client: Any = field(default=None, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        valid = self.quantization in (None, "4bit", "8bit")
        self._check("quantization", valid, "'4bit', '8bit' or None")
        valid = self.conversation in (None, *FORMATS)
        self._check("conversation", valid, f"{', '.join(map(repr, FORMATS))} or None")
        length, most = self.context_length, self.max_concurrent_requests
        valid = length is None or (isinstance(length, int) and length >= 64)
        self._check("context_length", valid, "a whole number of at least 64, or None")
        valid = isinstance(most, int) and not isinstance(most, bool) and most >= 1
        self._check("max_concurrent_requests", valid, "a whole number of at least 1")
        self._check("prefix_caching", isinstance(self.prefix_caching, bool), "True or False")
        parse_duration(self.keep_alive, "keep_alive")
        if isinstance(self.calibration, os.PathLike):
            object.__setattr__(self, "calibration", os.fspath(self.calibration))
        valid = self.calibration is None or isinstance(self.calibration, str)
        self._check("calibration", valid and self.calibration != "", "the path of a file, or None")
        self._check_connection()
        if self.base_url is not None:
            self._check_remote()

    @property
    def idle_seconds(self) -> float:
        """Seconds without a request after which the model is unloaded; infinity for never."""
        return parse_duration(self.keep_alive, "keep_alive")

    def _check_connection(self) -> None:
        """Check the options of the connection, and copy what could be changed from outside."""
        values = {name: getattr(self, name) for name in ("base_url", *CONNECTION_OPTIONS)}
        move_credentials(values)
        object.__setattr__(self, "base_url", values.pop("base_url"))
        object.__setattr__(self, "default_headers", values["default_headers"])
        check_connection(self.base_url, values)
        for name, value in values.items():
            if isinstance(value, Mapping):
                object.__setattr__(self, name, copy.deepcopy(dict(value)))

    def _check_remote(self) -> None:
        """Check the URL, and that no option is set that the server determines."""
        if not isinstance(self.base_url, str) or not _URL.fullmatch(self.base_url):
            url = self.base_url
            shown = without_credentials(url) if isinstance(url, str) else url
            raise RequestError(
                f"base_url={shown!r} is not possible.",
                "Write the address of the server's API, like 'http://localhost:8000/v1'.",
            )
        for item in fields(self):
            if item.name in _SERVER_OPTIONS and getattr(self, item.name) != item.default:
                raise RequestError(
                    f"{item.name}={getattr(self, item.name)!r} does not go with base_url: the "
                    "server chose how the model runs.",
                    "Leave it out, and start the server with it.",
                )


@dataclass(frozen=True)
class EmbeddingOptions(LoadOptions):
    """Options of an embedding model. Equal options share one model in a process.

    `model`, `device`, `dtype` and `revision` are those of the LLaVA whose vision tower embeds
    images. Vectors are float32 for every dtype.

    Attributes:
        clip: Hub id or folder of the vision tower's CLIP, in transformers' layout. None for `clip/`
            in the model's folder, else the CLIP of LLaVA 1.5.
        clip_revision: Revision of that CLIP.
    """

    clip: str | None = None
    clip_revision: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        valid = self.clip is None or (isinstance(self.clip, str) and self.clip.strip() != "")
        self._check("clip", valid, f"a hub id like {CLIP!r} or a folder")
        valid = self.clip_revision is None or isinstance(self.clip_revision, str)
        self._check("clip_revision", valid, "a branch, tag or commit, or None")

    @property
    def default_clip(self) -> str | None:
        """The CLIP of LLaVA 1.5 if `model` is a released checkpoint of it, else None."""
        return CLIP if self.source in (ALIASES["7b"], ALIASES["13b"]) else None


#: Options of the engine, without `model` and the secret key.
ENGINE_OPTIONS = tuple(i.name for i in fields(EngineOptions) if i.name not in ("model", "api_key"))
#: Those that may hold secrets, or cannot be written down.
PRIVATE_OPTIONS = frozenset({"default_headers", "proxy", "http_async_client"})
#: Options of sampling, which single calls take as well.
SAMPLING_OPTIONS = tuple(item.name for item in fields(SamplingParams))


def validate_options(
    options: Mapping[str, Any], names: Iterable[str], where: str, synonyms: Mapping[str, str]
) -> dict[str, Any]:
    """Normalize the options of a new model and check them; nothing is loaded.

    Raises:
        RequestError: See `normalize`; or an impossible value.
    """
    normalized = normalize(options, names, where, synonyms)
    if isinstance(normalized.get("stop"), str):
        normalized["stop"] = [normalized["stop"]]
    move_credentials(normalized)
    sampling_params({n: normalized[n] for n in SAMPLING_OPTIONS if n in normalized}, where)
    engine = {name: normalized[name] for name in ENGINE_OPTIONS if name in normalized}
    model = normalized.get("model", "tiny")
    EngineOptions.from_keywords(model, cast(EngineKeywords, engine), where)
    return normalized


def sampling_params(options: Mapping[str, Any], where: str) -> SamplingParams:
    """Create sampling parameters from options; a None means the default.

    Raises:
        RequestError: A value out of range.
    """
    values = {name: value for name, value in options.items() if value is not None}
    return SamplingParams.from_keywords(cast(SamplingKeywords, values), where)


def validation_error(error: ValidationError, where: str) -> LlavaToolsError:
    """Return a one-line error for pydantic's first error, without the values of other fields."""
    errors = error.errors(include_url=False)
    first = errors[0]
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, LlavaToolsError):
        return cause
    name = ".".join(str(part) for part in first["loc"][:1]) or where
    if first["type"] == "missing":
        return RequestError(f"{where} needs {name}.", f"Set {name}=….")
    rule = first["msg"]
    contexts = [item.get("ctx", {}) for item in errors if item["loc"][:1] == first["loc"][:1]]
    classes = [item.get("class", item.get("class_name", "")) for item in contexts]
    if all(classes):
        rule = f"Use an instance of {' or '.join(classes)}"
    value = f"={first['input']!r:.80}" if first["loc"] else ""
    return RequestError(f"{name}{value} is not possible.", f"{rule}.")
