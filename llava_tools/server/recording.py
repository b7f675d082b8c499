"""`RecordMiddleware`: measures each HTTP request, and reports it when it is over."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from starlette.datastructures import Headers
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from llava_tools.server.record import RequestRecord, set_current

#: Reads the record of a request that is over.
Sink = Callable[[RequestRecord], None]

#: Protocols by the beginning of their paths.
_PROTOCOLS = {
    "/v1/": "openai",
    "/tokenize": "openai",
    "/api/": "ollama",
    "/llava/": "page",
    "/static/": "page",
}
#: Headers that name the trace of the caller (W3C Trace Context).
_TRACE_HEADERS = ("traceparent", "tracestate")


class RecordMiddleware:
    """Makes the record of each request and passes it to sinks at the end.

    Args:
        app: Answers the requests.
        routes: Of the application.
        sinks: See `Sink`.
    """

    def __init__(self, app: ASGIApp, routes: Sequence[BaseRoute], sinks: Sequence[Sink]) -> None:
        self._app = app
        self._routes = routes
        self._sinks = sinks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request and report its record."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        record = self._record(scope)
        set_current(record)

        async def send_recorded(message: Message) -> None:
            if message["type"] == "http.response.start":
                record.status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_recorded)
        except Exception as error:
            record.status, record.error = record.status or 500, type(error).__name__
            raise
        finally:
            record.status = record.status or 499
            record.seconds = record.elapsed()
            user = scope.get("state", {}).get("user")
            record.user = "" if user is None else user.name
            for sink in self._sinks:
                sink(record)

    def _record(self, scope: Scope) -> RequestRecord:
        route = self._route(scope)
        protocol = next((name for start, name in _PROTOCOLS.items() if route.startswith(start)), "")
        headers = Headers(scope=scope)
        trace = {name: headers[name] for name in _TRACE_HEADERS if name in headers}
        return RequestRecord(scope["method"], route, protocol or "server", trace)

    def _route(self, scope: Scope) -> str:
        """Return the path of the route, which has no values of parameters; "" for none."""
        partial = ""
        for route in self._routes:
            match, _ = route.matches(scope)
            path = str(getattr(route, "path", ""))
            if match is Match.FULL:
                return path
            if match is Match.PARTIAL:  # another method
                partial = partial or path
        return partial
