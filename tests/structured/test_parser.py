"""Parsing of constrained answers, for any split of the text into chunks."""

from __future__ import annotations

import itertools
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llava_tools.chat.tool_calls import write_call
from llava_tools.core.constraints import Constraint, ToolCall, ToolSpec
from llava_tools.core.outputs import ToolCallChunk, collect
from llava_tools.core.requests import Message, Request, SamplingParams
from llava_tools.errors import OutputError
from llava_tools.structured.constrained_stream import ConstrainedStream
from llava_tools.structured.parser import ToolCallParser
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


def parse(
    chunks: list[str], constraint: Constraint, reason: Any = "stop"
) -> tuple[str, list[ToolCallChunk], str]:
    """Parse an answer that arrives in chunks."""
    parser = ToolCallParser(constraint, map("c{}".format, itertools.count()).__next__)
    text, calls = "", list[ToolCallChunk]()
    for chunk in chunks:
        new_text, new_calls = parser.feed(chunk)
        text += new_text
        calls += new_calls
    rest, reason = parser.finish(reason)
    return text + rest, calls, reason


def join_calls(chunks: list[ToolCallChunk]) -> list[tuple[str, str, Any]]:
    """Return (id, name, arguments) of calls; assert that id and name come once, first."""
    calls: list[tuple[str, str, str]] = []
    for chunk in chunks:
        if chunk.index == len(calls):
            assert chunk.id
            assert chunk.name
            calls.append((chunk.id, chunk.name, ""))
        else:
            assert (chunk.id, chunk.name, chunk.index) == (None, None, len(calls) - 1)
        name, tool, arguments = calls[-1]
        calls[-1] = (name, tool, arguments + chunk.arguments)
    return [(name, tool, json.loads(arguments)) for name, tool, arguments in calls]


@st.composite
def splits(draw: st.DrawFn, text: str) -> list[str]:
    places = sorted(draw(st.sets(st.integers(0, len(text)), max_size=12)) | {0, len(text)})
    return [text[a:b] for a, b in itertools.pairwise(places)] or [text]


@given(st.data(), st.lists(json_values, min_size=1, max_size=3))
def test_calls_are_parsed_for_any_split(data: st.DataObject, values: list[Any]) -> None:
    calls = [ToolCall("", "look", {"at": value}) for value in values]
    text = data.draw(st.sampled_from(["", " ", "\n"])) + "\n".join(map(write_call, calls))
    answer, chunks, reason = parse(data.draw(splits(text)), BOTH)
    assert (answer, reason) == ("", "tool_calls")
    distinct = {write_call(call): call.arguments for call in calls}
    names = [(tool, arguments) for _, tool, arguments in join_calls(chunks)]
    assert names == [("look", arguments) for arguments in distinct.values()]


@given(st.data(), adversarial_text)
def test_text_passes_through_for_any_split(data: st.DataObject, text: str) -> None:
    if text.lstrip().startswith("<tool_call>"):
        text = "x" + text
    assert parse(data.draw(splits(text)), BOTH) == (text, [], "stop")


def test_arguments_are_streamed() -> None:
    parser = ToolCallParser(BOTH, lambda: "c")
    head, *characters = '<tool_call>{"name": "add", "arguments": ', *'{"n": 12}'
    assert parser.feed(head) == ("", (ToolCallChunk(0, "", "c", "add"),))
    for character in characters:
        assert parser.feed(character) == ("", (ToolCallChunk(0, character),))


@pytest.mark.parametrize(
    ("text", "constraint", "message"),
    [
        ('<tool_call>{"name": "look", "argu', BOTH, "cut off by max_tokens"),
        ('<tool_call>{"name": "look", "arguments": {"at": 1', BOTH, "cut off by max_tokens"),
        ('<tool_call>{"name": "look", "arguments": {"at": 1}}', BOTH, "cut off by max_tokens"),
        ('{"a": ', Constraint(schema={"type": "object"}), "cut off by max_tokens"),
        ("0.000", Constraint(schema={"const": 1e-9}), "cut off by max_tokens"),
        ("12", Constraint(schema={"type": "integer", "minimum": 100}), "cut off by max_tokens"),
        ("true", Constraint(schema={"const": False}), "False was expected"),
    ],
)
def test_answer_cut_off_by_max_tokens_raises(
    text: str, constraint: Constraint, message: str
) -> None:
    with pytest.raises(OutputError, match=message):
        parse([text], constraint, "length")


@pytest.mark.parametrize(
    ("text", "constraint", "message"),
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
        ("no", Constraint((ADD,), "any"), "in text where it had to call"),
        (write_call(ToolCall("", "look", {"at": 1})), Constraint((LOOK, ADD), "add"), "'look'"),
        ("no", Constraint(schema={"type": "object"}), "not JSON"),
        ('{"n": 1.5}', Constraint(schema=ADD.parameters), "not of type 'integer'"),
        ('<tool_call>{"name": "add", "arguments": {', BOTH, "cut off by a stop string"),
    ],
)
def test_answer_that_violates_the_constraint_raises(
    text: str, constraint: Constraint, message: str
) -> None:
    with pytest.raises(OutputError, match=message):
        parse([text], constraint)


def test_tag_after_text_is_text() -> None:
    text = "They write " + write_call(ToolCall("", "add", {}))
    assert parse([text], BOTH) == (text, [], "stop")
    assert parse(["<tool"], BOTH) == ("<tool", [], "stop")


def test_backend_returns_tool_calls() -> None:
    text = write_call(ToolCall("", "look", {"at": "the left"}))
    backend = ScriptedBackend([text])
    answer = collect(backend.stream(request(BOTH)), "m")
    assert (answer.text, answer.finish_reason) == ("", "tool_calls")
    assert [(call.name, call.arguments) for call in answer.tool_calls] == [
        ("look", {"at": "the left"})
    ]
    assert answer.tool_calls[0].id.startswith("call_")


