"""MCP over streamable HTTP: access by address and key, and which session a request belongs to."""

from __future__ import annotations

import json

from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from mcp.server.transport_security import TransportSecuritySettings
from mcp.shared.inbound import MCP_PROTOCOL_VERSION_HEADER
from mcp_types import UNSUPPORTED_PROTOCOL_VERSION
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from llava_tools.server.access import AccessMiddleware
from llava_tools.server.mcp.server import McpServer
from llava_tools.server.mcp.sessions import SESSION_HEADER, Sessions
from llava_tools.server.options import ServerOptions
from llava_tools.server.users import Users

#: The path of the endpoint.
PATH = "/mcp"


def create_app(server: McpServer, options: ServerOptions) -> Starlette:
    """Return an ASGI application that serves MCP at `PATH`.

    Args:
        server: The server; it can be served by one application only.
        options: Address, keys, origins, and the most bytes of a body.
    """
    app = server.streamable_http_app(
        streamable_http_path=PATH,
        max_request_body_size=options.max_body_bytes,
        # Host and Origin are checked by AccessMiddleware.
        transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),
    )
    app.add_middleware(
        SessionMiddleware, sessions=server.sessions, with_keys=bool(options.api_keys)
    )
    app.add_middleware(
        CORSMiddleware,
        allow_origins=options.allowed_origins,
        allow_methods=["GET", "POST", "DELETE"],
        allow_headers=["*"],
        expose_headers=[SESSION_HEADER],
    )
    app.add_middleware(AccessMiddleware, options=options, users=Users(options))
    return app


class SessionMiddleware:
    """Binds requests to sessions.

    With keys, the SDK lets a session be used only with the key that opened it. Without, protocol
    versions that have no sessions are refused, since their clients cannot be told apart; clients
    fall back to an earlier version. When a client ends its session, its images are forgotten.

    Args:
        app: Gets the requests.
        sessions: Those of the server.
        with_keys: Whether clients send API keys.
    """

    def __init__(self, app: ASGIApp, sessions: Sessions, *, with_keys: bool) -> None:
        self._app = app
        self._sessions = sessions
        self._with_keys = with_keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with 400."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        version = headers.get(MCP_PROTOCOL_VERSION_HEADER, HANDSHAKE_PROTOCOL_VERSIONS[-1])
        user = scope["state"]["user"]  # set by AccessMiddleware; None on paths without access
        if self._with_keys and user is not None:
            token = AccessToken(token="", client_id=user.name, scopes=[])
            scope["user"] = AuthenticatedUser(token)
        elif version not in HANDSHAKE_PROTOCOL_VERSIONS:
            await _refusal(version)(scope, receive, send)
            return

        async def watch(message: Message) -> None:
            is_done = message["type"] == "http.response.start" and message["status"] < 300
            if is_done and scope["method"] == "DELETE":
                self._sessions.end(headers.get(SESSION_HEADER, ""))
            await send(message)

        await self._app(scope, receive, watch)


def _refusal(version: str) -> Response:
    """Return the answer to a version that is not served, as the protocol defines it."""
    data = {"supported": HANDSHAKE_PROTOCOL_VERSIONS, "requested": version}
    error = {
        "code": UNSUPPORTED_PROTOCOL_VERSION,
        "message": "Without an API key, this server speaks only versions with sessions.",
        "data": data,
    }
    body = json.dumps({"jsonrpc": "2.0", "id": None, "error": error})
    return Response(body, status_code=400, media_type="application/json")
