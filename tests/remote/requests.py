"""Requests and helpers for the tests of the remote backend."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from PIL import Image

from llava_tools import open_image
from llava_tools.chat.tool_calls import write_call
from llava_tools.core.backend import Backend
from llava_tools.core.constraints import ToolCall, ToolSpec
from llava_tools.core.outputs import Answer, collect
from llava_tools.core.requests import Message, Request
from llava_tools.remote import RemoteBackend
from tests.fake_server import FakeServer
from tests.remote.hostile_server import HostileServer

ADD = ToolSpec(
    "add",
    "Add.",
    {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
)
CALL = write_call(ToolCall("", "add", {"a": 3}))
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
QUESTION = (Message("user", ("What is this?",)),)

Serve = Callable[..., FakeServer]
"""Starts a fake server."""
ServeBytes = Callable[..., HostileServer]
"""Starts a server that sends raw bytes."""
Connect = Callable[..., RemoteBackend]
"""Makes a backend for a fake server."""
Ask = Callable[..., Answer]
"""Asks a server that gives this answer."""


def connect_url(url: str, **options: Any) -> RemoteBackend:
    """Return a backend that does not retry."""
    return RemoteBackend(url, **{"retry_delays": (), "read_timeout": 5.0, **options})


def full_answer(backend: Backend, request: Request) -> Answer:
    """Return the whole answer, with an empty model name."""
    return collect(backend.stream(request), "")


def make_image(size: tuple[int, int] = (40, 20), colour: str = "red") -> Any:
    return open_image(Image.new("RGB", size, colour))
