"""`GET /v1/models` and `GET /v1/models/{id}`."""

from __future__ import annotations

import time
from typing import Any

from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from llava_tools.server.service import Service

#: By this, `RemoteBackend` knows a server that builds the prompt as the engine does.
OWNER = "llava-tools"

_STARTED = int(time.time())


async def list_models(http: HttpRequest) -> Response:
    """Return an entry for each name of the model."""
    service: Service = http.app.state.service
    entries = [_entry(service, name) for name in service.model_names]
    return JSONResponse({"object": "list", "data": entries})


async def get_model(http: HttpRequest) -> Response:
    """Return the entry of one name, which may contain slashes."""
    service: Service = http.app.state.service
    name = http.path_params["name"]
    service.check_model(name)
    return JSONResponse(_entry(service, name))


def _entry(service: Service, name: str) -> dict[str, Any]:
    return {
        "id": name,
        "object": "model",
        "created": _STARTED,
        "owned_by": OWNER,
        "root": service.model_name,
        "parent": None,
        "max_model_len": service.context_length,
        "architecture": {
            "modality": "text+image->text",
            "input_modalities": ["text", "image"],
            "output_modalities": ["text"],
        },
    }


ROUTES = [
    Route("/v1/models", list_models),
    Route("/v1/models/{name:path}", get_model),
]
