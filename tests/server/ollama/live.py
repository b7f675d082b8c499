"""A server on a port whose answers show what the model got."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from llava_tools import Llava
from llava_tools.core.requests import Request
from llava_tools.testing import ScriptedBackend, ScriptedEmbedder
from tests.server.live_server import LiveServer
from tests.server.ollama.samples import CALL

BALL = '{"colour": "red", "size": 3}'


def answer(request: Request) -> str:
    """Answer by what the request constrains: a call, a result's echo, an object, or words."""
    last = request.messages[-1]
    if last.role == "tool":
        return f"It is {last.text}, says {last.name}"
    if request.constraint.tools:
        return CALL
    if request.constraint.schema is not None:
        return BALL
    return f"{last.role} has {len(last.images)} images and {len(last.text.split())} words"


@contextmanager
def live_server() -> Iterator[LiveServer]:
    """Run a server; see `answer`."""
    embedder = ScriptedEmbedder(lambda text: (3.0, 4.0))
    with LiveServer(Llava(backend=ScriptedBackend(answer)), embedder) as server:
        yield server
