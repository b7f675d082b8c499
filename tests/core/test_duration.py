"""Durations as numbers and texts."""

from __future__ import annotations

import math

import pytest

from llava_tools.core.duration import parse_duration
from llava_tools.errors import RequestError


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (300, 300),
        (0, 0),
        (0.5, 0.5),
        ("300", 300),
        ("0", 0),
        ("5m", 300),
        ("1h30m", 5400),
        ("24h", 86400),
        ("1.5h", 5400),
        ("500ms", 0.5),
        (" 90s ", 90),
        ("7d", 604800),
        (None, math.inf),
        (-1, math.inf),
        ("-1", math.inf),
        ("-1m", math.inf),
    ],
)
def test_durations_in_seconds(value: object, seconds: float) -> None:
    assert parse_duration(value, "keep_alive") == seconds


@pytest.mark.parametrize(
    "value", ["", "m", "5 m", "5x", "for ever", True, [5], math.nan, "5m3", b"5m"]
)
def test_other_values_are_refused_by_name(value: object) -> None:
    with pytest.raises(RequestError, match=r"keep_alive=.* is not possible") as caught:
        parse_duration(value, "keep_alive")
    assert "5m" in caught.value.hint
