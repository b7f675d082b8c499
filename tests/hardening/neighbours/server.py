"""Two users of a server, each with a key."""

from __future__ import annotations

import json
import logging
from typing import Any

from starlette.testclient import TestClient

from llava_tools import Llava
from llava_tools.core.backend import Backend
from llava_tools.server.app import create_app
from llava_tools.server.options import ServerOptions
from tests.hardening.neighbours.user import STORE_BYTES, Operation, noise, without

KEYS = ("key-of-the-first-user", "key-of-the-second-user")
#: Fields that differ each time.
_VOLATILE = (
    "id", "created", "created_at", "timings", "total_duration", "load_duration",
    "prompt_eval_duration", "eval_duration", "response_id", "item_id", "completed_at",
    "expires_at",
)  # fmt: skip


class _Records(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


class Server:
    """A server with two keys.

    Args:
        backend: Its model.
    """

    def __init__(self, backend: Backend) -> None:
        options = ServerOptions(api_keys=KEYS, store_bytes=STORE_BYTES)
        app = create_app(options, Llava(backend=backend))
        app.state.service.load()
        self._client = TestClient(app, "http://localhost", raise_server_exceptions=False)
        self._client.__enter__()
        self._records = _Records()
        logging.getLogger("llava_tools").addHandler(self._records)

    def close(self) -> None:
        """End the server."""
        logging.getLogger("llava_tools").removeHandler(self._records)
        self._client.__exit__(None, None, None)

    def shown(self) -> str:
        """Return metrics and logs, which are nobody's in particular."""
        metrics = self._send(0, "GET", "/metrics").text
        return "\n".join([metrics, *self._records.lines])

    def run(self, user: int, operation: Operation) -> object:
        """Do something as a user, and return the answers without what differs each time."""
        answers = [self._send(user, *request) for request in _requests(operation)]
        return [(answer.status_code, _body(answer)) for answer in answers]

    def _send(self, user: int, method: str, path: str, body: Any = None) -> Any:
        headers = {"Authorization": f"Bearer {KEYS[user]}"}
        content = {"content": body} if isinstance(body, bytes) else {"json": body}
        return self._client.request(method, path, headers=headers, **content)


def _body(answer: Any) -> Any:
    if "json" in answer.headers.get("content-type", ""):
        return without(answer.json(), *_VOLATILE)
    lines = answer.text.splitlines()
    events = [line.removeprefix("data: ") for line in lines if line.startswith("data: {")]
    return [without(json.loads(event), *_VOLATILE) for event in events] or answer.content


def _requests(operation: Operation) -> list[tuple[Any, ...]]:
    """Return the requests of an operation: method, path and body."""
    handle, url = operation.image.handle, f"data:image/png;base64,{operation.data}"
    add = ("POST", "/llava/images", operation.image.data)
    match operation.kind:
        case "add":
            return [add]
        case "ask by handle":
            return [add, _chat(operation, handle)]
        case "ask with data":
            return [_chat(operation, url), _ollama(operation)]
        case "ask by the other's handle":
            return [_chat(operation, handle), _responses(operation, handle)]
        case "ask what both ask":
            return [_chat(operation, url), _responses(operation, url)]
        case "stream" | "read on":
            return [_chat(operation, url, stream=True)]
        case "tool" | "tool, other's handle":
            source = url if operation.kind == "tool" else handle
            arguments = {"image": source, "question": operation.text}
            return [("POST", "/llava/tools/look", {"arguments": arguments})]
        case "probe" | "remove the other's":
            method = "GET" if operation.kind == "probe" else "DELETE"
            return [(method, f"/llava/images/{handle}")]
        case "evict":
            return [("POST", "/llava/images", noise(number).data) for number in range(12)]
        case "list":
            return [("GET", path) for path in ("/v1/models", "/llava/info", "/api/ps")]
        case "evidence":
            method, _, body = _chat(operation, url)
            return [(method, "/llava/evidence", {**body, "answer": operation.word})]
        case _:
            broken = {"messages": [{"role": operation.word, "content": operation.text}]}
            return [("POST", "/v1/chat/completions", broken), ("GET", f"/{operation.word}")]


def _chat(operation: Operation, url: str, **fields: Any) -> tuple[Any, ...]:
    content = [
        {"type": "image_url", "image_url": {"url": url}},
        {"type": "text", "text": operation.text},
    ]
    body = {"model": "scripted", "messages": [{"role": "user", "content": content}], **fields}
    return "POST", "/v1/chat/completions", body


def _responses(operation: Operation, url: str) -> tuple[Any, ...]:
    content = [
        {"type": "input_image", "image_url": url},
        {"type": "input_text", "text": operation.text},
    ]
    body = {"model": "scripted", "input": [{"role": "user", "content": content}]}
    return "POST", "/v1/responses", body


def _ollama(operation: Operation) -> tuple[Any, ...]:
    message = {"role": "user", "content": operation.text, "images": [operation.data]}
    return "POST", "/api/chat", {"model": "scripted", "messages": [message], "stream": False}
