"""Errors of the `openai` client and of the server, as this project's errors."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import openai

from llava_tools.errors import (
    AnswerTimeoutError,
    ContextOverflowError,
    EngineClosedError,
    EngineError,
    LlavaToolsError,
    ModelError,
    ModelNotFoundError,
    QueueFullError,
    RequestError,
    SchemaError,
    ServerError,
)

_OVERFLOW = re.compile(
    r"context[ _]length|context[ _]size|context[ _]window|max_model_len|maximum model length"
    r"|(?:longer|greater) than the (?:model|maximum)|too many tokens",
    re.IGNORECASE,
)
_CONSTRAINT = re.compile(
    r"grammar|schema|structured|guided|regex|response_format|lark", re.IGNORECASE
)
_NOT_FOUND: tuple[type[LlavaToolsError], str, str] = (
    ModelNotFoundError,
    "has no such model or address",
    "Check the model's name, and base_url, which usually ends in /v1.",
)
#: Error, problem and hint by HTTP status. Of the others, only 5xx may succeed if tried again.
_STATUS_ERRORS: dict[int, tuple[type[LlavaToolsError], str, str]] = {
    401: (ModelError, "rejects the API key", "Set another api_key, or LLAVA_API_KEY."),
    402: (ModelError, "requires payment", "Pay, or set another api_key, or LLAVA_API_KEY."),
    403: (ModelError, "rejects the API key", "Set another api_key, or LLAVA_API_KEY."),
    404: _NOT_FOUND,
    405: _NOT_FOUND,
    408: (ServerError, "failed (408)", "See its log, then try again."),
    425: (ServerError, "failed (425)", "See its log, then try again."),
    429: (QueueFullError, "is overloaded", "Try again later, or send fewer requests."),
}
# The HTTP libraries of `openai`: httpx, from 3.0 on httpx2. Before 3.16 it does not translate their
# errors inside a stream.
_HTTP_MODULES: list[Any] = [
    sys.modules[name] for name in ("httpx", "httpx2") if name in sys.modules
]
_TIMEOUTS = (openai.APITimeoutError, *(module.TimeoutException for module in _HTTP_MODULES))
_CONNECTION_ERRORS = (
    openai.APIConnectionError,
    *(module.TransportError for module in _HTTP_MODULES),
)
#: Most seconds of a server's `Retry-After` that are respected.
MAX_RETRY_AFTER = 30.0


@contextmanager
def translated_errors(url: str, secrets: Sequence[str] = ()) -> Iterator[None]:
    """Raise the errors of an exchange with the server at `url` as this project's errors.

    A server may repeat what it was sent: `secrets` are left out of messages, and an error that
    holds one is no cause of the error that is raised.
    """
    try:
        yield
    except LlavaToolsError as error:
        clean = _without_secrets(error, secrets)
        if str(clean) == str(error):
            raise
        raise clean from None
    except (openai.APIError, *_CONNECTION_ERRORS) as error:
        cause = None if _has_secret(error, secrets) else error
        raise _without_secrets(translate(error, url), secrets) from cause
    except (AttributeError, TypeError, LookupError, ValueError) as error:  # a malformed answer
        malformed = ServerError(
            f"The server at {url} did not answer with a chat completion: {_one_line(error)}.",
            "Check base_url: it usually ends in /v1.",
        )
        if _has_secret(error, secrets):
            raise _without_secrets(malformed, secrets) from None
        raise malformed from error


def _has_secret(error: Exception, secrets: Sequence[str]) -> bool:
    shown = f"{error} {getattr(error, 'body', '')}"
    return any(secret in shown for secret in secrets)


def _without_secrets(error: LlavaToolsError, secrets: Sequence[str]) -> LlavaToolsError:
    message, hint = error.message, error.hint
    for secret in secrets:
        message, hint = message.replace(secret, "***"), hint.replace(secret, "***")
        for length in range(len(secret) - 1, 0, -1):  # what a shortened message leaves of it
            message = message.replace(f"{secret[:length]}…", "***…")
    return type(error)(message, hint)


def translate(error: Exception, url: str) -> LlavaToolsError:
    """Return this project's error for an error of the `openai` client or of its HTTP library."""
    if isinstance(error, _TIMEOUTS):
        return AnswerTimeoutError(
            f"The server at {url} was silent for too long.", "See whether it is overloaded."
        )
    if isinstance(error, _CONNECTION_ERRORS):
        cause = error.__cause__ or error
        return ServerError(
            f"The server at {url} cannot be reached, or broke the connection: {_one_line(cause)}.",
            "See whether it runs, and check base_url.",
        )
    assert isinstance(error, openai.APIError)
    body: Any = error.body if isinstance(error.body, dict) else {}
    message = _one_line(body.get("message") or body.get("detail") or error.message)
    code = str(error.status_code if isinstance(error, openai.APIStatusError) else error.code)
    status = int(code) if code.isdigit() else 500  # errors inside a stream may have no code
    if status in (400, 413, 422):
        if _OVERFLOW.search(message):
            return ContextOverflowError(
                f"The server refused the request: {message}",
                "Send fewer images, less text, or a smaller max_tokens.",
            )
        if _CONSTRAINT.search(message):
            return SchemaError(
                f"The server cannot enforce the tools or the schema: {message}",
                "Simplify them, or set strict=False.",
            )
    if 300 <= status < 500 and status not in _STATUS_ERRORS:
        return RequestError(f"The server refused the request: {message}")
    error_type, problem, hint = _STATUS_ERRORS.get(
        status, (ServerError, f"failed ({status})", "See its log, then try again.")
    )
    return error_type(f"The server at {url} {problem}: {message}", hint)


def retry_after(error: LlavaToolsError) -> float:
    """Return the seconds of the server's `Retry-After`, at most `MAX_RETRY_AFTER`; else 0."""
    cause = error.__cause__
    if not isinstance(cause, openai.APIStatusError):
        return 0.0
    seconds = cause.response.headers.get("retry-after", "")
    return min(float(seconds), MAX_RETRY_AFTER) if seconds.isdecimal() else 0.0


def connection_closed() -> EngineClosedError:
    """Return the error of requests that are still running when the connection is closed."""
    return EngineClosedError("The connection to the server was closed.", "Make a new one.")


def forked() -> EngineError:
    """Return the error of a connection that a process has from the one it was forked from."""
    return EngineError(
        "This process was forked from the one that made the connection to the server.",
        "Make a new one here: Llava and ChatLlava with base_url do so themselves.",
    )


def not_reported(value: str) -> ServerError:
    """Return the error for a server whose answer lacks a requested value."""
    return ServerError(f"The server did not report {value}.", "Use a vLLM server.")


def _one_line(value: object) -> str:
    text = " ".join(str(value).split()) or type(value).__name__
    return text if len(text) <= 300 else f"{text[:300]}…"
