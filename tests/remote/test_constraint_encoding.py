"""Constraints on servers that enforce all, a part or nothing of them."""

from __future__ import annotations

import json

import jsonschema
import pytest

from llava_tools.core.constraints import Constraint, ToolSpec
from llava_tools.core.requests import Request, SamplingParams
from llava_tools.errors import OutputError, SchemaError
from llava_tools.remote.constraint_encoding import call_schema
from tests.fake_server import Kind
from tests.remote.requests import ADD, CALL, QUESTION, SCHEMA, Connect, Serve, full_answer


def test_grammar_forces_a_call(serve: Serve, connect: Connect) -> None:
    server = serve("I would rather not.")
    forced = Request(QUESTION, constraint=Constraint((ADD,), tool_choice="any"))
    answer = full_answer(connect(server), forced)
    assert [call.name for call in answer.tool_calls] == ["add"]
    assert not answer.best_effort
    assert CALL.split("{")[0] in server.requests[0]["structured_outputs"]["grammar"]


@pytest.mark.parametrize("kind", ["xgrammar", "schemas", "strict"])
def test_schema_forces_a_call_where_grammars_are_not_enforced(
    serve: Serve, connect: Connect, kind: Kind
) -> None:
    server = serve("I would rather not.", kind=kind)
    backend = connect(server)
    forced = Request(QUESTION, constraint=Constraint((ADD,), tool_choice="any"))
    answer = full_answer(backend, forced)
    assert [call.name for call in answer.tool_calls] == ["add"]
    assert answer.best_effort
    assert "response_format" in server.requests[0]
    answer = full_answer(backend, Request(QUESTION, constraint=Constraint(schema=SCHEMA)))
    assert set(json.loads(answer.text)) == {"n"}


def test_text_or_calls_are_sent_unconstrained_to_xgrammar(serve: Serve, connect: Connect) -> None:
    server = serve("Nothing to add.", CALL, kind="xgrammar")
    backend = connect(server)
    request = Request(QUESTION, constraint=Constraint((ADD,)))
    first, second = full_answer(backend, request), full_answer(backend, request)
    assert first.text == "Nothing to add."
    assert [dict(call.arguments) for call in second.tool_calls] == [{"a": 3}]
    assert first.best_effort
    assert second.best_effort
    assert not any("structured_outputs" in body for body in server.requests)


@pytest.mark.parametrize(
    ("text", "constraint", "message"),
    [
        ("I would rather not.", Constraint((ADD,), tool_choice="any"), "had to call"),
        ("I would rather not.", Constraint(schema=SCHEMA), "not JSON"),
        ('{"n": "five"}', Constraint(schema=SCHEMA), "not of its schema"),
        (CALL.replace("3", '"x"'), Constraint((ADD,)), "not of its schema"),
        (CALL.replace("add", "rm"), Constraint((ADD,)), "not among the tools"),
        (CALL[:-20], Constraint((ADD,)), "cut off"),
    ],
)
def test_invalid_answer_of_a_server_that_enforces_nothing_is_an_error(
    serve: Serve,
    connect: Connect,
    text: str,
    constraint: Constraint,
    message: str,
) -> None:
    backend = connect(serve(text, kind="minimal"))
    with pytest.raises(OutputError, match=message):
        full_answer(backend, Request(QUESTION, constraint=constraint))


def test_valid_answer_of_a_server_that_enforces_nothing_is_best_effort(
    serve: Serve, connect: Connect
) -> None:
    backend = connect(serve(CALL, kind="minimal"))
    answer = full_answer(backend, Request(QUESTION, constraint=Constraint((ADD,))))
    assert [dict(call.arguments) for call in answer.tool_calls] == [{"a": 3}]
    assert answer.best_effort


def test_stop_strings_apply_where_the_server_ignores_them(serve: Serve, connect: Connect) -> None:
    backend = connect(serve("one two END three", kind="minimal"))
    answer = full_answer(backend, Request(QUESTION, SamplingParams(stop=("END",))))
    assert (answer.text, answer.finish_reason) == ("one two", "stop")


def test_ignored_logprobs_are_an_error(serve: Serve, connect: Connect) -> None:
    backend = connect(serve(kind="minimal"))
    with pytest.raises(OutputError, match="ignored logprobs"):
        full_answer(backend, Request(QUESTION, SamplingParams(logprobs=True)))


def test_schema_that_the_server_refuses_is_an_error(serve: Serve, connect: Connect) -> None:
    backend = connect(serve())
    schema = {"type": "object", "not": {"required": ["x"]}}
    with pytest.raises(SchemaError, match="cannot enforce"):
        full_answer(backend, Request(QUESTION, constraint=Constraint(schema=schema)))


def test_call_schema_keeps_the_references_of_each_tool() -> None:
    shape = {"type": "object", "properties": {"p": {"$ref": "#/$defs/P"}}, "required": ["p"]}
    tools = [
        ToolSpec(name, "", {**shape, "$defs": {"P": {"type": kind}}})
        for name, kind in (("one", "integer"), ("two", "string"))
    ]
    schema = call_schema(Constraint(tuple(tools), tool_choice="any"))
    jsonschema.validate({"name": "one", "arguments": {"p": 1}}, schema)
    jsonschema.validate({"name": "two", "arguments": {"p": "1"}}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"name": "two", "arguments": {"p": 1}}, schema)


@pytest.mark.parametrize("kind", ["vllm", "xgrammar"])
def test_pattern_outside_of_the_dialect_is_not_sent(
    serve: Serve, connect: Connect, kind: Kind
) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "string", "pattern": "(?=a)b"}}}
    server = serve('{"n": "cab"}', kind=kind)
    backend = connect(server)
    with pytest.raises(SchemaError, match="strict=False"):
        backend.stream(Request(QUESTION, constraint=Constraint(schema=schema)))
    assert not server.requests
    with pytest.raises(OutputError, match="does not match"):
        full_answer(backend, Request(QUESTION, constraint=Constraint(schema=schema, strict=False)))
    assert "pattern" not in json.dumps(server.requests)
    assert server.requests


def test_stop_string_that_cuts_a_servers_json_is_named(serve: Serve, connect: Connect) -> None:
    backend = connect(serve('{"n": 12}'))
    constraint = Constraint(schema=SCHEMA)
    request = Request(QUESTION, SamplingParams(stop=("2", "x")), constraint)
    with pytest.raises(OutputError, match="stop string"):
        full_answer(backend, request)


def test_server_whose_model_repeats_a_call_is_not_read_to_its_end(
    serve: Serve, connect: Connect
) -> None:
    backend = connect(serve("\n".join([CALL] * 200)))
    answer = full_answer(backend, Request(QUESTION, constraint=Constraint((ADD,))))
    assert [dict(call.arguments) for call in answer.tool_calls] == [{"a": 3}]
    assert answer.finish_reason == "tool_calls"
