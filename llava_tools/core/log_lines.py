"""Formats log records in lines that foreign text can neither break nor hide in."""

from __future__ import annotations

import logging
from typing import Any

from llava_tools.errors import escape_controls, escape_line


class LineFormatter(logging.Formatter):
    """A formatter whose messages are one harmless line each, before a traceback if there is one."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """Return the line."""
        return escape_line(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:  # noqa: N802
        """Return the traceback, without control characters."""
        return escape_controls(super().formatException(ei))
