"""Which model runs, where and how: the options of an engine, checked before anything is loaded."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields
from typing import Literal, TypedDict

from llava_tools.errors import RequestError, refuse_unknown

Device = Literal["auto", "cpu", "cuda", "mps"]
Dtype = Literal["auto", "float32", "float16", "bfloat16"]
Quantization = Literal["4bit", "8bit"]

#: What the embedded model is, shown wherever it answers a person.
TINY_NOTICE = (
    "The embedded model knows drawn shapes and a little drawn writing; photographs and real "
    "documents need '7b' or '13b'."
)

#: Tokens of prompt and answer that the known models were built for.
CONTEXTS = {"tiny": 2048, "llava-hf/llava-1.5-7b-hf": 4096, "llava-hf/llava-1.5-13b-hf": 4096}

#: Short names of models, as users type them.
ALIASES = {
    "tiny": "tiny",
    "7b": "llava-hf/llava-1.5-7b-hf",
    "13b": "llava-hf/llava-1.5-13b-hf",
}

#: The CLIP whose vision tower LLaVA 1.5 looks through, unchanged by LLaVA's training.
CLIP = "openai/clip-vit-large-patch14-336"


#: Options that a server takes when it is started, not from us.
_LOCAL = ("device", "dtype", "quantization", "revision", "offline", "reuse")
_URL = re.compile(r"https?://[^\s/?#]+[^\s?#]*")


class EngineKeywords(TypedDict, total=False):
    """Keywords of `Llava` and `ChatLlava` that choose the engine; see `EngineOptions`."""

    device: str
    dtype: Dtype
    quantization: Quantization | None
    revision: str | None
    offline: bool
    context: int | None
    reuse: bool
    max_queue: int
    base_url: str | None
    api_key: str | None


@dataclass(frozen=True)
class EngineOptions:
    """What one engine is loaded with. Equal options share one engine in a process.

    Attributes:
        model: `tiny` (the embedded model), `7b`, `13b`, a hub id or a local folder.
        device: `auto` takes CUDA, then Apple's MPS, then the CPU; or a torch device name.
        dtype: `auto` takes bfloat16 where the hardware computes in it, float16 on older GPUs and
            MPS, else float32; the embedded model always runs in float32.
        quantization: `4bit` or `8bit` weights through bitsandbytes; needs a CUDA GPU.
        revision: Branch, tag or commit on the hub.
        offline: Never ask the network; load from the cache or a folder only.
        context: Tokens of prompt and answer together, at most; None for what the model was built
            for (4,096 in LLaVA 1.5).
        reuse: Keep pictures' features and the KV of shared prompt beginnings between requests.
        max_queue: Requests in flight at most; one more is refused with `QueueFullError`.
        base_url: Address of an OpenAI-compatible server (`http://host:8000/v1`) that runs the model
            instead; `tiny`, the default, is then whichever model it serves.
        api_key: For that server; by default what LLAVA_API_KEY holds.
    """

    model: str = "tiny"
    device: str = "auto"
    dtype: Dtype = "auto"
    quantization: Quantization | None = None
    revision: str | None = None
    offline: bool = False
    context: int | None = None
    reuse: bool = True
    max_queue: int = 256
    base_url: str | None = None
    api_key: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        def refuse(name: str, rule: str) -> RequestError:
            return RequestError(f"{name}={getattr(self, name)!r} is not possible.", f"Use {rule}.")

        if not isinstance(self.model, str) or not self.model.strip():
            raise refuse("model", "'tiny', '7b', '13b', a hub id or a folder")
        if self.dtype not in ("auto", "float32", "float16", "bfloat16"):
            raise refuse("dtype", "'auto', 'float32', 'float16' or 'bfloat16'")
        if self.quantization not in (None, "4bit", "8bit"):
            raise refuse("quantization", "'4bit', '8bit' or None")
        if self.context is not None and (not isinstance(self.context, int) or self.context < 64):
            raise refuse("context", "a whole number of at least 64, or None")
        if not isinstance(self.max_queue, int) or isinstance(self.max_queue, bool):
            raise refuse("max_queue", "a whole number")
        if self.max_queue < 1:
            raise refuse("max_queue", "a whole number of at least 1")
        for name in ("offline", "reuse"):
            if not isinstance(getattr(self, name), bool):
                raise refuse(name, "True or False")
        kind = self.device.split(":")[0] if isinstance(self.device, str) else None
        if kind not in ("auto", "cpu", "cuda", "mps"):
            raise refuse("device", "'auto', 'cpu', 'mps', 'cuda', or one GPU like 'cuda:1'")
        if self.base_url is not None:
            self._check_remote()

    def _check_remote(self) -> None:
        """Refuse what is the server's to choose."""
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

    @classmethod
    def of(cls, model: str, keywords: EngineKeywords, where: str) -> EngineOptions:
        """Build from keywords.

        Raises:
            RequestError: An unknown keyword, or a value that is not possible.
        """
        known = {item.name for item in fields(cls)} - {"model"}
        refuse_unknown(keywords, known, where)
        return cls(model, **keywords)

    @property
    def source(self) -> str:
        """`tiny`, a hub id or a folder: the model with its short name resolved."""
        return ALIASES.get(self.model, self.model)


class EmbeddingKeywords(TypedDict, total=False):
    """Keywords of `Embedder` and `LlavaEmbeddings`; see `EmbeddingOptions`."""

    device: str
    dtype: Dtype
    revision: str | None
    offline: bool
    clip: str | None
    clip_revision: str | None


@dataclass(frozen=True)
class EmbeddingOptions:
    """What one embedding model is loaded with. Equal options share one in a process.

    Attributes:
        model: The LLaVA whose eye looks: `tiny`, `7b`, `13b`, a hub id or a local folder.
        device: `auto` takes CUDA, then Apple's MPS, then the CPU; or a torch device name.
        dtype: As in `EngineOptions`; the vectors are float whatever it is.
        revision: Of the LLaVA: branch, tag or commit on the hub.
        offline: Never ask the network; load from the cache or a folder only.
        clip: Hub id or folder of the CLIP that the eye was taken from, in transformers' layout.
            None for `clip/` in the model's own folder, else the one of LLaVA 1.5.
        clip_revision: Of that CLIP.
    """

    model: str = "tiny"
    device: str = "auto"
    dtype: Dtype = "auto"
    revision: str | None = None
    offline: bool = False
    clip: str | None = None
    clip_revision: str | None = None

    def __post_init__(self) -> None:
        _ = self.engine  # checks what both have in common
        if self.clip is not None and not (isinstance(self.clip, str) and self.clip.strip()):
            raise RequestError(
                f"clip={self.clip!r} is not possible.", f"Use a hub id like {CLIP!r} or a folder."
            )

    @classmethod
    def of(cls, model: str, keywords: EmbeddingKeywords, where: str) -> EmbeddingOptions:
        """Build from keywords.

        Raises:
            RequestError: An unknown keyword, or a value that is not possible.
        """
        known = {item.name for item in fields(cls)} - {"model"}
        refuse_unknown(keywords, known, where)
        return cls(model, **keywords)

    @property
    def engine(self) -> EngineOptions:
        """What the LLaVA would be loaded with."""
        return EngineOptions(
            self.model, self.device, self.dtype, revision=self.revision, offline=self.offline
        )

    @property
    def usual_clip(self) -> str | None:
        """The CLIP of LLaVA 1.5 where `model` is one of its released checkpoints, else None."""
        released = {name for name in ALIASES.values() if "/" in name}
        return CLIP if self.engine.source in released else None
