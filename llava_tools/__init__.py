"""LLaVA 1.5 on your own machine: ask about images from LangChain, LlamaIndex or Python.

    from llava_tools import Llava
    print(Llava().ask("What colour is the circle?", images="shapes.png"))

Importing this package loads neither torch nor a model; the first request does.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing's, whose import takes longer than all else here
if TYPE_CHECKING:
    from llava_tools.core.backend import Backend, Stream
    from llava_tools.core.constraints import Constraint, ToolCall, ToolSpec
    from llava_tools.core.outputs import Answer, Chunk, ToolCallChunk
    from llava_tools.core.requests import Message, Request, SamplingParams
    from llava_tools.embedding import Embedder
    from llava_tools.errors import (
        AnswerTimeoutError,
        ContextOverflowError,
        DocumentError,
        EngineClosedError,
        EngineCrashedError,
        EngineError,
        ForeignIndexError,
        ImageError,
        ImageStoreError,
        IndexStoreError,
        LlavaToolsError,
        MemoryExhaustedError,
        MissingExtraError,
        ModelError,
        ModelNotFoundError,
        OutputError,
        QueueFullError,
        RequestError,
        SchemaError,
        ServerError,
        TrainingError,
    )
    from llava_tools.images.loading import open_image
    from llava_tools.images.ref import ImageRef
    from llava_tools.images.store import ImageStore
    from llava_tools.label_scoring import Classification
    from llava_tools.model import Llava

__version__ = "0.1.0"

__all__ = [
    "Answer",
    "AnswerTimeoutError",
    "Backend",
    "Chunk",
    "Classification",
    "Constraint",
    "ContextOverflowError",
    "DocumentError",
    "Embedder",
    "EngineClosedError",
    "EngineCrashedError",
    "EngineError",
    "ForeignIndexError",
    "ImageError",
    "ImageRef",
    "ImageStore",
    "ImageStoreError",
    "IndexStoreError",
    "Llava",
    "LlavaToolsError",
    "MemoryExhaustedError",
    "Message",
    "MissingExtraError",
    "ModelError",
    "ModelNotFoundError",
    "OutputError",
    "QueueFullError",
    "Request",
    "RequestError",
    "SamplingParams",
    "SchemaError",
    "ServerError",
    "Stream",
    "ToolCall",
    "ToolCallChunk",
    "ToolSpec",
    "TrainingError",
    "open_image",
]

#: The public names of each module, which is imported at the first use of one of them.
_NAMES = {
    "core.backend": {"Backend", "Stream"},
    "core.constraints": {"Constraint", "ToolCall", "ToolSpec"},
    "core.outputs": {"Answer", "Chunk", "ToolCallChunk"},
    "core.requests": {"Message", "Request", "SamplingParams"},
    "embedding": {"Embedder"},
    "errors": {name for name in __all__ if name.endswith("Error")},
    "images.loading": {"open_image"},
    "images.ref": {"ImageRef"},
    "images.store": {"ImageStore"},
    "label_scoring": {"Classification"},
    "model": {"Llava"},
}


def __getattr__(name: str) -> object:
    # Not before: an interrupt of an import here could not be handled.
    from importlib import import_module

    for module, names in _NAMES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
