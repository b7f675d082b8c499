"""Answers that are not what they had to be: the errors of a stream."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from llava_tools.core.constraints import Constraint
from llava_tools.core.outputs import FinishReason, collect
from llava_tools.core.requests import SamplingParams
from tests.golden import inputs as i
from tests.golden.plain import outcome
from tests.golden.streams import BOTH, TWO_CALLS, read, streamed

_SCHEMA = Constraint(schema=i.NUMBER)
_ADD = Constraint((i.ADD,), "add")


def _read(
    text: str, constraint: Constraint = BOTH, reason: FinishReason = "stop"
) -> Callable[[], Any]:
    return partial(outcome, partial(read, [text], constraint, reason))


def _streamed(
    script: str, sampling: SamplingParams, constraint: Constraint = BOTH
) -> Callable[[], Any]:
    return partial(outcome, partial(streamed, script, sampling, constraint))


CASES: dict[str, Callable[[], Any]] = {
    "cut off by max_tokens in a call": _streamed(i.WRITTEN_ADD, SamplingParams(max_tokens=2)),
    "cut off by a stop string in a call": _streamed(i.WRITTEN_ADD, SamplingParams(stop=("arg",))),
    "cut off by max_tokens in JSON": _streamed('{"n": 5}', SamplingParams(max_tokens=1), _SCHEMA),
    "cut off by a stop string in JSON": _streamed('{"n": 5}', SamplingParams(stop=("5",)), _SCHEMA),
    "cut off in the head": _read("<tool_call>{", reason="length"),
    "cut off in the tail": _read(i.WRITTEN_ADD[:-3]),
    "cut off before a forced call": _read("", _ADD, "length"),
    "words instead of a forced call": _read("I can not.", _ADD),
    "a tool that may not be called": _read(i.WRITTEN_WEATHER, _ADD),
    "two calls where one may be": _read(
        TWO_CALLS, Constraint(BOTH.tools, parallel_tool_calls=False)
    ),
    "a forced tool twice": _read(f"{i.WRITTEN_ADD}\n{i.WRITTEN_ADD}", _ADD),
    "no name": _read("<tool_call>" + "x" * 1100),
    "no end": _read('<tool_call>{"name": "add", "arguments": {"a": 1}' + "x" * 1100),
    "arguments are no JSON": _read('<tool_call>{"name": "add", "arguments": {a: 1}}</tool_call>'),
    "words behind a call": _read(f"{i.WRITTEN_ADD} and so on"),
    "arguments are not of the schema": _read(i.WRITTEN_ADD.replace("1", '"one"')),
    "an argument is missing": _read('<tool_call>{"name": "add", "arguments": {}}</tool_call>'),
    "no JSON": _read("five", _SCHEMA),
    "JSON is not of the schema": _read('{"n": "five"}', _SCHEMA),
    "JSON without a field": _read("{}", _SCHEMA),
    "a stream without an end": lambda: outcome(lambda: collect([], "m")),
}
