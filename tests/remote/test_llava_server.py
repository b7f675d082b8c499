"""A server that calls itself this project's is trusted no more than others."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llava_tools.core.constraints import Constraint
from llava_tools.core.requests import Request
from llava_tools.errors import EngineError, LlavaToolsError, OutputError, ServerError
from tests.remote.hostile_answers import BROKEN, SLOW
from tests.remote.hostile_server import chunk, endless, events, http, words
from tests.remote.requests import ADD, QUESTION, SCHEMA, ServeBytes, connect_url, full_answer

MODELS = http(json.dumps({"data": [{"id": "llava", "owned_by": "llava-tools"}]}))
USAGE = {
    "choices": [],
    "usage": {"prompt_tokens": 9, "prompt_tokens_details": {"image_tokens": 0}},
}
TOOLS = Constraint((ADD,))


def _calls(*calls: dict[str, Any], reason: str = "tool_calls") -> bytes:
    items = [{"index": i, "id": f"c{i}", "function": call} for i, call in enumerate(calls)]
    delta = {"role": "assistant", "tool_calls": items}
    return events(chunk(delta=delta), chunk(delta={}, finish_reason=reason), USAGE)


def _text(text: str, reason: str = "stop") -> bytes:
    return events(words(text), chunk(delta={}, finish_reason=reason), USAGE)


def _ask(serve_bytes: ServeBytes, chat: Any, constraint: Constraint, **options: Any) -> Any:
    backend = connect_url(serve_bytes(chat, MODELS).url, **options)
    try:
        return full_answer(backend, Request(QUESTION, constraint=constraint))
    finally:
        backend.close()


def test_its_calls_and_answers_are_taken(serve_bytes: ServeBytes) -> None:
    answer = _ask(serve_bytes, _calls({"name": "add", "arguments": '{"a": 3}'}), TOOLS)
    assert [(call.id, call.name, dict(call.arguments)) for call in answer.tool_calls] == [
        ("c0", "add", {"a": 3})
    ]
    assert _ask(serve_bytes, _text('{"n": 5}'), Constraint(schema=SCHEMA)).text == '{"n": 5}'
    assert _ask(serve_bytes, _text("Hello."), Constraint()).text == "Hello."


@pytest.mark.parametrize(
    ("chat", "constraint", "message"),
    [
        (_calls({"name": "rm", "arguments": "{}"}), TOOLS, "not among the tools"),
        (_calls({"name": "add", "arguments": '{"a": "x"}'}), TOOLS, "not of its schema"),
        (_calls({"name": "add", "arguments": '{"a": '}), TOOLS, "cannot be read"),
        (_calls({"name": "add", "arguments": "{}}</tool_call>"}), TOOLS, "not|cut"),
        (_calls({"name": "add", "arguments": '{"a": 3}'}), Constraint(), "has none"),
        (_text("I would rather not."), Constraint((ADD,), tool_choice="any"), "had to call"),
        (_text('{"n": "five"}'), Constraint(schema=SCHEMA), "not of its schema"),
        (_text("five"), Constraint(schema=SCHEMA), "not JSON"),
    ],
)
def test_what_violates_the_constraint_is_an_error(
    serve_bytes: ServeBytes, chat: bytes, constraint: Constraint, message: str
) -> None:
    with pytest.raises(OutputError, match=message):
        _ask(serve_bytes, chat, constraint)


@pytest.mark.parametrize("name", BROKEN)
def test_its_broken_answers_are_errors(serve_bytes: ServeBytes, name: str) -> None:
    chat = BROKEN[name]
    if not isinstance(chat, bytes):  # an iterator, which another test may have used up
        chat = endless(b"x" * 65536)
    with pytest.raises(ServerError):
        _ask(serve_bytes, chat, Constraint())


@pytest.mark.parametrize("delta", [{"content": 5}, {"tool_calls": 5}, {"tool_calls": [5]}])
@pytest.mark.parametrize("constraint", [Constraint(), TOOLS])
def test_its_strange_chunks_are_errors(
    serve_bytes: ServeBytes, delta: dict[str, Any], constraint: Constraint
) -> None:
    with pytest.raises(ServerError):
        _ask(serve_bytes, events(chunk(delta=delta), USAGE), constraint)


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"count": None, "scores": None},
        {"count": "x", "scores": "ab"},
        {"count": [], "scores": [1]},
        {"count": {}, "scores": [None, None]},
    ],
)
def test_its_strange_counts_and_scores_are_errors(
    serve_bytes: ServeBytes, answer: dict[str, Any]
) -> None:
    backend = connect_url(serve_bytes(b"", MODELS, http(json.dumps(answer))).url)
    with pytest.raises(EngineError):
        backend.count_tokens(Request(QUESTION))
    with pytest.raises(EngineError):
        backend.score(Request(QUESTION), ["yes", "no"])
    backend.close()


def test_it_times_out(serve_bytes: ServeBytes) -> None:
    silence = SLOW["silence"]
    with pytest.raises(LlavaToolsError):
        _ask(serve_bytes, silence, Constraint(), read_timeout=0.3)
