"""Texts in bodies of the server: OpenAI's, Ollama's and the page's."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

from starlette.testclient import TestClient

from llava_tools import Llava
from llava_tools.server.app import create_app
from llava_tools.server.options import ServerOptions
from llava_tools.testing import ScriptedBackend
from tests.hardening.places.bodies import QUESTION, URL, Make
from tests.hardening.places.ollama import (
    GENERATE_SPOKEN,
    GENERATE_WRITTEN,
    OLLAMA_SPOKEN,
    OLLAMA_WRITTEN,
    generate,
    ollama_chat,
    with_ollama_tool,
)
from tests.hardening.places.openai import (
    CHAT_SPOKEN,
    CHAT_WRITTEN,
    RESPONSES_SPOKEN,
    RESPONSES_WRITTEN,
    chat,
    with_format,
    with_tool,
)
from tests.hardening.places.place import JSON_FIELDS, Place, json_fields
from tests.hardening.places.tools import ARGUMENTS
from tests.hardening.surfaces.surface import RefusalError


def _score(text: str) -> dict[str, Any]:
    return chat(QUESTION, labels=[text, "b"])


_PATHS: dict[str, tuple[dict[str, Make], dict[str, Make]]] = {
    "/v1/chat/completions": (CHAT_SPOKEN, CHAT_WRITTEN),
    "/v1/responses": (RESPONSES_SPOKEN, RESPONSES_WRITTEN),
    "/api/chat": (OLLAMA_SPOKEN, OLLAMA_WRITTEN),
    "/api/generate": (GENERATE_SPOKEN, GENERATE_WRITTEN),
    "/llava/score": ({}, {"label": _score}),
}


def _with_fields(make: Callable[[dict[str, Any]], dict[str, Any]], field: str, text: str) -> Any:
    return make(json_fields(text)[field])


def _bodies() -> Iterator[tuple[str, str, Make, bool]]:
    """Yield the place of a text, the path, the body, and whether its lines count."""
    for path, (spoken, written) in _PATHS.items():
        for lines, makes in ((False, spoken), (True, written)):
            for name, make in makes.items():
                yield f"{path}, {name}", path, make, lines
    schemas: dict[str, tuple[str, Callable[[dict[str, Any]], dict[str, Any]]]] = {
        "tool": ("/v1/chat/completions", lambda schema: with_tool(parameters=schema)),
        "format": ("/v1/chat/completions", lambda schema: with_format(schema=schema)),
        "tool of Ollama": ("/api/chat", lambda schema: with_ollama_tool(parameters=schema)),
        "format of Ollama": ("/api/chat", lambda schema: ollama_chat(QUESTION, format=schema)),
        "format of generate": ("/api/generate", lambda schema: generate(format=schema)),
    }
    for name, (path, make_schema) in schemas.items():
        for field in JSON_FIELDS:
            make = partial(_with_fields, make_schema, field)
            yield f"{path}, {name}, {field}", path, make, True
    for name, arguments in ARGUMENTS.items():
        path = f"/llava/tools/{name.split()[0]}"
        tool_body = partial(_tool_body, arguments)
        yield f"{path}, {name}", path, tool_body, False


def _tool_body(arguments: Callable[[str, str], dict[str, Any]], text: str) -> dict[str, Any]:
    return {"arguments": arguments(URL, text)}


def places(backend: ScriptedBackend, stack: ExitStack) -> Iterator[tuple[str, Place]]:
    """Yield the places of a server by their names."""
    app = create_app(ServerOptions(), Llava(backend=backend))
    app.state.service.load()
    client = TestClient(app, "http://localhost", raise_server_exceptions=False)
    stack.enter_context(client)

    def post(path: str, make: Make, text: str) -> None:
        headers = {"Content-Type": "application/json"}
        response = client.post(path, content=json.dumps(make(text)), headers=headers)
        if response.status_code == 400:
            error = response.json()["error"]
            raise RefusalError(error if isinstance(error, str) else error["message"])
        if response.status_code != 200 and not backend.requests:
            raise AssertionError(f"status {response.status_code}: {response.text:.300}")

    for name, path, make, lines in _bodies():
        yield name, Place(partial(post, path, make), lines)
