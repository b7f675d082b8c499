"""Durations as numbers or short texts, like Ollama's `keep_alive`."""

from __future__ import annotations

import math
import re

from llava_tools.errors import RequestError

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ms|s|m|h|d)")
_TEXT = re.compile(rf"-?(?:{_PART.pattern})+")


def parse_duration(value: object, name: str) -> float:
    """Return an option's duration in seconds; infinity for None and for negative values.

    Args:
        value: Seconds, or a text like `300`, `5m`, `1h30m` or `-1`.
        name: Of the option, for the error.

    Raises:
        RequestError: It is none of these.
    """
    seconds = _seconds(value)
    if math.isnan(seconds):
        raise RequestError(
            f"{name}={value!r} is not possible.",
            'Use seconds, a text like "5m" or "1h30m", or -1 for ever.',
        )
    return math.inf if seconds < 0 else seconds


def _seconds(value: object) -> float:
    """Return seconds, negative for ever; not a number if `value` is no duration."""
    if value is None:
        return -1.0
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return math.nan
    if not isinstance(value, str):
        return float(value)
    text = value.strip()
    if re.fullmatch(r"[+-]?\d+(?:\.\d*)?", text):
        return float(text)
    if not _TEXT.fullmatch(text):
        return math.nan
    total = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))
    return -total if text.startswith("-") else total
