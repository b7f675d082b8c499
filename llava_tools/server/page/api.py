"""`/llava/...`: what the page shows and runs besides chat: the model, images, visual tools."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from llava_tools import __version__
from llava_tools.core.known_models import ALIASES
from llava_tools.errors import LlavaToolsError, unknown_option
from llava_tools.images import ImageRef
from llava_tools.images.sources import MAX_BYTES
from llava_tools.server.bodies import Body, read_body, read_bytes
from llava_tools.server.page.work import run_work
from llava_tools.server.service import Service
from llava_tools.server.users import User
from llava_tools.tools import TOOLS
from llava_tools.tools.spec import VisualTool

#: Headers of images, whose bytes users have sent.
_IMAGE_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Cache-Control": "private, no-store",
}


class ToolBody(Body):
    """The arguments of a tool call. `image` and `images` are data URLs or handles."""

    arguments: dict[str, Any]


async def _info(http: HttpRequest) -> Response:
    """Return what the page needs to know before the first question."""
    service: Service = http.app.state.service
    return JSONResponse(await run_in_threadpool(describe_service, service))


def describe_service(service: Service) -> dict[str, Any]:
    """Return the model, its notice, the limits, the tools, and the size of the index."""
    options = service.options
    return {
        "version": __version__,
        "model": service.model_name,
        "loaded": service.is_loaded,
        "evidence": service.measures_evidence,
        "passes_on": service.model.options.base_url is not None,
        "notice": _notice(service),
        "requires_key": bool(options.api_keys),
        "limits": {
            "body_bytes": options.max_body_bytes,
            "image_bytes": min(options.max_body_bytes, MAX_BYTES),
            "images": options.max_images,
        },
        "tools": sorted(TOOLS),
        "index": _describe_index(service),
    }


def _notice(service: Service) -> str:
    """Return what to know about the model; empty if nothing is known about it."""
    from llava_tools.info import NOTICES  # loads the engine's description of models

    options = service.model.options
    if options.base_url is not None:
        return ""
    names = {options.source, *service.model_names}
    return next((NOTICES[name] for name in NOTICES if {name, ALIASES[name]} & names), "")


def _describe_index(service: Service) -> dict[str, Any] | None:
    """Return the size of the index, or why it cannot be used; None without an index."""
    if service.index is None:
        return None
    try:
        store = service.index.store
        return {"documents": len(store.documents()), "pages": store.count(), "error": None}
    except LlavaToolsError as error:
        return {"documents": 0, "pages": 0, "error": str(error)}


async def _add_image(http: HttpRequest) -> Response:
    """Keep the image that is the body, and return its handle."""
    service: Service = http.app.state.service
    user: User = http.state.user
    data = await read_bytes(http, min(service.options.max_body_bytes, MAX_BYTES))
    image = await run_in_threadpool(user.resolver.open_block, data)
    return JSONResponse(_describe_image(image))


def _describe_image(image: ImageRef) -> dict[str, Any]:
    width, height = image.size
    return {"handle": image.handle, "width": width, "height": height}


async def _show_image(http: HttpRequest) -> Response:
    """Return an image of the user's, in a format that browsers show."""
    user: User = http.state.user
    image = user.resolver.get(http.path_params["handle"])
    data, media_type = await run_in_threadpool(image.portable)
    return Response(data, media_type=media_type, headers=_IMAGE_HEADERS)


async def _run_tool(http: HttpRequest) -> Response:
    """Run a visual tool and return its result."""
    service: Service = http.app.state.service
    user: User = http.state.user
    tool = _find_tool(http.path_params["name"])
    body = await read_body(http, ToolBody)
    parsed = tool.parse(body.arguments)
    arguments = await run_in_threadpool(_open_images, parsed, user)
    result = await run_work(http, lambda: tool.arun(service.model, arguments, user.resolver))
    return JSONResponse(result.model_dump(mode="json"))


def _find_tool(name: str) -> VisualTool[Any, Any]:
    if name not in TOOLS:
        raise HTTPException(404, str(unknown_option(name, TOOLS, "The page's API")))
    return TOOLS[name]


def _open_images(arguments: BaseModel, user: User) -> BaseModel:
    """Return a tool's arguments with handles for the images that they name."""
    values = dict(arguments)
    opened: dict[str, Any] = {}
    if "image" in values:
        opened["image"] = user.open_image(values["image"]).handle
    if "images" in values:
        opened["images"] = [user.open_image(source).handle for source in values["images"]]
    return arguments.model_copy(update=opened)


ROUTES = [
    Route("/llava/info", _info),
    Route("/llava/images", _add_image, methods=["POST"]),
    Route("/llava/images/{handle}", _show_image),
    Route("/llava/tools/{name}", _run_tool, methods=["POST"]),
]
