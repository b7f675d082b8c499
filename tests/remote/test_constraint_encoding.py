"""What servers enforce, and what they say they do."""

from __future__ import annotations

import json

import pytest

from llava_tools.core.constraints import Constraint, ToolSpec
from llava_tools.core.requests import Request, SamplingParams
from llava_tools.errors import (
    OutputError,
    SchemaError,
)
from llava_tools.remote.constraint_encoding import call_schema
from tests.fake_server import Kind
from tests.remote.requests import ADD, CALL, FORM, QUESTION, Connect, Serve, full_answer


def test_a_grammar_makes_a_call_of_what_would_be_none(serve: Serve, connect: Connect) -> None:
    server = serve("I would rather not.")
    forced = Request(QUESTION, constraint=Constraint((ADD,), tool_choice="any"))
    answer = full_answer(connect(server), forced)
    assert [call.name for call in answer.tool_calls] == ["add"]
    assert not answer.best_effort
    assert CALL.split("{")[0] in server.requests[0]["structured_outputs"]["grammar"]


@pytest.mark.parametrize("kind", ["xgrammar", "schemas", "strict"])
def test_a_server_that_knows_schemas_only_makes_forced_calls(
    serve: Serve, connect: Connect, kind: Kind
) -> None:
    server = serve("I would rather not.", kind=kind)
    backend = connect(server)
    forced = Request(QUESTION, constraint=Constraint((ADD,), tool_choice="any"))
    answer = full_answer(backend, forced)
    assert [call.name for call in answer.tool_calls] == ["add"]
    assert answer.best_effort
    assert "response_format" in server.requests[0]
    formed = full_answer(backend, Request(QUESTION, constraint=Constraint(schema=FORM)))
    assert set(json.loads(formed.text)) == {"n"}


def test_a_vllm_with_xgrammar_is_asked_for_no_words_or_calls(
    serve: Serve, connect: Connect
) -> None:
    server = serve("Nothing to add.", CALL, kind="xgrammar")
    backend = connect(server)
    request = Request(QUESTION, constraint=Constraint((ADD,)))
    words, called = full_answer(backend, request), full_answer(backend, request)
    assert words.text == "Nothing to add."
    assert [dict(call.arguments) for call in called.tool_calls] == [{"a": 3}]
    assert words.best_effort
    assert called.best_effort
    assert not any("structured_outputs" in asked for asked in server.requests)


@pytest.mark.parametrize(
    ("text", "constraint", "says"),
    [
        ("I would rather not.", Constraint((ADD,), tool_choice="any"), "had to call"),
        ("I would rather not.", Constraint(schema=FORM), "not JSON"),
        ('{"n": "five"}', Constraint(schema=FORM), "not of its schema"),
        (CALL.replace("3", '"x"'), Constraint((ADD,)), "not of its schema"),
        (CALL.replace("add", "rm"), Constraint((ADD,)), "not among the tools"),
        (CALL[:-20], Constraint((ADD,)), "cut off"),
    ],
)
def test_a_server_that_enforces_nothing_gets_no_wrong_answer_through(
    serve: Serve,
    connect: Connect,
    text: str,
    constraint: Constraint,
    says: str,
) -> None:
    backend = connect(serve(text, kind="deaf"))
    with pytest.raises(OutputError, match=says):
        full_answer(backend, Request(QUESTION, constraint=constraint))


def test_a_right_answer_of_such_a_server_is_marked(serve: Serve, connect: Connect) -> None:
    backend = connect(serve(CALL, kind="deaf"))
    answer = full_answer(backend, Request(QUESTION, constraint=Constraint((ADD,))))
    assert [dict(call.arguments) for call in answer.tool_calls] == [{"a": 3}]
    assert answer.best_effort


def test_stop_strings_hold_even_where_they_are_ignored(serve: Serve, connect: Connect) -> None:
    backend = connect(serve("one two END three", kind="deaf"))
    answer = full_answer(backend, Request(QUESTION, SamplingParams(stop=("END",))))
    assert (answer.text, answer.finish_reason) == ("one two", "stop")


def test_logprobs_that_are_ignored_are_an_error(serve: Serve, connect: Connect) -> None:
    backend = connect(serve(kind="deaf"))
    with pytest.raises(OutputError, match="ignored logprobs"):
        full_answer(backend, Request(QUESTION, SamplingParams(logprobs=True)))


def test_a_schema_that_the_server_refuses(serve: Serve, connect: Connect) -> None:
    backend = connect(serve())
    odd = {"type": "object", "not": {"required": ["x"]}}
    with pytest.raises(SchemaError, match="cannot enforce"):
        full_answer(backend, Request(QUESTION, constraint=Constraint(schema=odd)))


def test_a_call_s_schema_keeps_its_references() -> None:
    shape = {"type": "object", "properties": {"p": {"$ref": "#/$defs/P"}}, "required": ["p"]}
    tools = [
        ToolSpec(name, "", {**shape, "$defs": {"P": {"type": kind}}})
        for name, kind in (("one", "integer"), ("two", "string"))
    ]
    schema = call_schema(Constraint(tuple(tools), tool_choice="any"))
    import jsonschema

    jsonschema.validate({"name": "one", "arguments": {"p": 1}}, schema)
    jsonschema.validate({"name": "two", "arguments": {"p": "1"}}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"name": "two", "arguments": {"p": 1}}, schema)
