"""`/api/version`, `/api/tags`, `/api/show` and `/api/ps`: what the server has, and what runs."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any, ClassVar

import psutil
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from llava_tools.core.requests import DEFAULT_MAX_TOKENS, SamplingParams
from llava_tools.server.bodies import read_body
from llava_tools.server.ollama.answer_writer import timestamp
from llava_tools.server.ollama.loading import expiry
from llava_tools.server.ollama.named_body import NamedBody
from llava_tools.server.ollama.names import check_model, listed_names, main_name, size_of
from llava_tools.server.ollama.template import write_template
from llava_tools.server.service import Service

#: The release of Ollama whose API this is. Clients look at it for what a server can do.
API_VERSION = "0.12.11"
CAPABILITIES = ("completion", "vision", "tools")
#: Architecture in `model_info`, which is the prefix of its other keys.
_ARCHITECTURE = "llava"


class ShowBody(NamedBody):
    """The body of `POST /api/show`."""

    ignored: ClassVar[frozenset[str]] = frozenset(
        {"verbose", "runner", "system", "template", "options"}
    )


async def version(http: HttpRequest) -> Response:
    """Return the version of the API."""
    return JSONResponse({"version": API_VERSION})


async def list_models(http: HttpRequest) -> Response:
    """List the names of the model."""
    service: Service = http.app.state.service
    started = datetime.fromtimestamp(psutil.Process().create_time(), UTC)
    models = [
        _entry(service, name) | {"modified_at": timestamp(started)}
        for name in listed_names(service)
    ]
    return JSONResponse({"models": models})


async def show_model(http: HttpRequest) -> Response:
    """Describe the model."""
    service: Service = http.app.state.service
    body = await read_body(http, ShowBody)
    check_model(service, body.model_name)
    service.check_loaded()
    started = datetime.fromtimestamp(psutil.Process().create_time(), UTC)
    parameters = {
        "temperature": SamplingParams().temperature,
        "num_predict": DEFAULT_MAX_TOKENS,
    }
    lines = [f"{parameter} {value:g}" for parameter, value in parameters.items()]
    return JSONResponse(
        {
            "modelfile": "\n".join(
                [f"FROM {main_name(service)}", *(f"PARAMETER {line}" for line in lines)]
            ),
            "parameters": "\n".join(lines),
            "template": write_template(service),
            "details": _details(service),
            "model_info": {
                "general.architecture": _ARCHITECTURE,
                "general.name": service.model_name,
                f"{_ARCHITECTURE}.context_length": service.context_length,
            },
            "capabilities": list(CAPABILITIES),
            "modified_at": timestamp(started),
        }
    )


async def list_running(http: HttpRequest) -> Response:
    """List the model if it is loaded, and when it will be unloaded."""
    service: Service = http.app.state.service
    expires = expiry(service)
    if expires is None:
        return JSONResponse({"models": []})
    running = _entry(service, main_name(service)) | {
        "expires_at": timestamp(expires),
        "size_vram": 0,
        "context_length": service.context_length,
    }
    return JSONResponse({"models": [running]})


def _entry(service: Service, name: str) -> dict[str, Any]:
    """Return what the lists say of the model. Its size on the disk is not known here."""
    return {
        "name": name,
        "model": name,
        "size": 0,
        "digest": hashlib.sha256(service.model_name.encode()).hexdigest(),
        "details": _details(service),
    }


def _details(service: Service) -> dict[str, Any]:
    options = service.model.options
    size = size_of(service)
    return {
        "parent_model": "",
        "format": "safetensors",
        "family": _ARCHITECTURE,
        "families": [_ARCHITECTURE, "clip"],  # by "clip" some clients know that it takes images
        "parameter_size": size.upper() if size[:1].isdigit() else "",
        "quantization_level": options.quantization or "",
    }


ROUTES = [
    Route("/api/version", version),
    Route("/api/tags", list_models),
    Route("/api/show", show_model, methods=["POST"]),
    Route("/api/ps", list_running),
]
