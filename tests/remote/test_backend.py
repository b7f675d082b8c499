"""`RemoteBackend`: answers to the same conversations, and the look-up of the model."""

from __future__ import annotations

from dataclasses import replace

import pytest

from llava_tools.chat import prompt
from llava_tools.core.constraints import Constraint, ToolCall
from llava_tools.core.outputs import Answer, Timings
from llava_tools.core.requests import Message, Request, SamplingParams
from llava_tools.core.unicode import well_formed
from llava_tools.errors import ModelError, ModelNotFoundError, RequestError
from llava_tools.remote.protocol import escape_special_tokens
from llava_tools.testing import ScriptedBackend
from tests.families.vocabularies import VOCABULARIES
from tests.remote.requests import (
    ADD,
    CALL,
    QUESTION,
    SCHEMA,
    Connect,
    Serve,
    full_answer,
    make_image,
)


def _comparable(answer: Answer) -> Answer:
    """Return an answer without timings and call ids, which differ between runs."""
    calls = tuple(replace(call, id="") for call in answer.tool_calls)
    return replace(answer, timings=Timings(), tool_calls=calls)


CONVERSATIONS = [
    (Request(QUESTION), "A red box."),
    (Request((Message("system", ("Be brief.",)), *QUESTION)), "Box."),
    (Request((Message("user", (make_image(), "What?")),)), "A box"),
    (
        Request(
            (
                Message("user", (make_image(), make_image(colour="blue"), "Which?")),
                Message("assistant", ("Both.",)),
                Message("user", ("Why?",)),
            ),
            SamplingParams(logprobs=True, stop=("END",), seed=3, temperature=0.5, top_k=4),
        ),
        "Because they are.END alike",
    ),
    (Request(QUESTION, SamplingParams(max_tokens=2)), "one two three"),
    (Request(QUESTION, constraint=Constraint((ADD,))), CALL),
    (Request(QUESTION, constraint=Constraint((ADD,))), f"{CALL}\n{CALL}"),
    (Request(QUESTION, constraint=Constraint((ADD,), tool_choice="any")), CALL),
    (Request(QUESTION, constraint=Constraint((ADD,))), "Nothing to add."),
    (Request(QUESTION, constraint=Constraint(schema=SCHEMA)), '{"n": 5}'),
    (
        Request(
            (
                *QUESTION,
                Message("assistant", (), tool_calls=(ToolCall("c1", "add", {"a": 3}),)),
                Message("tool", ("4",), tool_call_id="c1"),
            ),
            constraint=Constraint((ADD,)),
        ),
        "It is 4.",
    ),
]


@pytest.mark.parametrize(("request_", "text"), CONVERSATIONS)
def test_answers_equal_those_of_the_scripted_backend(
    serve: Serve, connect: Connect, request_: Request, text: str
) -> None:
    server = serve(text)
    scripted = full_answer(ScriptedBackend([text]), request_)
    assert _comparable(full_answer(connect(server), request_)) == _comparable(scripted)
    pieces = prompt.build(request_.messages, constraint=request_.constraint)
    assert server.prompts == [prompt.render(pieces)]


def test_special_tokens_in_text_are_escaped(serve: Serve, connect: Connect) -> None:
    server = serve()
    full_answer(connect(server), Request((Message("user", ("Is <image> or </s> a <b>tag</b>?",)),)))
    content = server.requests[0]["messages"][-1]["content"]
    assert "<image>" not in content
    assert "</s>" not in content
    assert content.replace("\u200b", "") == "Is <image> or </s> a <b>tag</b>?"


def test_lone_surrogates_are_sent_as_replacement_characters(serve: Serve, connect: Connect) -> None:
    messages = (
        Message("system", ("Be \ud800.",)),
        Message("user", ("Add \udce9.",)),
        Message("assistant", ("Yes \udfff.",), (ToolCall("1", "add", {"a": "\ud800"}),)),
        Message("tool", ("no \udc00 number",), tool_call_id="1", is_error=True),
        Message("user", (make_image(), "Then \ud83d\ude00?")),
    )
    request = Request(messages, SamplingParams(stop=("\udbff",)))
    server = serve()
    backend = connect(server)
    assert full_answer(backend, request).text == "ok"
    pieces = prompt.build(messages)
    assert server.prompts == [well_formed(prompt.render(pieces))]
    assert server.prompts[0].count("\ufffd") == 5
    assert server.requests[0]["stop"] == ["\ufffd"]
    assert backend.score(request, ["a\ud800 b"]) == backend.score(request, ["a\ufffd b"])
    assert backend.token_ids("three \ud800 words") == [0, 1, 2]
    assert backend.count_tokens(request) > 576


@pytest.mark.parametrize("vocabulary", VOCABULARIES)
def test_special_tokens_of_every_kind_of_vocabulary_are_escaped(vocabulary: str) -> None:
    for token in VOCABULARIES[vocabulary]().tokenizer.get_added_tokens_decoder().values():
        escaped = escape_special_tokens(f"a{token.content}b")
        assert token.content not in escaped
        assert escaped.replace("\u200b", "") == f"a{token.content}b"


@pytest.mark.parametrize("text", ["a <| b |> c", "<b>x</b>", "a <s b", "1 < 2 | 3 > 2", "<||>"])
def test_other_text_is_not_escaped(text: str) -> None:
    assert escape_special_tokens(text) == text


def test_model_is_looked_up_in_the_list_of_the_server(serve: Serve, connect: Connect) -> None:
    server = serve(models=("a/llava", "b/llava"), context_length=2048)
    backend = connect(server, model="b/llava")
    assert (backend.model_name, backend.context_length) == ("b/llava", 2048)
    with pytest.raises(ModelNotFoundError, match="no 'a/lava'"):
        connect(server, model="a/lava")
    with pytest.raises(ModelNotFoundError, match="serves: a/llava, b/llava"):
        connect(server)
    with pytest.raises(RequestError, match="context_length=4096"):
        connect(server, model="b/llava", context_length=4096)


def test_server_without_a_list_needs_the_name_of_the_model(serve: Serve, connect: Connect) -> None:
    server = serve(models=None, kind="minimal")
    assert connect(server, model="llava").model_name == "llava"
    with pytest.raises(ModelNotFoundError, match=r"does not list.*base_url"):
        connect(server)


def test_wrong_api_key_is_an_error(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-not-for-others")
    server = serve(api_key="secret")
    assert connect(server, api_key="secret").model_name == "llava"
    with pytest.raises(ModelError, match="LLAVA_API_KEY"):
        connect(server)
