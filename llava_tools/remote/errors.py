"""Errors of an exchange with a server, as this project's errors."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from llava_tools.core.connection import without_credentials
from llava_tools.core.constraints import ToolCall
from llava_tools.errors import (
    AnswerTimeoutError,
    ContextOverflowError,
    EngineClosedError,
    EngineError,
    ImageError,
    LlavaToolsError,
    MemoryExhaustedError,
    ModelError,
    ModelNotFoundError,
    OutputError,
    QueueFullError,
    RequestError,
    SchemaError,
    ServerError,
)
from llava_tools.remote.strict_json import parse_json

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
#: Errors by the codes of OpenAI's API, and of `llava-tools serve`, which has them all.
ERRORS_BY_CODE: dict[str, type[LlavaToolsError]] = {
    "context_length_exceeded": ContextOverflowError,
    "invalid_image": ImageError,
    "invalid_json_schema": SchemaError,
    "invalid_output": OutputError,
    "out_of_memory": MemoryExhaustedError,
    "shutting_down": EngineClosedError,
    "timeout": AnswerTimeoutError,
}
#: Most seconds of a server's `Retry-After` that are respected.
MAX_RETRY_AFTER = 30.0
#: Characters that are shown of what a server wrote.
_SHOWN = 300


class AnswerTooLongError(Exception):
    """A server sends more than an answer can have.

    Args:
        limit: What may come, like `8 bytes`.
    """

    def __init__(self, limit: str) -> None:
        self.limit = limit
        super().__init__(f"more than {limit}")


class StatusError(Exception):
    """A server answered with an HTTP status that is no success, or with an error in a stream.

    Args:
        status: The status; 500 for an error without one.
        body: What it wrote, JSON or not.
        headers: Headers of the answer, by names in lower case.
    """

    def __init__(self, status: int, body: str, headers: Mapping[str, str] | None = None) -> None:
        self.status = status
        self.location = (headers or {}).get("location", "")
        self.retry_after = (headers or {}).get("retry-after", "")
        self.server_message = _server_message(body)
        self.details = _error_details(body)
        self.code = str(self.details.get("code") or "")
        super().__init__(f"{status}: {self.server_message}")


@contextmanager
def translated_errors(url: str, secrets: Sequence[str] = ()) -> Iterator[None]:
    """Raise the errors of an exchange with the server at `url` as this project's errors.

    A server may repeat what it was sent: `secrets` are left out of messages, and an error that
    holds one is no cause of the error that is raised.
    """
    with hidden_secrets(secrets):
        try:
            yield
        except exchange_errors() as error:
            raise translate(error, url) from error
        except (AttributeError, TypeError, LookupError, ValueError, OverflowError) as error:
            if isinstance(error, LlavaToolsError):
                raise
            raise ServerError(
                f"The server at {url} did not answer with a chat completion: {_one_line(error)}.",
                "Check base_url: it usually ends in /v1.",
            ) from error


@contextmanager
def hidden_secrets(secrets: Sequence[str]) -> Iterator[None]:
    """Leave secrets out of errors, and a cause that holds one."""
    try:
        yield
    except LlavaToolsError as error:
        clean = _without_secrets(error, secrets)
        if clean is error and not _has_secret(error.__cause__, secrets):
            raise
        raise clean from None


def _http_modules() -> list[Any]:
    """Return the libraries of clients: httpx, and httpx2 if a client of the user's is of that."""
    return [sys.modules[name] for name in ("httpx", "httpx2") if name in sys.modules]


def exchange_errors() -> tuple[type[Exception], ...]:
    """Return the errors of a connection, and of an answer that breaks its bounds."""
    own: tuple[type[Exception], ...] = (StatusError, AnswerTooLongError, TimeoutError)
    return (*own, *(module.TransportError for module in _http_modules()))


def _timeouts() -> tuple[type[Exception], ...]:
    return (TimeoutError, *(module.TimeoutException for module in _http_modules()))


def _has_secret(error: BaseException | None, secrets: Sequence[str]) -> bool:
    """Return whether an error, or one of its causes, holds a secret."""
    while error is not None:
        if any(secret in str(error) for secret in secrets):
            return True
        error = error.__cause__
    return False


