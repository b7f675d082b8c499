"""Lists of models, ids of texts and scores that a server should not answer."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llava_tools.core.requests import Request
from llava_tools.errors import EngineError, ModelNotFoundError, ServerError
from llava_tools.remote import client, transport
from tests.remote.hostile_answers import NO_LIST
from tests.remote.hostile_server import chunk, endless, event, head, http, words
from tests.remote.requests import QUESTION, ServeBytes, connect_url, full_answer


@pytest.mark.parametrize("name", NO_LIST)
def test_a_server_without_a_list_of_models_needs_its_name(
    serve_bytes: ServeBytes, name: str
) -> None:
    whole = json.dumps(chunk(message={"role": "assistant", "content": "ok"}, finish_reason="stop"))
    server = serve_bytes(http(whole), NO_LIST[name])
    with pytest.raises(ModelNotFoundError, match="does not list its models"):
        connect_url(server.url)
    backend = connect_url(server.url, model="llava")
    assert full_answer(backend, Request(QUESTION)).text == "ok"
    backend.close()


@pytest.mark.parametrize(
    "entry",
    [
        {"max_model_len": "x"},
        {"max_model_len": -1},
        {"max_model_len": True},
        {"max_model_len": 1e300},
        {"meta": "x"},
        {"meta": {"n_ctx": []}},
        {"owned_by": []},
    ],
)
def test_strange_fields_of_a_model_are_passed_over(
    serve_bytes: ServeBytes, entry: dict[str, Any]
) -> None:
    whole = chunk(message={"content": "ok"}, finish_reason="stop")
    models = {"data": [5, {"id": 5}, {"id": "llava", **entry}]}
    server = serve_bytes(http(json.dumps(whole)), http(json.dumps(models)))
    backend = connect_url(server.url)
    assert backend.context_length == 4096
    backend.close()


def test_a_context_without_end_does_not_lift_the_bounds(
    serve_bytes: ServeBytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "MAX_TOKENS", 100)
    models = {"data": [{"id": "llava", "owned_by": "llava-tools", "max_model_len": 10**18}]}
    server = serve_bytes(endless(event(words()) * 100), http(json.dumps(models)))
    backend = connect_url(server.url)
    with pytest.raises(ServerError, match="more than 1424 events"):
        full_answer(backend, Request(QUESTION))
    backend.close()


def test_many_models_are_compared_soon(serve_bytes: ServeBytes) -> None:
    names = [{"id": f"{'x' * 1000}-{number}"} for number in range(4_000)]
    server = serve_bytes(b"", http(json.dumps({"data": [*names, {"id": "\x1b[2Jb"}]})))
    with pytest.raises(ModelNotFoundError) as caught:
        connect_url(server.url, model="x" * 999)
    assert len(str(caught.value)) < 2500
    assert str(caught.value).isprintable()


def test_a_list_without_end_is_an_error(
    serve_bytes: ServeBytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "MAX_LIST_BYTES", 100_000)
    with pytest.raises(ServerError, match="more than 100,000 bytes"):
        connect_url(serve_bytes(b"", endless(b"[" * 65536, head("200 OK"))).url)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        http("null"),
        http('{"tokens": "abc"}'),
        http('{"tokens": [-1]}'),
        http('{"tokens": [1e999]}'),
        http("[]"),
    ],
)
def test_strange_ids_of_a_text_are_errors(serve_bytes: ServeBytes, answer: bytes) -> None:
    backend = connect_url(serve_bytes(b"", other=answer).url)
    with pytest.raises(ServerError):
        backend.token_ids("words")
    backend.close()


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt_logprobs": "x"},
        {"prompt_logprobs": [None, None, None]},
        {"prompt_logprobs": [{}, {}, {}]},
        {"prompt_logprobs": [None, {"5": {"logprob": 5.0, "decoded_token": "yes</s>"}}]},
        {"prompt_logprobs": [{"5": {"logprob": "x", "decoded_token": "yes</s>"}}] * 3},
        {"prompt_logprobs": [None, {"5": {"logprob": 1e999, "decoded_token": "yes</s>"}}]},
        {"usage": "x"},
        {"usage": {"prompt_tokens": -1}},
        {"usage": {"prompt_tokens": "x"}},
        {"choices": []},
        {"choices": [{"message": None}]},
        {"choices": [{"message": {"content": 5}}]},
    ],
)
def test_strange_scores_are_errors(serve_bytes: ServeBytes, fields: dict[str, Any]) -> None:
    right = {
        "choices": [{"message": {"content": "a"}}],
        "usage": {"prompt_tokens": 1},
        "prompt_logprobs": [None, {"5": {"logprob": -1.5, "decoded_token": "yes</s>"}}],
    }
    answers = [json.dumps(item).replace("Infinity", "1e999") for item in (right, right | fields)]
    backend = connect_url(serve_bytes(http(answers[0])).url)
    assert backend.score(Request(QUESTION), ["yes"]) == [-1.5]
    backend.close()
    backend = connect_url(serve_bytes(http(answers[1])).url)
    with pytest.raises(EngineError):
        backend.score(Request(QUESTION), ["yes"])
    backend.close()
