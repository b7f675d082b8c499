"""The page's files, with headers that let it load nothing from elsewhere and run no inline code."""

from __future__ import annotations

from pathlib import Path

from starlette.requests import Request as HttpRequest
from starlette.responses import FileResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

#: Folder of the page's files.
STATIC = Path(__file__).parent / "static"

_POLICY = {
    "default-src": "'self'",
    "img-src": "'self' data: blob:",
    "object-src": "'none'",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
    # Texts of models and documents can be set as text only, never as HTML.
    "require-trusted-types-for": "'script'",
    "trusted-types": "'none'",
}
#: Headers of the page and its files.
HEADERS = {
    "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in _POLICY.items()),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # A browser asks each time whether a file has changed, so that an update is seen at once.
    "Cache-Control": "no-cache",
}


class PageFiles(StaticFiles):
    """Static files with the headers of the page."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Return a file."""
        response = await super().get_response(path, scope)
        response.headers.update(HEADERS)
        return response


async def _page(http: HttpRequest) -> Response:
    return FileResponse(STATIC / "index.html", headers=HEADERS)


async def _icon(http: HttpRequest) -> Response:
    return FileResponse(STATIC / "icon.svg", headers=HEADERS)


ROUTES = [
    Route("/", _page),
    Route("/favicon.ico", _icon),
    Mount("/static", PageFiles(directory=STATIC)),
]