def without_secrets(text: str, secrets: Sequence[str]) -> str:
    """Return a text with asterisks for secrets."""
    for secret in secrets:
        text = text.replace(secret, "***")
        for length in range(len(secret) - 1, 0, -1):  # what a shortened message leaves of it
            text = text.replace(f"{secret[:length]}…", "***…")
    return text


def _without_secrets(error: LlavaToolsError, secrets: Sequence[str]) -> LlavaToolsError:
    message, hint = without_secrets(error.message, secrets), without_secrets(error.hint, secrets)
    if (message, hint) == (error.message, error.hint):
        return error
    return type(error)(message, hint)


def translate(error: Exception, url: str) -> LlavaToolsError:
    """Return this project's error for one of an exchange with the server at `url`."""
    if isinstance(error, _timeouts()):
        return AnswerTimeoutError(
            f"The server at {url} was silent for too long, or its answer did not end.",
            "See whether it is overloaded.",
        )
    if isinstance(error, AnswerTooLongError):
        return ServerError(
            f"The server at {url} sent {error}, which no answer to this request has.",
            "See what runs there.",
        )
    if isinstance(error, StatusError):
        return _status_error(error, url)
    return ServerError(
        f"The server at {url} cannot be reached, or broke the connection: {_sentence(error)}",
        "See whether it runs, and check base_url.",
    )


def _status_error(error: StatusError, url: str) -> LlavaToolsError:
    message, status = _sentence(error.server_message or "no message"), error.status
    if 300 <= status < 400:
        target = _one_line(without_credentials(error.location) or "nowhere")
        return RequestError(
            f"The server at {url} redirects to {target}, and redirects are not followed.",
            "If that is the right address, set base_url to it.",
        )
    if (kind := ERRORS_BY_CODE.get(error.code)) is not None:
        return _error_by_code(kind, f"The server did not answer: {message}", error.details)
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
    if 400 <= status < 500 and status not in _STATUS_ERRORS:
        return RequestError(f"The server refused the request: {message}")
    error_type, problem, hint = _STATUS_ERRORS.get(
        status, (ServerError, f"failed ({status})", "See its log, then try again.")
    )
    return error_type(f"The server at {url} {problem}: {message}", hint)


def _server_message(body: str) -> str:
    """Return the message of an error's body, which has many forms; the whole body if none.

    It is not shortened: a key that is cut in two could not be found in it.
    """
    value: Any = body
    with suppress(ValueError):  # of plain text or HTML
        value = parse_json(body)
    for name in ("error", "message", "detail"):
        if isinstance(value, dict) and value.get(name):
            value = value[name]
    return " ".join(str(value).split())


def _error_by_code(
    kind: type[LlavaToolsError], message: str, details: Mapping[str, Any]
) -> LlavaToolsError:
    """Return an error of a class; with what the model had written if it is of the answer."""
    if not issubclass(kind, OutputError):
        return kind(message)
    calls = details.get("tool_calls")
    return OutputError(
        message,
        text=str(details.get("text") or ""),
        tool_calls=tuple(
            ToolCall(str(call.get("id")), str(call.get("name")), call["arguments"])
            for call in (calls if isinstance(calls, list) else ())
            if isinstance(call, dict) and isinstance(call.get("arguments"), dict)
        ),
    )


def _error_details(body: str) -> Mapping[str, Any]:
    """Return the error of a body in OpenAI's form; empty for none."""
    value: Any = None
    with suppress(ValueError):
        value = parse_json(body)
    error = value.get("error") if isinstance(value, dict) else None
    return error if isinstance(error, dict) else {}


def retry_after(error: LlavaToolsError) -> float:
    """Return the seconds of the server's `Retry-After`, at most `MAX_RETRY_AFTER`; else 0."""
    cause = error.__cause__
    if not isinstance(cause, StatusError) or not cause.retry_after.isdecimal():
        return 0.0
    return min(float(cause.retry_after), MAX_RETRY_AFTER)


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


def _sentence(value: object) -> str:
    text = _one_line(value)
    return text if text.endswith((".", "!", "?", "…")) else f"{text}."


def _one_line(value: object) -> str:
    text = " ".join(str(value).split()) or type(value).__name__
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
