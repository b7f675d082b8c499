"""`Sessions`: the images of each client, apart from those of the others.

A session is what `initialize` opens, over HTTP under a random id. Protocol version 2026-07-28 has
no sessions: over HTTP its clients are told apart by their API keys. A client over stdio has the
process to itself.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mcp.server import ServerRequestContext
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS

from llava_tools.images.access import ImageResolver
from llava_tools.images.store import ImageStore

#: The header of a session's id, checked by the SDK in all requests but the first.
SESSION_HEADER = "mcp-session-id"
#: Sessions whose images are kept; beyond, those of the least recently used one go.
MAX_SESSIONS = 32


@dataclass(frozen=True)
class Session:
    """What belongs to one client.

    Attributes:
        store: Keeps its images.
        resolver: Opens the images that its calls name, in that store or where allowed.
    """

    store: ImageStore
    resolver: ImageResolver


class Sessions:
    """The sessions of a server. Safe to use from many threads.

    Args:
        make: Creates a session without images.
        most: Sessions whose images are kept, >= 1.
    """

    def __init__(self, make: Callable[[], Session], most: int = MAX_SESSIONS) -> None:
        self._make = make
        self._most = most
        self._sessions: OrderedDict[str, Session] = OrderedDict()  # latest use last
        self._lock = threading.Lock()

    def find(self, context: ServerRequestContext[Any, Any]) -> Session:
        """Return the session that a request belongs to."""
        key = _key(context)
        with self._lock:
            if key not in self._sessions:
                self._sessions[key] = self._make()
            self._sessions.move_to_end(key)
            while len(self._sessions) > self._most:
                self._sessions.popitem(last=False)
            return self._sessions[key]

    def end(self, session_id: str) -> None:
        """Forget the images of a session that its client has ended."""
        with self._lock:
            self._sessions.pop(f"session {session_id}", None)

    def __len__(self) -> int:
        return len(self._sessions)


def _key(context: ServerRequestContext[Any, Any]) -> str:
    http = context.request
    if http is None:  # stdio, or a client in this process
        return "process"
    if context.protocol_version in HANDSHAKE_PROTOCOL_VERSIONS:
        return f"session {http.headers[SESSION_HEADER]}"
    # The middleware of http.py lets no other request of this version pass.
    return f"key {http.scope['user'].username}"
