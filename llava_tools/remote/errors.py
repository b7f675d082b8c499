"""What the `openai` client raises, as this project's errors."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import openai

from llava_tools.errors import (
    AnswerTimeoutError,
    ContextOverflowError,
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
#: Seconds that a server's wish to be left alone is heeded.
LONGEST_PAUSE = 30.0
_GARBAGE = (AttributeError, TypeError, LookupError, ValueError)


@contextmanager
def told(url: str) -> Iterator[None]:
    """Raise what goes wrong between us and a server as this project's errors.

    Args:
        url: The server, for the messages.
    """
    try:
        yield
    except LlavaToolsError:
        raise
    except openai.APIError as error:
        raise translate(error, url) from error
    except _GARBAGE as error:  # what reading chunks raises that are none
        raise ServerError(
            f"The server at {url} answered what is no chat completion: {_line(error)}.",
            "Check base_url: it usually ends in /v1.",
        ) from error


def translate(error: openai.APIError, url: str) -> LlavaToolsError:
    """Return the error of this project that says the same."""
    if isinstance(error, openai.APITimeoutError):
        return AnswerTimeoutError(
            f"The server at {url} was silent for too long.", "See whether it is overloaded."
        )
    if isinstance(error, openai.APIConnectionError):
        cause = error.__cause__ or error
        return ServerError(
            f"The server at {url} cannot be reached, or broke the connection: {_line(cause)}.",
            "See whether it runs, and check base_url.",
        )
    said = _said(error)
    status = _status(error)
    if status in (400, 413, 422):
        return _refused(said)
    if status in (401, 403):
        return ModelError(
            f"The server at {url} does not let us in: {said}",
            "Give another api_key, or set LLAVA_API_KEY.",
        )
    if status == 404:
        return ModelNotFoundError(
            f"The server at {url} has no such model or address: {said}",
            "Check the model's name, and base_url, which usually ends in /v1.",
        )
    if status == 429:
        return QueueFullError(
            f"The server at {url} has too much to do: {said}", "Try again later, or ask it less."
        )
    return ServerError(f"The server at {url} failed ({status}): {said}", "See its log; ask again.")


def wanted_pause(error: LlavaToolsError) -> float:
    """Return how many seconds the server asked to be left alone, within reason."""
    cause = error.__cause__
    if not isinstance(cause, openai.APIStatusError):
        return 0.0
    seconds = cause.response.headers.get("retry-after", "")
    return min(float(seconds), LONGEST_PAUSE) if seconds.isdecimal() else 0.0


def _refused(said: str) -> LlavaToolsError:
    if _OVERFLOW.search(said):
        return ContextOverflowError(
            f"The server says: {said}", "Send fewer pictures, less text, or a smaller max_tokens."
        )
    if _CONSTRAINT.search(said):
        return SchemaError(
            f"The server cannot enforce the tools or the schema: {said}",
            "Describe them more simply, or set lenient=True.",
        )
    return RequestError(f"The server refused the request: {said}")


def _status(error: openai.APIError) -> int:
    """Return the HTTP status, which errors within a stream tell in their body."""
    if isinstance(error, openai.APIStatusError):
        return int(error.status_code)
    return int(error.code) if error.code and error.code.isdigit() else 500


def _said(error: openai.APIError) -> str:
    body: Any = error.body
    if isinstance(body, dict):
        return _line(body.get("message") or body.get("detail") or error.message)
    return _line(error.message)


def _line(said: object) -> str:
    text = " ".join(str(said).split()) or type(said).__name__
    return text if len(text) <= 300 else f"{text[:300]}…"
