"""LLaVA 1.5 on your own machine: ask about pictures from LangChain, LlamaIndex or Python.

    from llava_tools import Llava
    print(Llava().ask("What colour is the circle?", images="shapes.png"))

Importing this package loads neither torch nor a model; the first question does.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llava_tools.errors import LlavaToolsError
    from llava_tools.images import ImageRef, open_image
    from llava_tools.model import Llava
    from llava_tools.core.outputs import Answer, Delta
    from llava_tools.core.requests import Message, Sampling

__version__ = "0.1.0"

__all__ = [
    "Answer",
    "Delta",
    "ImageRef",
    "Llava",
    "LlavaToolsError",
    "Message",
    "Sampling",
    "open_image",
]

_HOMES = {
    "Answer": "types",
    "Delta": "types",
    "ImageRef": "images",
    "Llava": "model",
    "LlavaToolsError": "errors",
    "Message": "types",
    "Sampling": "types",
    "open_image": "images",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
