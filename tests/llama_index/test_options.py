"""Options of LlamaIndex's `Llava`: names of its peers, engines, servers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from llama_index.core.llms import ChatMessage

from langchain_llava import ChatLlava
from llama_index.llms.llava import Llava
from llava_tools.core.requests import SamplingParams
from llava_tools.errors import ModelError, ModelNotFoundError, RequestError
from llava_tools.model_fields import ModelFields
from llava_tools.options import PRIVATE_OPTIONS
from llava_tools.testing import ScriptedBackend
from tests.fake_server import FakeServer
from tests.scripted_engines import Engines

SERVER = "http://localhost:1/v1"
HELLO = [ChatMessage("Hello")]


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> Engines:
    return Engines(monkeypatch)


async def _last(stream: AsyncIterator[Any]) -> Any:
    return [item async for item in stream][-1]


@pytest.mark.parametrize(
    ("peer", "options", "fields"),
    [
        (
            "Ollama",
            {
                "model": "7b",
                "temperature": 0.75,
                "context_window": 2048,
                "request_timeout": 30.0,
                "json_mode": False,
                "additional_kwargs": {"num_predict": 64, "repeat_penalty": 1.1},
                "is_function_calling_model": True,
                "keep_alive": "5m",
                "thinking": None,
            },
            {
                "temperature": 0.75,
                "context_length": 2048,
                "timeout": 30,
                "max_tokens": 64,
                "repetition_penalty": 1.1,
                "keep_alive": "5m",
            },
        ),
        (
            "OpenAILike",
            {
                "model": "llava",
                "api_base": SERVER,
                "api_key": "none",
                "context_window": 2048,
                "is_chat_model": True,
                "is_function_calling_model": True,
                "default_headers": {"X-A": "b"},
                "additional_kwargs": {"extra_body": {"priority": 1}},
                "max_retries": 3,
                "timeout": 60.0,
            },
            {
                "base_url": SERVER,
                "context_length": 2048,
                "default_headers": {"X-A": "b"},
                "extra_body": {"priority": 1},
                "max_retries": 3,
                "timeout": 60,
            },
        ),
        (
            "HuggingFaceLLM",
            {
                "model_name": "7b",
                "context_window": 2048,
                "max_new_tokens": 64,
                "generate_kwargs": {"temperature": 0.7, "top_k": 50, "do_sample": True},
                "model_kwargs": {"load_in_8bit": True, "torch_dtype": "auto"},
                "device_map": "cuda:1",
                "is_chat_model": True,
            },
            {
                "model": "7b",
                "context_length": 2048,
                "max_tokens": 64,
                "temperature": 0.7,
                "top_k": 50,
                "quantization": "8bit",
                "device": "cuda:1",
            },
        ),
    ],
)
def test_constructors_of_peers(peer: str, options: dict[str, Any], fields: dict[str, Any]) -> None:
    llm = Llava(**options)
    assert {name: getattr(llm, name) for name in fields} == fields


@pytest.mark.parametrize(
    ("options", "fragments"),
    [
        ({"json_mode": True}, ["no option 'json_mode'", "as_structured_llm"]),
        ({"tokenizer_name": "x"}, ["no option 'tokenizer_name'", "own tokenizer"]),
        ({"is_chat_model": False}, ["no option 'is_chat_model'"]),
        ({"keep_alive": "soon"}, ["keep_alive='soon'"]),
        ({"proxy": "http://p:1"}, ["proxy is for a server"]),
        ({"generate_kwargs": {"num_beams": 4}}, ["no option 'num_beams'", "temperature"]),
    ],
)
def test_what_does_not_go_is_one_line_with_a_way_out(
    options: dict[str, Any], fragments: list[str]
) -> None:
    with pytest.raises(RequestError) as caught:
        Llava(**options)
    assert "\n" not in str(caught.value)
    for fragment in fragments:
        assert fragment in str(caught.value)


async def test_names_of_peers_in_calls() -> None:
    backend = ScriptedBackend(["one two"])
    llm = Llava(backend=backend, temperature=0.3)
    options = {"max_new_tokens": 7, "repeat_penalty": 1.3}
    llm.chat(HELLO, **options)
    list(llm.stream_chat(HELLO, generate_kwargs=options))
    await llm.achat(HELLO, **options)
    await _last(await llm.astream_chat(HELLO, **options))
    llm.complete("Hello", **options)
    await llm.acomplete("Hello", **options)
    expected = SamplingParams(7, 0.3, repetition_penalty=1.3)
    assert [request.sampling for request in backend.requests] == [expected] * 6


async def test_an_idle_model_is_unloaded_and_loaded_again(engines: Engines) -> None:
    llm = Llava(keep_alive=300)
    calls = [
        lambda: llm.chat(HELLO).message.content,
        lambda: [r.message.content for r in llm.stream_chat(HELLO)][-1],
        lambda: llm.complete("Hello").text,
    ]
    for call in calls:
        assert call() == "one two three"
        engines.timer.pass_time(300)
        assert not engines.loaded
        assert not engines.live
    assert (await llm.achat(HELLO)).message.content == "one two three"
    engines.timer.pass_time(300)
    assert (await _last(await llm.astream_chat(HELLO))).message.content == "one two three"
    assert engines.loads == 5


def test_a_model_is_validated_at_once(engines: Engines) -> None:
    Llava(validate_model_on_init=True)
    assert engines.loaded
    engines.fails = True
    with pytest.raises(ModelError, match="no room"):
        Llava(model="7b", validate_model_on_init=True)


async def test_a_server_is_validated_and_gets_headers_and_fields() -> None:
    with FakeServer(["one two"], models=("llava-13b",)) as server:
        with pytest.raises(ModelNotFoundError, match="has no 'llava-7b'"):
            Llava(api_base=server.url, model="llava-7b", validate_model_on_init=True)
        llm = Llava(
            api_base=server.url,
            default_headers={"X-Team": "vision"},
            extra_body={"priority": 2},
            http_async_client=httpx.AsyncClient(trust_env=False),
        )
        llm.chat(HELLO)
        await llm.achat(HELLO)
        llm.close()
        assert [body["priority"] for body in server.requests] == [2, 2]
        assert server.headers[-1]["x-team"] == "vision"


def test_nothing_that_is_written_down_has_a_secret() -> None:
    llm = Llava(
        base_url=SERVER,
        api_key="key-that-is-secret",
        default_headers={"X-Team": "vision-secret"},
        proxy="http://me:pass-word@proxy:3128",
    )
    for text in (repr(llm), str(llm.to_dict()), llm.to_json(), llm.model_dump_json()):
        for secret in ("key-that-is-secret", "vision-secret", "pass-word"):
            assert secret not in text
    assert llm.to_dict()["base_url"] == SERVER


def test_both_adapters_have_the_same_options() -> None:
    for adapter in (ChatLlava, Llava):
        assert set(ModelFields.model_fields) <= set(adapter.model_fields)
        for name in PRIVATE_OPTIONS:
            assert adapter.model_fields[name].exclude
            assert not adapter.model_fields[name].repr
