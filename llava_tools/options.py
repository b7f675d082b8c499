"""Which model runs, where and how. Options are checked before anything is loaded.

`EngineOptions` and `EmbeddingOptions` hold the options; the functions at the end check what the
users of a framework pass, who know some options by other names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal, Self, TypedDict, cast

from llava_tools.core.requests import SamplingKeywords, SamplingParams
from llava_tools.errors import LlavaToolsError, RequestError, refuse_unknown, unknown_option

if TYPE_CHECKING:
    from pydantic import ValidationError

Device = Literal["auto", "cpu", "cuda", "mps"]
Dtype = Literal["auto", "float32", "float16", "bfloat16"]
Quantization = Literal["4bit", "8bit"]

#: What the embedded model is, shown wherever it answers a person.
TINY_NOTICE = (
    "The embedded model knows drawn shapes and a little drawn writing; photographs and real "
    "documents need '7b' or '13b'."
)

#: Tokens of prompt and answer that the known models were built for.
CONTEXT_LENGTHS = {"tiny": 2048, "llava-hf/llava-1.5-7b-hf": 4096, "llava-hf/llava-1.5-13b-hf": 4096}

#: Short names of models, as users type them.
ALIASES = {
    "tiny": "tiny",
    "7b": "llava-hf/llava-1.5-7b-hf",
    "13b": "llava-hf/llava-1.5-13b-hf",
}

#: The CLIP whose vision tower LLaVA 1.5 uses, unchanged by LLaVA's training.
CLIP = "openai/clip-vit-large-patch14-336"

#: Options that a server takes when it is started, not from a client.
_LOCAL = ("device", "dtype", "quantization", "revision", "local_files_only", "prefix_caching")
_URL = re.compile(r"https?://[^\s/?#]+[^\s?#]*")


class LoadKeywords(TypedDict, total=False):
    """Keywords that say where a model comes from and where it runs; see `LoadOptions`."""

    device: str
    dtype: Dtype
    revision: str | None
    local_files_only: bool


class EngineKeywords(LoadKeywords, total=False):
    """Keywords of `Llava` and `ChatLlava` that choose the engine; see `EngineOptions`."""

    quantization: Quantization | None
    context_length: int | None
    prefix_caching: bool
    max_concurrent_requests: int
    base_url: str | None
    api_key: str | None


class EmbeddingKeywords(LoadKeywords, total=False):
    """Keywords of `Embedder` and `LlavaEmbeddings`; see `EmbeddingOptions`."""

    clip: str | None
    clip_revision: str | None


@dataclass(frozen=True)
class LoadOptions:
    """Where a model comes from and where it runs.

    Attributes:
        model: `tiny` (the embedded model), `7b`, `13b`, a hub id or a local folder.
        device: `auto` takes CUDA, then Apple's MPS, then the CPU; or a torch device name.
        dtype: `auto` takes bfloat16 where the hardware computes in it, float16 on older GPUs and
            MPS, else float32; the embedded model always runs in float32.
        revision: Branch, tag or commit on the hub.
        local_files_only: Never use the network; load from the cache or a folder only.

    Raises:
        RequestError: An impossible value.
    """

    model: str = "tiny"
    device: str = "auto"
    dtype: Dtype = "auto"
    revision: str | None = None
    local_files_only: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.model, str) or not self.model.strip():
            raise self._refuse("model", "'tiny', '7b', '13b', a hub id or a folder")
        if self.dtype not in ("auto", "float32", "float16", "bfloat16"):
            raise self._refuse("dtype", "'auto', 'float32', 'float16' or 'bfloat16'")
        kind = self.device.split(":")[0] if isinstance(self.device, str) else None
        if kind not in ("auto", "cpu", "cuda", "mps"):
            raise self._refuse("device", "'auto', 'cpu', 'mps', 'cuda', or one GPU like 'cuda:1'")
        self._check_bool("local_files_only")

    def _check_bool(self, name: str) -> None:
        if not isinstance(getattr(self, name), bool):
            raise self._refuse(name, "True or False")

    def _refuse(self, name: str, rule: str) -> RequestError:
        return RequestError(f"{name}={getattr(self, name)!r} is not possible.", f"Use {rule}.")

    @classmethod
    def from_keywords(cls, model: str, keywords: LoadKeywords, where: str) -> Self:
        """Build from the keywords that `where`, a class or function, was called with.

        Raises:
            RequestError: An unknown keyword, or an impossible value.
        """
        names = {item.name for item in fields(cls)} - {"model"}
        refuse_unknown(keywords, names, where)
        return cls(model, **keywords)

    @property
    def source(self) -> str:
        """`tiny`, a hub id or a folder: the model with its short name resolved."""
        return ALIASES.get(self.model, self.model)


@dataclass(frozen=True)
class EngineOptions(LoadOptions):
    """What one engine is loaded with. Equal options share one engine in a process.

    Attributes:
        quantization: `4bit` or `8bit` weights through bitsandbytes; needs a CUDA GPU.
        context_length: Tokens of prompt and answer together, at most; None for what the model was
            built for (4,096 in LLaVA 1.5).
        prefix_caching: Keep image features and the KV of shared prompt prefixes between requests.
        max_concurrent_requests: One more request is refused with `QueueFullError`.
        base_url: Address of an OpenAI-compatible server (`http://host:8000/v1`) that runs the model
            instead; `tiny`, the default, is then whichever model it serves.
        api_key: For that server; by default the environment variable LLAVA_API_KEY.
    """

    quantization: Quantization | None = None
    context_length: int | None = None
    prefix_caching: bool = True
    max_concurrent_requests: int = 256
    base_url: str | None = None
    api_key: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.quantization not in (None, "4bit", "8bit"):
            raise self._refuse("quantization", "'4bit', '8bit' or None")
        length = self.context_length
        if length is not None and (not isinstance(length, int) or length < 64):
            raise self._refuse("context_length", "a whole number of at least 64, or None")
        most = self.max_concurrent_requests
        if not isinstance(most, int) or isinstance(most, bool) or most < 1:
            raise self._refuse("max_concurrent_requests", "a whole number of at least 1")
        self._check_bool("prefix_caching")
        if self.base_url is not None:
            self._check_remote()

    def _check_remote(self) -> None:
        """Refuse options that the server chose when it was started."""
        if not isinstance(self.base_url, str) or not _URL.fullmatch(self.base_url):
            raise RequestError(
                f"base_url={self.base_url!r} is not possible.",
                "Write the address of the server's API, like 'http://localhost:8000/v1'.",
            )
        for item in fields(self):
            if item.name in _LOCAL and getattr(self, item.name) != item.default:
                raise RequestError(
                    f"{item.name}={getattr(self, item.name)!r} does not go with base_url: the "
                    "server chose how the model runs.",
                    "Leave it out, and start the server with it.",
                )


@dataclass(frozen=True)
class EmbeddingOptions(LoadOptions):
    """What one embedding model is loaded with. Equal options share one in a process.

    `model`, `device`, `dtype` and `revision` are those of the LLaVA whose vision tower embeds
    images; vectors are float32 whatever the dtype.

    Attributes:
        clip: Hub id or folder of the CLIP that the vision tower was taken from, in transformers'
            layout. None for `clip/` in the model's own folder, else the one of LLaVA 1.5.
        clip_revision: Of that CLIP.
    """

    clip: str | None = None
    clip_revision: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.clip is not None and not (isinstance(self.clip, str) and self.clip.strip()):
            raise self._refuse("clip", f"a hub id like {CLIP!r} or a folder")

    @property
    def default_clip(self) -> str | None:
        """The CLIP of LLaVA 1.5 where `model` is one of its released checkpoints, else None."""
        released = {name for name in ALIASES.values() if "/" in name}
        return CLIP if self.source in released else None


#: Options that choose and load the engine, besides `model` and the secret key.
ENGINE_OPTIONS = tuple(i.name for i in fields(EngineOptions) if i.name not in ("model", "api_key"))
#: Options that a call may bring as well.
SAMPLING_OPTIONS = tuple(item.name for item in fields(SamplingParams))


def normalize(
    options: Mapping[str, Any], names: Iterable[str], where: str, synonyms: Mapping[str, str]
) -> dict[str, Any]:
    """Return options under this package's names, all of which must be among `names`.

    Args:
        options: Keywords of a call.
        names: The names that `where` takes.
        where: The class or function that takes them, for the error message.
        synonyms: From a framework's name of an option to ours.

    Raises:
        RequestError: An unknown option, or one that stands there under two names.
    """
    allowed = frozenset(names)
    normalized: dict[str, Any] = {}
    for name, value in options.items():
        own = synonyms.get(name, name)
        if own not in allowed:
            more = [synonym for synonym, ours in synonyms.items() if ours in allowed]
            raise unknown_option(name, [*allowed, *more], where)
        if own in normalized:
            raise RequestError(f"{own} was given twice, once by another name.", f"Keep {own}=….")
        normalized[own] = value
    return normalized


def validate_options(
    options: Mapping[str, Any], names: Iterable[str], where: str, synonyms: Mapping[str, str]
) -> dict[str, Any]:
    """Normalize the options of a new model and check everything that needs no model.

    Raises:
        RequestError: See `normalize`; or an impossible value.
    """
    normalized = normalize(options, names, where, synonyms)
    if isinstance(normalized.get("stop"), str):
        normalized["stop"] = [normalized["stop"]]
    sampling_params({n: normalized[n] for n in SAMPLING_OPTIONS if n in normalized}, where)
    engine = {name: normalized[name] for name in ENGINE_OPTIONS if name in normalized}
    model = normalized.get("model", "tiny")
    EngineOptions.from_keywords(model, cast(EngineKeywords, engine), where)
    return normalized


def sampling_params(options: Mapping[str, Any], where: str) -> SamplingParams:
    """Build sampling parameters from options, of which None means the default.

    Raises:
        RequestError: A value out of range.
    """
    values = {name: value for name, value in options.items() if value is not None}
    return SamplingParams.from_keywords(cast(SamplingKeywords, values), where)


def validation_error(error: ValidationError, where: str) -> LlavaToolsError:
    """Return a one-line error for what pydantic refused first; it never shows the other values."""
    first = error.errors(include_url=False)[0]
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, LlavaToolsError):
        return cause
    name = ".".join(str(part) for part in first["loc"][:1]) or where
    value = f"={first['input']!r:.80}" if first["loc"] else ""
    return RequestError(f"{name}{value} is not possible.", f"{first['msg']}.")
