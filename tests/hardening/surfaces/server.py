"""Names in bodies of the server, in OpenAI's, in Ollama's and in the page's API."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

from starlette.testclient import TestClient

from llava_tools import Llava
from llava_tools.server.app import create_app
from llava_tools.server.options import ServerOptions
from llava_tools.testing import ScriptedEmbedder
from tests.hardening.surfaces.direct import tool_call
from tests.hardening.surfaces.surface import Access, RefusalError, Surface, make_backend


def _chat(block: Any) -> dict[str, Any]:
    text = {"type": "text", "text": "What colour?"}
    return {"messages": [{"role": "user", "content": [block, text]}]}


#: From a kind of body to its path and the body that names an image.
BODIES: dict[str, tuple[str, Callable[[str], dict[str, Any]]]] = {
    "chat completions": (
        "/v1/chat/completions",
        lambda name: _chat({"type": "image_url", "image_url": {"url": name}}),
    ),
    "chat completions, a string": (
        "/v1/chat/completions",
        lambda name: _chat({"type": "image_url", "image_url": name}),
    ),
    "responses": (
        "/v1/responses",
        lambda name: {
            "input": [{"role": "user", "content": [{"type": "input_image", "image_url": name}]}]
        },
    ),
    "embeddings": ("/v1/embeddings", lambda name: {"input": [{"image": name}]}),
    "Ollama chat": (
        "/api/chat",
        lambda name: {
            "model": "scripted",
            "stream": False,
            "messages": [{"role": "user", "content": "What colour?", "images": [name]}],
        },
    ),
    "Ollama generate": (
        "/api/generate",
        lambda name: {
            "model": "scripted", "stream": False, "prompt": "What colour?", "images": [name],
        },
    ),
    "page's look": ("/llava/tools/look", lambda name: {"arguments": tool_call("look", name)}),
    "page's compare": (
        "/llava/tools/compare", lambda name: {"arguments": tool_call("compare", name)},
    ),
}  # fmt: skip


def surfaces(access: Access, stack: ExitStack) -> Iterator[Surface]:
    """Yield the surfaces of a server."""
    options = ServerOptions(allow_urls=access.urls, allowed_hosts=access.hosts)
    app = create_app(options, Llava(backend=make_backend()), ScriptedEmbedder())
    app.state.service.load()
    client = TestClient(app, "http://localhost", raise_server_exceptions=False)
    stack.enter_context(client)

    def posted(path: str, make: Callable[[str], dict[str, Any]]) -> Callable[[str], str]:
        def send(name: str) -> str:
            headers = {"Content-Type": "application/json"}
            response = client.post(path, content=json.dumps(make(name)), headers=headers)
            if response.status_code == 200:
                return response.text
            if response.status_code != 400:
                raise AssertionError(f"status {response.status_code}: {response.text}")
            error = response.json()["error"]
            raise RefusalError(error if isinstance(error, str) else error["message"])

        return send

    urls: Any = "all" if access.urls else "allowed"
    for kind, (path, make) in BODIES.items():
        yield Surface(f"server: {kind}", posted(path, make), "none", urls)
