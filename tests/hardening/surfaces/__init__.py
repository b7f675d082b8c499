"""Surfaces: every place where somebody else's text names an image."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from typing import Any
from unittest import mock

from llava_tools import model_cache
from llava_tools.testing import ScriptedEmbedder
from tests.hardening.surfaces import direct, langchain, llama_index, server
from tests.hardening.surfaces.surface import (
    Access,
    FrameworkRefusalError,
    RefusalError,
    Surface,
    check_text,
    in_time,
)

__all__ = [
    "STRIDE",
    "Access",
    "FrameworkRefusalError",
    "RefusalError",
    "Surface",
    "check_text",
    "in_time",
    "open_surfaces",
]


#: From one surface of a form to its next: a prime, so that a few rounds meet all kinds.
STRIDE = 37


class _Embedder(ScriptedEmbedder):
    """An embedding model that a cache can unload."""

    def close(self) -> None:
        """Nothing is held."""


@contextmanager
def open_surfaces(access: Access) -> Iterator[list[Surface]]:
    """Yield all surfaces, with servers and clients that run until the end."""
    with ExitStack() as stack:
        cache: Any = model_cache.ModelCache(lambda options: _Embedder())
        stack.enter_context(mock.patch.object(model_cache, "embeddings", cache))
        modules = [direct, langchain, llama_index, server]
        if find_spec(
            "mcp_types"
        ):  # the extra `notebooks` brings mcp 1, which the server cannot use
            from tests.hardening.surfaces import mcp

            modules.append(mcp)
        yield [surface for module in modules for surface in module.surfaces(access, stack)]
