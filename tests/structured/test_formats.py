"""pydantic can read every date, time and duration that a grammar allows."""

from __future__ import annotations

import json
from datetime import date, datetime, time, timedelta

import pytest
from llguidance import LLMatcher, LLTokenizer
from pydantic import TypeAdapter

from llava_tools.structured.grammar import FORMAT_PATTERNS, prepare_schema

TYPES = {"date": date, "date-time": datetime, "time": time, "duration": timedelta}
BYTES = LLTokenizer("byte")


def _allows(format_: str, value: str) -> bool:
    schema = prepare_schema({"type": "string", "format": format_})
    matcher = LLMatcher(BYTES, LLMatcher.grammar_from_json_schema(json.dumps(schema)), log_level=0)
    assert not matcher.is_error(), matcher.get_error()
    tokens = list(json.dumps(value).encode())
    return bool(matcher.try_consume_tokens(tokens) == len(tokens) and matcher.is_accepting())


@pytest.mark.parametrize(
    ("format_", "value"),
    [
        ("date", "2021-02-28"),
        ("date", "2024-02-29"),
        ("date", "0476-09-04"),
        ("date", "2000-12-31"),
        ("date-time", "2024-02-29T23:59:59Z"),
        ("date-time", "1999-01-30T00:00:00.123456+05:30"),
        ("time", "12:30:00Z"),
        ("duration", "P1Y2M3DT4H5M6S"),
        ("duration", "PT90M"),
        ("duration", "P3W"),
    ],
)
def test_a_value_that_pydantic_reads_is_allowed(format_: str, value: str) -> None:
    assert _allows(format_, value)
    TypeAdapter(TYPES[format_]).validate_json(json.dumps(value))


@pytest.mark.parametrize(
    ("format_", "value"),
    [
        ("date", "0000-01-01"),
        ("date", "2021-02-29"),
        ("date", "2021-04-31"),
        ("date-time", "2021-02-29T00:00:00Z"),
        ("date-time", "2021-06-30T23:59:60Z"),
        ("date-time", "2021-01-01T00:00:00.1234567890123Z"),
        ("time", "00:00:60Z"),
        ("duration", "P99999999999Y"),
        ("duration", "P"),
    ],
)
def test_a_value_that_pydantic_refuses_is_not_allowed(format_: str, value: str) -> None:
    assert not _allows(format_, value)


def test_a_pattern_in_the_schema_is_kept() -> None:
    schema = {"type": "string", "format": "date", "pattern": "^2024-.*$"}
    assert prepare_schema(schema) == schema
    assert set(FORMAT_PATTERNS) == set(TYPES)