def test_invalid_answer_closes_the_stream() -> None:
    backend = ScriptedBackend(['<tool_call>{"name": "x", "arguments": {}} and so on'])
    stream = backend.stream(request(BOTH))
    assert isinstance(stream, ConstrainedStream)
    with pytest.raises(OutputError):
        list(stream)
    assert backend.closed_early == 1


def test_text_may_be_cut_off_by_max_tokens() -> None:
    backend = ScriptedBackend(["one two three"])
    answer = collect(backend.stream(request(BOTH, max_tokens=2)), "m")
    assert (answer.text, answer.finish_reason) == ("one two", "length")


def call(n: int) -> str:
    return write_call(ToolCall("", "add", {"n": n}))


@pytest.mark.parametrize("stop", [["}"], ["zzz", "}", '"n"'], ["n"], [": 1"]])
@pytest.mark.parametrize(
    ("constraint", "text"),
    [
        (Constraint(schema=ADD.parameters), '{"n": 1}'),
        (Constraint((ADD,)), call(1)),
        (Constraint((ADD,), "any"), call(1)),
    ],
)
def test_stop_string_that_cuts_an_answer_is_named(
    constraint: Constraint, text: str, stop: list[str]
) -> None:
    first = min((item for item in stop if item in text), key=text.find)
    with pytest.raises(OutputError, match="Leave the stop string out") as caught:
        list(ScriptedBackend([text]).stream(request(constraint, stop=tuple(stop))))
    assert f"was cut off by the stop string {first!r}." in str(caught.value)


@pytest.mark.parametrize(
    ("text", "stop", "message"),
    [
        ('{"n": ', ("5",), "The JSON answer was cut off by the stop string '5'."),
        ('{"n": ', ("5", "x"), "The JSON answer was cut off by one of the stop strings '5', 'x'."),
        ("Hello", ("5",), "The answer is not JSON"),
        ('{"n": ', (), "The answer is not JSON"),
    ],
)
def test_stop_string_is_blamed_for_what_it_can_have_cut(
    text: str, stop: tuple[str, ...], message: str
) -> None:
    parser = ToolCallParser(Constraint(schema=ADD.parameters), stop=stop)
    parser.feed(text)
    with pytest.raises(OutputError, match=re.escape(message)):
        parser.finish("stop")


def test_a_number_that_a_stop_string_cuts_is_cut_off() -> None:
    backend = ScriptedBackend(["0.0000001"])
    with pytest.raises(OutputError, match="was cut off by the stop string '1'"):
        list(backend.stream(request(Constraint(schema={"const": 1e-7}), stop=("1",))))


def test_stop_string_beside_an_answer_does_no_harm() -> None:
    answer = collect(
        ScriptedBackend(['{"n": 1}\nUSER: x']).stream(
            request(Constraint(schema=ADD.parameters), stop=("USER:",))
        ),
        "m",
    )
    assert json.loads(answer.text) == {"n": 1}


@given(st.data(), st.lists(st.sampled_from([1, 2, 12]), min_size=1, max_size=6))
def test_repeated_calls_are_left_out_for_any_split(data: st.DataObject, numbers: list[int]) -> None:
    text = "\n".join(map(call, numbers))
    _, chunks, reason = parse(data.draw(splits(text)), BOTH)
    assert [arguments["n"] for *_, arguments in join_calls(chunks)] == [*dict.fromkeys(numbers)]
    assert reason == "tool_calls"


@pytest.mark.parametrize("endless", [[1], [1, 2], [1, 12]])
def test_answer_that_only_repeats_its_calls_is_ended(endless: list[int]) -> None:
    text = "\n".join(call(n) for n in endless * 100)
    backend = ScriptedBackend([text])
    answer = collect(backend.stream(request(BOTH, max_tokens=100)), "m")
    assert [item.arguments["n"] for item in answer.tool_calls] == endless
    assert answer.finish_reason == "tool_calls"
    assert answer.usage.prompt_tokens > 0
    assert 0 < answer.usage.completion_tokens < 40
    assert backend.closed_early == 1


def test_repeated_call_of_a_wrong_schema_raises() -> None:
    text = "\n".join([write_call(ToolCall("", "add", {"n": "x"}))] * 9)
    with pytest.raises(OutputError, match="not of type 'integer'"):
        list(ScriptedBackend([text]).stream(request(BOTH)))


def test_finished_calls_are_in_the_error() -> None:
    text = "\n".join(call(n) for n in range(100))
    with pytest.raises(OutputError, match="2 before it are complete") as caught:
        list(ScriptedBackend([text]).stream(request(BOTH, max_tokens=10)))
    assert [(item.name, item.arguments) for item in caught.value.tool_calls] == [
        ("add", {"n": 0}),
        ("add", {"n": 1}),
    ]
    assert all(item.id.startswith("call_") for item in caught.value.tool_calls)
    assert caught.value.text.startswith(call(0))


def test_only_changed_calls_wait_for_their_arguments() -> None:
    parser = ToolCallParser(BOTH, lambda: "c")
    parser.feed(call(12) + "\n")
    head, rest = '<tool_call>{"name": "add", "arguments": {"n": 1', "3}}</tool_call>"
    assert parser.feed(head) == ("", ())
    assert parser.feed(rest) == ("", (ToolCallChunk(1, '{"n": 13}', "c", "add"),))


def request(constraint: Constraint, **sampling: Any) -> Request:
    return Request((Message("user", ("x",)),), SamplingParams(**sampling), constraint)
