"""Options of `ChatLlava` under the names of its peers, and those of engines and servers."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from langchain.chat_models import init_chat_model
from langchain_core.load import dumps, loads
from langchain_core.messages import AIMessage
from langchain_core.runnables import ConfigurableField

from langchain_llava import ChatLlava, LlavaEmbeddings
from langchain_llava import compat as langchain
from llava_tools.core.requests import SamplingParams
from llava_tools.errors import ModelError, RequestError
from llava_tools.testing import ScriptedBackend
from tests.fake_server import FakeServer
from tests.langchain.loading import LOADING
from tests.scripted_engines import Engines

SERVER = "http://localhost:1/v1"
SECRETS = {
    "api_key": "key-that-is-secret",
    "default_headers": {"X-Team": "vision-secret"},
    "proxy": "http://me:pass-word@proxy:3128",
}


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> Engines:
    return Engines(monkeypatch)


@pytest.mark.parametrize(
    ("peer", "options", "fields"),
    [
        (
            "ChatOllama",
            {
                "model": "7b",
                "num_ctx": 2048,
                "num_predict": 64,
                "repeat_penalty": 1.1,
                "keep_alive": "10m",
                "temperature": 0.2,
                "validate_model_on_init": False,
                "format": None,
                "reasoning": None,
            },
            {
                "context_length": 2048,
                "max_tokens": 64,
                "repetition_penalty": 1.1,
                "keep_alive": "10m",
            },
        ),
        (
            "ChatOpenAI",
            {
                "model_name": "llava",
                "openai_api_base": SERVER,
                "openai_api_key": "none",
                "max_completion_tokens": 64,
                "stream_usage": True,
                "request_timeout": 30,
                "max_retries": 2,
                "n": 1,
                "default_headers": {"X-A": "b"},
                "extra_body": {"priority": 1},
                "openai_proxy": "http://proxy:3128",
                "logprobs": True,
                "top_logprobs": 2,
            },
            {
                "model": "llava",
                "base_url": SERVER,
                "max_tokens": 64,
                "timeout": 30,
                "max_retries": 2,
                "default_headers": {"X-A": "b"},
                "extra_body": {"priority": 1},
                "proxy": "http://proxy:3128",
                "top_logprobs": 2,
            },
        ),
        (
            "HuggingFacePipeline.from_model_id",
            {
                "model_id": "7b",
                "model_kwargs": {"load_in_4bit": True, "torch_dtype": "float16"},
                "pipeline_kwargs": {
                    "max_new_tokens": 64,
                    "do_sample": False,
                    "repetition_penalty": 1.03,
                    "return_full_text": False,
                },
                "device_map": "auto",
            },
            {
                "model": "7b",
                "quantization": "4bit",
                "dtype": "float16",
                "max_tokens": 64,
                "temperature": 0,
                "repetition_penalty": 1.03,
                "device": "auto",
            },
        ),
    ],
)
def test_constructors_of_peers(peer: str, options: dict[str, Any], fields: dict[str, Any]) -> None:
    model = ChatLlava(**options)
    assert {name: getattr(model, name) for name in fields} == fields


@pytest.mark.parametrize(
    ("options", "fragments"),
    [
        ({"format": "json"}, ["no option 'format'", "with_structured_output"]),
        ({"client_kwargs": {"verify": False}}, ["no option 'client_kwargs'", "http_async_client"]),
        ({"http_client": object()}, ["no option 'http_client'", "http_async_client"]),
        ({"load_in_4bit": True, "quantization": "8bit"}, ["quantization appears twice"]),
        ({"keep_alive": "soon"}, ["keep_alive='soon'", "5m"]),
        ({"keep_alive": 5, "base_url": SERVER}, ["keep_alive=5 does not go with base_url"]),
        ({"default_headers": {"A": "b"}}, ["default_headers is for a server"]),
        ({"repetition_penalty": 0}, ["repetition_penalty=0"]),
        ({"validate_model_on_init": "perhaps"}, ["validate_model_on_init"]),
    ],
)
def test_what_does_not_go_is_one_line_with_a_way_out(
    options: dict[str, Any], fragments: list[str]
) -> None:
    with pytest.raises(langchain.ModelInvalidRequestError) as caught:
        ChatLlava(**options)
    assert "\n" not in str(caught.value)
    for fragment in fragments:
        assert fragment in str(caught.value)


def test_embeddings_take_names_of_peers() -> None:
    """As HuggingFaceEmbeddings does."""
    embeddings = LlavaEmbeddings(
        model_name="7b",
        model_kwargs={"device": "cpu"},
        encode_kwargs={"normalize_embeddings": True},
    )
    assert (embeddings.model, embeddings.device) == ("7b", "cpu")
    with pytest.raises(RequestError, match="vectors have length one"):
        LlavaEmbeddings(encode_kwargs={"normalize_embeddings": False})


def test_traces_read_names_of_peers() -> None:
    params = ChatLlava()._get_ls_params(max_new_tokens=5, model_id="13b", temperature=0.4)
    assert (params["ls_max_tokens"], params["ls_model_name"]) == (5, "13b")
    assert params["ls_temperature"] == 0.4


async def test_names_of_peers_in_calls() -> None:
    backend = ScriptedBackend(["one two"])
    model = ChatLlava(backend=backend, temperature=0.3)
    options = {"max_new_tokens": 7, "repeat_penalty": 1.3, "stream_usage": False, "n": 1}
    model.invoke("x", **options)
    list(model.stream("x", **options))
    await model.bind(**options).ainvoke("x")
    async for chunk in model.astream("x", options={"num_predict": 7, "repeat_penalty": 1.3}):
        last = chunk
    assert last.usage_metadata
    expected = SamplingParams(7, 0.3, repetition_penalty=1.3)
    assert [request.sampling for request in backend.requests] == [expected] * 4


def test_a_usage_comes_with_every_stream() -> None:
    for usage in (True, False):
        model = ChatLlava(backend=ScriptedBackend(["one two"]), stream_usage=usage)
        assert list(model.stream("x"))[-1].usage_metadata is not None


async def test_an_idle_model_is_unloaded_and_loaded_again(engines: Engines) -> None:
    model = ChatLlava(keep_alive="5m")
    assert model.invoke("x").text == "one two three"
    chunks = model.stream("x")
    next(chunks)
    engines.timer.pass_time(3600)
    assert engines.loaded
    assert [chunk.text for chunk in chunks][:2] == [" two", " three"]
    engines.timer.pass_time(300)
    assert not engines.loaded
    assert not engines.live
    assert (await model.ainvoke("x")).text == "one two three"
    engines.timer.pass_time(300)
    assert "".join([chunk.text async for chunk in model.astream("x")]) == "one two three"
    engines.timer.pass_time(300)
    assert model.get_num_tokens("a b") == 2
    assert engines.loads == 4


def test_a_model_is_validated_at_once(engines: Engines) -> None:
    ChatLlava(validate_model_on_init=True)
    assert engines.loaded
    engines.fails = True
    with pytest.raises(langchain.ModelError, match="no room") as caught:
        ChatLlava(model="7b", validate_model_on_init=True)
    assert isinstance(caught.value, ModelError)
    assert ChatLlava(backend=ScriptedBackend(), validate_model_on_init=True).invoke("x").text


def test_a_servers_model_is_validated_at_once() -> None:
    with FakeServer(models=("llava-13b",)) as server:
        model = ChatLlava(base_url=server.url, model="llava-13b", validate_model_on_init=True)
        model.close()
        with pytest.raises(langchain.ModelNotFoundError, match="has no 'llava-7b'") as caught:
            ChatLlava(base_url=server.url, model="llava-7b", validate_model_on_init=True)
        assert "Did you mean 'llava-13b'?" in str(caught.value)
        assert server.requests == []


async def test_headers_and_fields_reach_the_server() -> None:
    with FakeServer(["one two"]) as server:
        model = ChatLlava(
            base_url=server.url,
            default_headers={"X-Team": "vision"},
            extra_body={"priority": 2},
            http_async_client=httpx.AsyncClient(trust_env=False),
        )
        model.invoke("x")
        await model.ainvoke("x")
        model.close()
        assert [body["priority"] for body in server.requests] == [2, 2]
        assert {headers["x-team"] for headers in server.headers} == {"vision"}


@pytest.mark.filterwarnings("ignore:The function `loads` is in beta")
def test_nothing_that_is_written_down_has_a_secret() -> None:
    model = ChatLlava(base_url=SERVER, **SECRETS)
    written = [
        repr(model),
        str(model),
        dumps(model),
        model.model_dump_json(),
        str(model._identifying_params),
        str(model._get_ls_params()),
        model._get_llm_string(),
        repr(model._llava().options),
    ]
    for text in written:
        for secret in ("key-that-is-secret", "vision-secret", "pass-word"):
            assert secret not in text
    again = loads(
        dumps(model),
        secrets_map={"LLAVA_API_KEY": "k"},
        **LOADING,
    )
    assert again.base_url == SERVER
    assert "priority" in ChatLlava(base_url=SERVER, extra_body={"priority": 1})._get_llm_string()


# ---- init_chat_model -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        {"model": "langchain_llava:tiny"},
        {"model": "llava:tiny"},
        {"model": "tiny", "model_provider": "langchain_llava"},
    ],
)
def test_init_chat_model_knows_only_its_own_providers(arguments: dict[str, Any]) -> None:
    """LangChain's registry is closed; when this fails, the docs can say so."""
    with pytest.raises(ValueError, match="provider"):
        init_chat_model(**arguments)


