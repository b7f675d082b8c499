"""Errors as HTTP: each gets a status, headers, and a body in the form of the path's protocol.

OpenAI's form is `{"error": {"message", "type", "param", "code"}}`, Ollama's `{"error": message}`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response

from llava_tools.errors import (
    AnswerTimeoutError,
    ContextOverflowError,
    EngineClosedError,
    EngineError,
    ImageError,
    IndexStoreError,
    LlavaToolsError,
    MemoryExhaustedError,
    MissingExtraError,
    ModelError,
    ModelNotFoundError,
    OutputError,
    QueueFullError,
    RequestError,
    SchemaError,
    ServerError,
)

#: Seconds after which a refused client may try again.
RETRY_AFTER = 1
#: Ollama's paths.
OLLAMA_PREFIX = "/api/"

#: HTTP status and OpenAI's code by error; the first class that fits counts.
_STATUSES: tuple[tuple[type[LlavaToolsError], int, str | None], ...] = (
    (ContextOverflowError, 400, "context_length_exceeded"),
    (ImageError, 400, "invalid_image"),
    (SchemaError, 400, "invalid_json_schema"),
    (RequestError, 400, None),
    (ModelNotFoundError, 404, "model_not_found"),
    (ModelError, 503, "model_unavailable"),
    (MissingExtraError, 501, None),
    (QueueFullError, 429, "rate_limit_exceeded"),
    (AnswerTimeoutError, 504, "timeout"),
    (OutputError, 422, "invalid_output"),
    (ServerError, 502, "upstream_error"),
    (MemoryExhaustedError, 503, "out_of_memory"),
    (EngineClosedError, 503, "shutting_down"),
    (IndexStoreError, 500, "index_unusable"),
    (EngineError, 500, None),
)


class ModelLoadingError(EngineError):
    """The model is being loaded."""

    retryable = True


class InvalidFieldError(RequestError):
    """A field of a body is missing, unknown, or has an impossible value.

    Args:
        message: As in `LlavaToolsError`.
        hint: As in `LlavaToolsError`.
        param: Path of the field, such as `messages.0.content`.
    """

    def __init__(self, message: str, hint: str = "", param: str | None = None) -> None:
        self.param = param
        super().__init__(message, hint)


@dataclass(frozen=True)
class HttpError:
    """An error as HTTP.

    Attributes:
        status: HTTP status.
        message: One line.
        code: OpenAI's code, if there is one.
        param: Path of the field of the body that is wrong, if it is one.
        headers: Further headers.
        written: For an invalid answer, what the model had written, for `RemoteBackend`.
    """

    status: int
    message: str
    code: str | None = None
    param: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    written: Mapping[str, Any] = field(default_factory=dict)

    @property
    def type(self) -> str:
        """OpenAI's type of the error."""
        types = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
        default = "server_error" if self.status >= 500 else "invalid_request_error"
        return types.get(self.status, default)

    def openai_body(self) -> dict[str, Any]:
        """Return the body in OpenAI's form."""
        error = {
            "message": self.message,
            "type": self.type,
            "param": self.param,
            "code": self.code,
            **self.written,
        }
        return {"error": error}

    def body(self, path: str) -> dict[str, Any]:
        """Return the body in the form of a path's protocol."""
        return {"error": self.message} if path.startswith(OLLAMA_PREFIX) else self.openai_body()


def to_http(error: Exception) -> HttpError:
    """Return an error as HTTP. What is no error of this package tells nothing about its cause."""
    if isinstance(error, HTTPException):
        message = error.detail or HTTPStatus(error.status_code).phrase
        return HttpError(error.status_code, message, headers=error.headers or {})
    if not isinstance(error, LlavaToolsError):
        return HttpError(500, "The server failed. Its log has the cause.")
    if isinstance(error, ModelLoadingError):
        headers = {"Retry-After": str(RETRY_AFTER)}
        return HttpError(503, str(error), "model_loading", headers=headers)
    status, code = next(
        ((s, c) for kind, s, c in _STATUSES if isinstance(error, kind)), (500, None)
    )
    param = getattr(error, "param", None)
    return HttpError(status, str(error), code, param, _headers(status, error), _written(error))


def _written(error: LlavaToolsError) -> dict[str, Any]:
    if not isinstance(error, OutputError):
        return {}
    calls = [
        {"id": call.id, "name": call.name, "arguments": dict(call.arguments)}
        for call in error.tool_calls
    ]
    return {"text": error.text, "tool_calls": calls}


def _headers(status: int, error: LlavaToolsError) -> dict[str, str]:
    """Return `Retry-After` where trying again helps; OpenAI's clients try all of 5xx otherwise."""
    if status < 429:
        return {}
    if error.retryable and status in (429, 503):
        return {"Retry-After": str(RETRY_AFTER)}
    return {"x-should-retry": "true" if error.retryable and status != 504 else "false"}


async def respond_to_error(http: HttpRequest, error: Exception) -> Response:
    """Return the response for an error that a route has raised."""
    found = to_http(error)
    body = found.body(http.url.path)
    return JSONResponse(body, found.status, headers=dict(found.headers))
