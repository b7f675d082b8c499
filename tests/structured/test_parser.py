"""Answers under a constraint: what is read out of text, whichever way it is cut into pieces."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llava_tools.chat.tool_calls import write_call
from llava_tools.core.constraints import Constraint, ToolCall, ToolSpec
from llava_tools.core.outputs import ToolCallChunk, collect
from llava_tools.core.requests import Message, Request, SamplingParams
from llava_tools.errors import OutputError
from llava_tools.structured.parser import ConstrainedStream, ToolCallParser
from llava_tools.testing import ScriptedBackend
from tests.strategies import adversarial_text

LOOK = ToolSpec("look", "", {"type": "object", "properties": {"at": {}}, "required": ["at"]})
ADD = ToolSpec("add", "", {"type": "object", "properties": {"n": {"type": "integer"}}})
BOTH = Constraint((LOOK, ADD))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | adversarial_text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


def read(
    pieces: list[str], constraint: Constraint, reason: Any = "stop"
) -> tuple[str, list[ToolCallChunk], str]:
    """Read an answer that comes in pieces."""
    reader = ToolCallParser(constraint, map("c{}".format, itertools.count()).__next__)
    words, calls = "", list[ToolCallChunk]()
    for piece in pieces:
        text, new = reader.feed(piece)
        words += text
        calls += new
    rest, reason = reader.finish(reason)
    return words + rest, calls, reason


def put_together(pieces: list[ToolCallChunk]) -> list[tuple[str, str, Any]]:
    """Return (id, name, arguments) of calls, and insist on id and name coming once, first."""
    calls: list[tuple[str, str, str]] = []
    for piece in pieces:
        if piece.index == len(calls):
            assert piece.id
            assert piece.name
            calls.append((piece.id, piece.name, ""))
        else:
            assert (piece.id, piece.name, piece.index) == (None, None, len(calls) - 1)
        name, tool, arguments = calls[-1]
        calls[-1] = (name, tool, arguments + piece.arguments)
    return [(name, tool, json.loads(arguments)) for name, tool, arguments in calls]


@st.composite
def cut(draw: st.DrawFn, text: str) -> list[str]:
    places = sorted(draw(st.sets(st.integers(0, len(text)), max_size=12)) | {0, len(text)})
    return [text[a:b] for a, b in itertools.pairwise(places)] or [text]


@given(st.data(), st.lists(json_values, min_size=1, max_size=3))
def test_calls_are_read_however_they_are_cut(data: st.DataObject, values: list[Any]) -> None:
    made = [ToolCall("", "look", {"at": value}) for value in values]
    text = data.draw(st.sampled_from(["", " ", "\n"])) + "\n".join(map(write_call, made))
    words, calls, reason = read(data.draw(cut(text)), BOTH)
    assert (words, reason) == ("", "tool_calls")
    expected = [(f"c{i}", "look", {"at": value}) for i, value in enumerate(values)]
    assert put_together(calls) == expected


@given(st.data(), adversarial_text)
def test_words_stay_words_however_they_are_cut(data: st.DataObject, text: str) -> None:
    if text.lstrip().startswith("<tool_call>"):
        text = "x" + text
    assert read(data.draw(cut(text)), BOTH) == (text, [], "stop")


def test_arguments_stream_as_they_are_written() -> None:
    reader = ToolCallParser(BOTH, lambda: "c")
    head, *letters = '<tool_call>{"name": "add", "arguments": ', *'{"n": 12}'
    assert reader.feed(head) == ("", (ToolCallChunk(0, "", "c", "add"),))
    for letter in letters:
        assert reader.feed(letter) == ("", (ToolCallChunk(0, letter),))


@pytest.mark.parametrize(
    ("text", "constraint", "words"),
    [
        ('<tool_call>{"name": "look", "argu', BOTH, "cut off by max_tokens"),
        ('<tool_call>{"name": "look", "arguments": {"at": 1', BOTH, "cut off by max_tokens"),
        ('<tool_call>{"name": "look", "arguments": {"at": 1}}', BOTH, "cut off by max_tokens"),
        ('{"a": ', Constraint(schema={"type": "object"}), "cut off by max_tokens"),
    ],
)
def test_what_was_cut_off_is_an_error(text: str, constraint: Constraint, words: str) -> None:
    with pytest.raises(OutputError, match=words):
        read([text], constraint, "length")


@pytest.mark.parametrize(
    ("text", "constraint", "words"),
    [
        (write_call(ToolCall("", "shoot", {})), BOTH, "'shoot', which is not among"),
        (write_call(ToolCall("", "look", {})), BOTH, "'at' is a required property"),
        (write_call(ToolCall("", "add", {"n": "x"})), BOTH, "not of type 'integer'"),
        ('<tool_call>{"name": "look", "arguments": {"at": 01}}', BOTH, "cannot be read"),
        ("<tool_call>look()" + "x" * 2000, BOTH, "cannot be read"),
        (write_call(ToolCall("", "add", {})) + " and so on", BOTH, "cannot be read"),
        (
            "\n".join([write_call(ToolCall("", "add", {}))] * 2),
            Constraint((ADD,), parallel_tool_calls=False),
            "several calls",
        ),
        (
            "\n".join([write_call(ToolCall("", "add", {}))] * 2),
            Constraint((ADD,), "add"),
            "several calls",
        ),
        ("no", Constraint((ADD,), "any"), "in words where it had to call"),
        (write_call(ToolCall("", "look", {"at": 1})), Constraint((LOOK, ADD), "add"), "'look'"),
        ("no", Constraint(schema={"type": "object"}), "not JSON"),
        ('{"n": 1.5}', Constraint(schema=ADD.parameters), "not of type 'integer'"),
        ('<tool_call>{"name": "add", "arguments": {', BOTH, "cut off by a stop string"),
    ],
)
def test_an_answer_that_breaks_its_rules_is_an_error(
    text: str, constraint: Constraint, words: str
) -> None:
    with pytest.raises(OutputError, match=words):
        read([text], constraint)


def test_a_tag_in_the_middle_of_words_is_text() -> None:
    text = "They write " + write_call(ToolCall("", "add", {}))
    assert read([text], BOTH) == (text, [], "stop")
    assert read(["<tool"], BOTH) == ("<tool", [], "stop")


def test_calls_come_out_of_a_backend() -> None:
    text = write_call(ToolCall("", "look", {"at": "the left"}))
    backend = ScriptedBackend([text])
    answer = collect(backend.stream(asked(BOTH)), "m")
    assert (answer.text, answer.finish_reason) == ("", "tool_calls")
    assert [(call.name, call.arguments) for call in answer.tool_calls] == [
        ("look", {"at": "the left"})
    ]
    assert answer.tool_calls[0].id.startswith("call_")


def test_a_stream_is_closed_where_its_answer_goes_wrong() -> None:
    backend = ScriptedBackend(['<tool_call>{"name": "x", "arguments": {}} and so on'])
    stream = backend.stream(asked(BOTH))
    assert isinstance(stream, ConstrainedStream)
    with pytest.raises(OutputError):
        list(stream)
    assert backend.closed_early == 1


def test_a_token_limit_cuts_words_without_error() -> None:
    backend = ScriptedBackend(["one two three"])
    answer = collect(backend.stream(asked(BOTH, max_tokens=2)), "m")
    assert (answer.text, answer.finish_reason) == ("one two", "length")


def asked(constraint: Constraint, **sampling: Any) -> Request:
    return Request((Message("user", ("x",)),), SamplingParams(**sampling), constraint)