async def test_a_configurable_model_without_init_chat_model() -> None:
    backend = ScriptedBackend(["one two three"])
    model = ChatLlava(backend=backend).configurable_fields(
        temperature=ConfigurableField("temperature"), max_tokens=ConfigurableField("max_tokens")
    )
    config = {"configurable": {"temperature": 0.7, "max_tokens": 2}}
    message = model.invoke("x", config)
    assert isinstance(message, AIMessage)
    assert message.text == "one two"
    assert (await model.with_config(config).ainvoke("x")).text == "one two"
    assert model.invoke("x").text == "one two three"
    assert [request.sampling.temperature for request in backend.requests] == [0.7, 0.7, 0.0]


def test_alternatives_are_chosen_at_run_time() -> None:
    small, large = ScriptedBackend(["small"]), ScriptedBackend(["large"])
    model = ChatLlava(backend=small).configurable_alternatives(
        ConfigurableField("llm"), default_key="small", large=ChatLlava(backend=large)
    )
    assert model.invoke("x").text == "small"
    assert model.with_config(configurable={"llm": "large"}).invoke("x").text == "large"


def test_a_wrong_configured_value_is_an_error_of_the_call() -> None:
    model = ChatLlava(backend=ScriptedBackend()).configurable_fields(
        temperature=ConfigurableField("temperature")
    )
    with pytest.raises(RequestError, match="temperature=-1"):
        model.invoke("x", {"configurable": {"temperature": -1}})
