"""LLaVA 1.5 on your own machine: ask about images from LangChain, LlamaIndex or Python.

    from llava_tools import Llava
    print(Llava().ask("What colour is the circle?", images="shapes.png"))

Importing this package loads neither torch nor a model; the first question does.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llava_tools.core.backend import Backend
    from llava_tools.core.constraints import Constraint, ToolCall, ToolSpec
    from llava_tools.core.outputs import Answer, Chunk
    from llava_tools.core.requests import Message, Request, SamplingParams
    from llava_tools.embedding import Embedder
    from llava_tools.errors import (
        AnswerTimeoutError,
        ContextOverflowError,
        EngineError,
        ImageError,
        LlavaToolsError,
        ModelError,
        ModelNotFoundError,
        OutputError,
        QueueFullError,
        RequestError,
        SchemaError,
        ServerError,
    )
    from llava_tools.images.ref import ImageRef, open_image
    from llava_tools.images.store import ImageStore
    from llava_tools.model import Llava

__version__ = "0.1.0"

__all__ = [
    "Answer",
    "AnswerTimeoutError",
    "Backend",
    "Chunk",
    "Constraint",
    "ContextOverflowError",
    "Embedder",
    "EngineError",
    "ImageError",
    "ImageRef",
    "ImageStore",
    "Llava",
    "LlavaToolsError",
    "Message",
    "ModelError",
    "ModelNotFoundError",
    "OutputError",
    "QueueFullError",
    "Request",
    "RequestError",
    "SamplingParams",
    "SchemaError",
    "ServerError",
    "ToolCall",
    "ToolSpec",
    "open_image",
]

#: The module of each public name; it is imported when the name is first used.
_MODULES = {
    "Answer": "core.outputs",
    "AnswerTimeoutError": "errors",
    "Backend": "core.backend",
    "Chunk": "core.outputs",
    "Constraint": "core.constraints",
    "ContextOverflowError": "errors",
    "Embedder": "embedding",
    "EngineError": "errors",
    "ImageError": "errors",
    "ImageRef": "images.ref",
    "ImageStore": "images.store",
    "Llava": "model",
    "LlavaToolsError": "errors",
    "Message": "core.requests",
    "ModelError": "errors",
    "ModelNotFoundError": "errors",
    "OutputError": "errors",
    "QueueFullError": "errors",
    "Request": "core.requests",
    "RequestError": "errors",
    "SamplingParams": "core.requests",
    "SchemaError": "errors",
    "ServerError": "errors",
    "ToolCall": "core.constraints",
    "ToolSpec": "core.constraints",
    "open_image": "images.ref",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
