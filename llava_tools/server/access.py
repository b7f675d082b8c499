"""Who may use the server: the host that a client names, the web page it comes from, and its key.

A web page may send requests to `localhost` from its reader's browser. Without a key it is refused
by its `Origin`, or, if it has made its own host name lead here (DNS rebinding), by `Host`.
"""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request as HttpRequest
from starlette.types import ASGIApp, Receive, Scope, Send

from llava_tools.server.errors import respond_to_error
from llava_tools.server.options import ServerOptions, is_loopback
from llava_tools.server.users import Users

#: Paths that need no key: they tell nothing about users and run nothing.
OPEN_PATHS = frozenset({"/", "/health", "/version", "/favicon.ico"})
#: Folders of such paths.
OPEN_FOLDERS = ("/static/",)


class AccessMiddleware:
    """Refuses requests that may not be made; sets `request.state.user` for the others.

    Args:
        app: Gets the requests that may be made.
        options: Of the server.
        users: By API key.
    """

    def __init__(self, app: ASGIApp, options: ServerOptions, users: Users) -> None:
        self._app = app
        self._options = options
        self._users = users

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with 401 or 403."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            self._check(scope)
        except HTTPException as error:
            response = await respond_to_error(HttpRequest(scope), error)
            await response(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        self._check_origin(headers)
        if not self._options.api_keys:
            self._check_host(headers.get("host", ""))
        path = scope["path"]
        user = self._users.find(headers.get("authorization", ""))
        # A browser asks with OPTIONS, without the key, whether a page may send a request.
        is_open = (
            path in OPEN_PATHS or path.startswith(OPEN_FOLDERS) or scope["method"] == "OPTIONS"
        )
        if user is None and not is_open:
            raise HTTPException(
                401,
                "The API key is missing or wrong. Send it as 'Authorization: Bearer KEY'.",
                {"WWW-Authenticate": "Bearer"},
            )
        scope.setdefault("state", {})["user"] = user

    def _check_origin(self, headers: Headers) -> None:
        """Refuse web pages of other sites."""
        origin = headers.get("origin")
        if origin is None or origin in self._options.allowed_origins:
            return
        try:
            host = urlsplit(origin).netloc.lower()
        except ValueError:  # such as "http://["
            host = ""
        if not host or host != headers.get("host", "").lower():
            raise HTTPException(
                403,
                f"Pages of {origin:.100} may not use this server. "
                "Start it with --allow-origin to allow them.",
            )

    def _check_host(self, host: str) -> None:
        """Refuse names that others may have made to lead to this machine."""
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:  # such as "["
            name = ""
        if name in ("localhost", self._options.host) or name.endswith(".localhost"):
            return
        if _is_address(name) and (is_loopback(name) or not is_loopback(self._options.host)):
            return
        if self._options.allow_anyone and not is_loopback(self._options.host):
            return
        raise HTTPException(
            403, f"The host {host:.100} is not this server's. Use http://localhost, or its address."
        )


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
