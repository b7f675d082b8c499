"""`GET|HEAD /`: how clients of Ollama find out that it runs. Browsers get the page there."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.requests import Request as HttpRequest
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Match, Route
from starlette.types import Scope


class _RouteBesidePage(Route):
    """A route for what is no browser that navigates: HEAD, or GET without `text/html`."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Return no match for what the page answers."""
        accepted = Headers(scope=scope).get("accept", "") if scope["type"] == "http" else ""
        if scope.get("method") == "GET" and "text/html" in accepted.lower():
            return Match.NONE, {}
        return super().matches(scope)


async def running(http: HttpRequest) -> Response:
    """Return the words that Ollama answers with."""
    return PlainTextResponse("Ollama is running")


ROUTES = [_RouteBesidePage("/", running, methods=["GET"])]
