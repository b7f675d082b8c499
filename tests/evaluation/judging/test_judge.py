"""Judges behind servers: what is sent, and what becomes of busy, failing and hostile ones."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from llava_tools.errors import (
    ContextOverflowError,
    EngineError,
    LlavaToolsError,
    ModelError,
    ModelNotFoundError,
    RequestError,
    ServerError,
)
from llava_tools.evaluation.judging.judge import ServerJudge
from llava_tools.evaluation.tasks.mm_vet import MMVet
from tests.evaluation.scripted_judge import write_mm_vet
from tests.fake_server import FakeServer
from tests.remote.hostile_server import DEEP, HostileServer, http

COMPLETION = {"choices": [{"message": {"role": "assistant", "content": "8 7"}}]}


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def _serve(stack: ExitStack, *texts: Any, **options: Any) -> FakeServer:
    script = texts[0] if len(texts) == 1 and callable(texts[0]) else texts
    options = {"kind": "strict", "models": ("gpt-4",), **options}
    return stack.enter_context(FakeServer(script, **options))


def _connect(stack: ExitStack, url: str, model: str | None = None, **options: Any) -> ServerJudge:
    return stack.enter_context(ServerJudge(url, model, **{"retry_delays": (0.0, 0.0), **options}))


def test_a_prompt_is_sent_as_it_is(stack: ExitStack) -> None:
    server = _serve(stack, "8 7\nFine.")
    judge = _connect(stack, server.url, "gpt-4")
    reply = judge.reply("Is <s> <image> a </s>?", system="Judge.", max_tokens=9, temperature=0.2)
    assert reply == "8 7\nFine."
    assert server.requests == [
        {
            "model": "gpt-4",
            "messages": [
                {"role": "system", "content": "Judge."},
                {"role": "user", "content": "Is <s> <image> a </s>?"},
            ],
            "max_tokens": 9,
            "temperature": 0.2,
        }
    ]


def test_the_only_model_need_not_be_named(stack: ExitStack) -> None:
    assert _connect(stack, _serve(stack, "ok").url).model == "gpt-4"
    server = _serve(stack, "ok", models=("one", "other"))
    with pytest.raises(ModelNotFoundError, match="does not serve exactly one model"):
        _connect(stack, server.url)
    with pytest.raises(ModelNotFoundError, match="Did you mean 'other'"):
        _connect(stack, server.url, "othr")


def test_the_key_comes_from_its_own_variable(
    stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = _serve(stack, "ok", api_key="the judge's key")
    monkeypatch.setenv("LLAVA_API_KEY", "the model server's key")
    with pytest.raises(ModelError, match="LLAVA_JUDGE_API_KEY") as raised:
        _connect(stack, server.url)
    assert "model server" not in str(server.headers)
    assert "the judge's key" not in str(raised.value)
    monkeypatch.setenv("LLAVA_JUDGE_API_KEY", "the judge's key")
    assert _connect(stack, server.url).reply("?") == "ok"
    monkeypatch.delenv("LLAVA_JUDGE_API_KEY")
    assert _connect(stack, server.url, api_key="the judge's key").reply("?") == "ok"


def test_busy_servers_are_tried_again(stack: ExitStack) -> None:
    server = _serve(stack, "ok")
    judge = _connect(stack, server.url)
    server.faults = [429, 503]
    assert judge.reply("?") == "ok"
    server.faults = [500, 500, 500]
    with pytest.raises(ServerError, match="failed"):
        judge.reply("?")
    assert not server.faults


def test_a_prompt_that_is_too_long_is_refused(stack: ExitStack) -> None:
    judge = _connect(stack, _serve(stack, "ok").url)
    with pytest.raises(ContextOverflowError):
        judge.reply("word " * 5000)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (http("", "302 Found", location="http://elsewhere.example/"), RequestError),
        (http("<html>Welcome!</html>", content_type="text/html"), ServerError),
        (http(json.dumps({"choices": []})), ServerError),
        (http(json.dumps({"choices": [{"message": {"content": ["8 7"]}}]})), ServerError),
        (http(json.dumps(COMPLETION)[:-9]), ServerError),
        (http(DEEP), ServerError),
        (http(json.dumps(COMPLETION), content_encoding="gzip"), ServerError),
        (http("x" * 10, content_length="1000"), ServerError),
    ],
    ids=["redirect", "page", "empty", "list", "cut", "deep", "compressed", "short"],
)
def test_hostile_answers_are_errors(
    stack: ExitStack, answer: bytes, error: type[LlavaToolsError]
) -> None:
    server = stack.enter_context(HostileServer(answer))
    judge = _connect(stack, server.url)
    with pytest.raises(error):
        judge.reply("?")


def test_lone_surrogates_in_replies_are_replaced(stack: ExitStack) -> None:
    body = '{"choices": [{"message": {"content": "8 7\\ud800"}}]}'
    judge = _connect(stack, stack.enter_context(HostileServer(http(body))).url)
    assert judge.reply("?") == "8 7\ufffd"


def test_no_text_is_an_empty_reply(stack: ExitStack) -> None:
    body = json.dumps({"choices": [{"message": {"content": None}, "finish_reason": "length"}]})
    judge = _connect(stack, stack.enter_context(HostileServer(http(body))).url)
    assert judge.reply("?") == ""


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://host/v1", "http://host:99999/v1", ""])
def test_impossible_addresses_are_refused(url: str) -> None:
    with pytest.raises(RequestError):
        ServerJudge(url, "gpt-4")


def test_a_closed_judge_says_so(stack: ExitStack) -> None:
    judge = _connect(stack, _serve(stack, "ok").url)
    judge.close()
    with pytest.raises(EngineError, match="closed"):
        judge.reply("?")


def test_a_benchmark_is_judged_through_a_server(stack: ExitStack, tmp_path: Any) -> None:
    def script(body: dict[str, Any]) -> str:
        return "0.9" if "Answer v1_2." in body["messages"][0]["content"] else "0.1"

    server = _serve(stack, script)
    judge = _connect(stack, server.url, max_concurrent_requests=4)
    task = MMVet()
    samples = task.load(write_mm_vet(tmp_path / "data"))
    answers = {sample.id: f"Answer {sample.id}." for sample in samples}
    counts: list[tuple[int, int]] = []
    score = task.judge(samples, answers, tmp_path, judge, lambda *count: counts.append(count))
    assert score is not None
    assert (score.value, score.count) == (30.0, 4)
    assert counts == [(0, 4), (1, 4), (2, 4), (3, 4), (4, 4)]
    assert len(server.requests) == 4
    assert task.judge(samples, answers, tmp_path, judge) == score
    assert len(server.requests) == 4


def test_a_reply_that_repeats_the_key_is_kept_without_it(stack: ExitStack) -> None:
    server = _serve(stack, "8 7\nBearer the judge's key", api_key="the judge's key")
    judge = _connect(stack, server.url, api_key="the judge's key")
    assert judge.reply("?") == "8 7\nBearer ***"


def test_a_reply_that_repeats_the_password_of_the_url_is_kept_without_it(stack: ExitStack) -> None:
    server = _serve(stack, "8 7\nBasic bWU6cGFzcy13b3Jk, pass-word")
    judge = _connect(stack, server.url.replace("://", "://me:pass-word@"))
    assert judge.reply("?") == "8 7\n***, ***"


def test_a_server_that_is_not_there_is_an_error_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    delays: list[float] = []

    async def sleep(delay: float) -> None:
        delays.append(delay)

    monkeypatch.setattr("asyncio.sleep", sleep)
    with pytest.raises(ServerError, match="cannot be reached"):
        ServerJudge("http://127.0.0.1:9/v1", retry_delays=(1.0, 2.0, 3.0, 4.0, 5.0))
    assert delays == [1.0, 2.0, 3.0]
