"""Places of texts that reach a prompt through what users import, call or send."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec

from llava_tools.testing import ScriptedBackend
from tests.hardening.places import langchain, llama_index, server
from tests.hardening.places.place import Place


@contextmanager
def open_places(backend: ScriptedBackend) -> Iterator[dict[str, Place]]:
    """Yield all places by their names, with servers and clients that run until the end."""
    with ExitStack() as stack:
        found = {f"LangChain: {name}": place for name, place in langchain.places(backend)}
        found |= {f"LlamaIndex: {name}": place for name, place in llama_index.places(backend)}
        found |= {f"server: {name}": place for name, place in server.places(backend, stack)}
        if find_spec("mcp_types"):  # the extra `notebooks` brings mcp 1, which cannot serve
            from tests.hardening.places import mcp

            found |= {f"MCP: {name}": place for name, place in mcp.places(backend, stack)}
        yield found
