"""The server's log: one line for each request, as text or JSON, without contents."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Literal

from llava_tools.core.log_lines import LineFormatter
from llava_tools.errors import json_text
from llava_tools.server.record import RequestRecord

LogFormat = Literal["text", "json", "none"]

_log = logging.getLogger("llava_tools.server.requests")
#: What the lines of a log come from.
_ROOT = logging.getLogger("llava_tools.server")


def log_request(record: RequestRecord) -> None:
    """Write the line of a request that is over."""
    if _log.isEnabledFor(logging.INFO):
        fields = describe(record)
        shown = " ".join(f"{name}={value}" for name, value in fields.items())
        _log.info("%s", shown, extra={"fields": fields})


def describe(record: RequestRecord) -> dict[str, Any]:
    """Return the fields of a request's line; those of answers only if there was one."""
    fields: dict[str, Any] = {
        "method": record.method,
        "route": record.route or "other",
        "status": record.status,
        "seconds": round(record.seconds, 4),
        "user": record.user,
        "error": record.error,
    }
    if record.first_token is not None:
        fields |= {
            "first_token": round(record.first_token, 4),
            "prompt_tokens": record.prompt_tokens,
            "cached_tokens": record.cached_tokens,
            "generated_tokens": record.generated_tokens,
            "images": record.images,
            "finish_reason": record.finish_reason,
        }
    return {name: value for name, value in fields.items() if value != ""}


class TextFormatter(LineFormatter):
    """Time, level, message."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s")

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802
        """Return the time in UTC as in RFC 3339."""
        return _time(record)


class JsonFormatter(logging.Formatter):
    """One JSON object a line, with the fields of a request's line beside the usual ones."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, Any] = {"time": _time(record), "level": record.levelname.lower()}
        fields: dict[str, Any] | None = getattr(record, "fields", None)
        line |= {"message": record.getMessage()} if fields is None else {"message": "request"}
        line |= fields or {}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json_text(line)


@contextmanager
def logs_on_stderr(log_format: LogFormat) -> Iterator[None]:
    """Write the server's log to stderr; with `none` only warnings and errors, as text."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    level, propagate = _ROOT.level, _ROOT.propagate
    _ROOT.addHandler(handler)
    _ROOT.setLevel(logging.WARNING if log_format == "none" else logging.INFO)
    _ROOT.propagate = False
    try:
        yield
    finally:
        _ROOT.removeHandler(handler)
        _ROOT.setLevel(level)
        _ROOT.propagate = propagate


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"
