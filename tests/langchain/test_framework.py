"""LangChain features on `ChatLlava`: callbacks, events, caches, serialization, retries, tracing."""

from __future__ import annotations

import json
from typing import Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.load import dumps, load, loads
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, trim_messages
from langchain_core.outputs import LLMResult
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.rate_limiters import InMemoryRateLimiter
from langchain_core.runnables import ConfigurableField

from langchain_llava import ChatLlava
from langchain_llava import compat as langchain
from llava_tools.core.outputs import Chunk
from llava_tools.core.requests import Request
from llava_tools.errors import EngineCrashedError, QueueFullError, RequestError
from llava_tools.testing import ScriptedBackend, ScriptedStream
from tests.langchain.loading import LOADING
from tests.langchain.scripted import BACKEND, NamedBackend, total


class Recorder(BaseCallbackHandler):
    def __init__(self) -> None:
        self.tokens: list[str] = []
        self.ends: list[LLMResult] = []

    def on_llm_new_token(self, token: Any, **kwargs: Any) -> None:
        self.tokens.append(token)

    def on_llm_end(self, response: LLMResult, **kwargs: Any) -> None:
        self.ends.append(response)


async def test_callbacks_receive_every_chunk() -> None:
    model, recorder = ChatLlava(backend=BACKEND), Recorder()
    chunks = list(model.stream("x", {"callbacks": [recorder]}))
    assert recorder.tokens == [chunk.content for chunk in chunks] == ["one", " two", " three"]
    async for _ in model.astream("x", {"callbacks": [recorder]}):
        pass
    assert len(recorder.tokens) == 6
    assert len(recorder.ends) == 2
    model.invoke("x", {"callbacks": [recorder]}, stream=True)
    assert len(recorder.tokens) == 9
    ChatLlava(backend=BACKEND, streaming=True).invoke("x", {"callbacks": [recorder]})
    assert len(recorder.tokens) == 12
    model.invoke("x", {"callbacks": [recorder]})
    assert len(recorder.tokens) == 12
    assert recorder.ends[-1].generations[0][0].generation_info == {"finish_reason": "stop"}


async def test_stream_events() -> None:
    chain = ChatPromptTemplate.from_messages([("human", "{q}")]) | ChatLlava(backend=BACKEND)
    events = []
    text = ""
    async for event in chain.astream_events({"q": "x"}, version="v2"):
        events.append(event["event"])
        if event["event"] == "on_chat_model_stream":
            text += event["data"]["chunk"].content
    assert text == "one two three"
    assert "on_chat_model_end" in events


def test_cache_key_includes_options_and_model() -> None:
    backend = ScriptedBackend(["one two three"])
    cache = InMemoryCache()
    model = ChatLlava(backend=backend, cache=cache)
    first, second = model.invoke("x"), model.invoke("x")
    assert second.content == first.content
    assert len(backend.requests) == 1
    model.invoke("x", max_tokens=1)
    model.invoke("x", stop=["two"])
    model.invoke("y")
    ChatLlava(backend=backend, cache=cache, temperature=1).invoke("x")
    ChatLlava(backend=backend, cache=cache, system="Be brief.").invoke("x")
    assert len(backend.requests) == 6
    other = NamedBackend("another")
    assert ChatLlava(backend=other, cache=cache).invoke("x").content == "hello"


@pytest.mark.filterwarnings("ignore:The function `load:Warning")
def test_models_are_serialized_and_loaded() -> None:
    model = ChatLlava(
        model="7b",
        temperature=0,
        stop=["end"],
        prefix_caching=False,
        allowed_hosts={"b", "a:80"},
        system="",
        api_key="hunter2",
        backend=BACKEND,
    )
    text = dumps(model)
    assert "hunter2" not in text
    loaded = loads(text, **LOADING)
    assert isinstance(loaded, ChatLlava)
    fields = json.loads(text)["kwargs"]
    del fields["api_key"]
    assert json.loads(dumps(loaded))["kwargs"] == fields
    assert loaded.allowed_hosts == ("a:80", "b")
    assert (loaded.prefix_caching, loaded.system, loaded.temperature) == (False, "", 0)
    assert loaded.backend is None
    with pytest.raises(RequestError, match="no option 'colour'"):
        load(
            {"lc": 1, "type": "constructor", "id": ChatLlava.lc_id(), "kwargs": {"colour": 1}},
            **LOADING,
        )


def test_retries_and_fallbacks() -> None:
    class Full(ScriptedBackend):
        left = 1

        def stream(self, request: Request) -> Any:
            if self.left:
                self.left -= 1
                raise QueueFullError("Full.", "Wait.")
            return super().stream(request)

    backend = Full(["at last"])
    retrying = ChatLlava(backend=backend).with_retry(
        retry_if_exception_type=(langchain.ModelRateLimitError,), wait_exponential_jitter=False
    )
    assert retrying.invoke("x").content == "at last"
    backend.left = 1
    assert ChatLlava(backend=backend, max_retries=1).invoke("x").content == "at last"
    backend.left = 9
    falling = ChatLlava(backend=backend).with_fallbacks(
        [ChatLlava(backend=BACKEND)], exceptions_to_handle=(QueueFullError,)
    )
    assert falling.invoke("x").content == "one two three"


def test_crash_of_the_engine_is_retryable() -> None:
    def crash(request: Request) -> str:
        raise EngineCrashedError("A step raised.", "Ask again.")

    with pytest.raises(langchain.ModelAPIError) as caught:
        ChatLlava(backend=ScriptedBackend(crash)).invoke("x")
    assert isinstance(caught.value, EngineCrashedError)
    assert caught.value.retryable
    assert getattr(caught.value, "is_retryable", True)


def test_configurable_fields() -> None:
    backend = ScriptedBackend(["one two three"])
    model = ChatLlava(backend=backend).configurable_fields(
        max_tokens=ConfigurableField(id="length"), temperature=ConfigurableField(id="heat")
    )
    assert model.invoke("x").content == "one two three"
    configured = model.with_config(configurable={"length": 1, "heat": 0.5})
    assert configured.invoke("x").content == "one"
    assert backend.requests[-1].sampling.temperature == 0.5


async def test_rate_limiter_is_used() -> None:
    class Limiter(InMemoryRateLimiter):
        acquired = 0

        def acquire(self, *, blocking: bool = True) -> bool:
            self.acquired += 1
            return True

        async def aacquire(self, *, blocking: bool = True) -> bool:
            self.acquired += 1
            return True

    limiter = Limiter()
    model = ChatLlava(backend=BACKEND, rate_limiter=limiter)
    model.invoke("x")
    await model.ainvoke("x")
    list(model.stream("x"))
    assert limiter.acquired == 3


def test_tracing_params() -> None:
    model = ChatLlava(model="7b", max_tokens=9, stop=["end"])
    assert model._get_ls_params() == {
        "ls_provider": "llava",
        "ls_model_name": "7b",
        "ls_model_type": "chat",
        "ls_max_tokens": 9,
        "ls_stop": ["end"],
    }
    params = model._get_ls_params(stop=["x"], model="13b", temperature=0)
    assert (params["ls_stop"], params["ls_model_name"]) == (["x"], "13b")
    assert params["ls_temperature"] == 0
    assert model._get_ls_params(model_name="13b")["ls_model_name"] == "13b"
    assert model._llm_type == "llava"
    if hasattr(model, "_add_version"):  # langchain-core from 1.5 on
        assert model.metadata is not None
        assert "llava-tools" in model.metadata["lc_versions"]


def test_profile_needs_no_loaded_model() -> None:
    profile = ChatLlava(model="7b").profile
    assert profile is not None
    assert profile["image_inputs"]
    assert profile["max_input_tokens"] == 4096
    assert profile["max_output_tokens"] == 4096
    assert profile["name"] == "7b"
    assert set(profile) <= set(getattr(langchain.ModelProfile, "__annotations__", profile))
    for options in ({"context_length": 512}, {"backend": ScriptedBackend(context_length=512)}):
        profile = ChatLlava(**options).profile
        assert profile is not None
        assert profile["max_input_tokens"] == 512


def test_token_counts_include_images(png_base64: str) -> None:
    model = ChatLlava(backend=ScriptedBackend(), system="")
    block = {"type": "image", "base64": png_base64, "mime_type": "image/png"}
    question = HumanMessage(["look here", block])
    alone = model.get_num_tokens_from_messages([HumanMessage("look here")])
    assert model.get_num_tokens_from_messages([question]) == alone + 576
    assert model.get_num_tokens_from_messages([question, AIMessage("a car")]) > alone + 576
    assert model.get_num_tokens_from_messages([SystemMessage("be brief")]) < 10
    conversation = [question, AIMessage("a car"), HumanMessage("what colour?")]
    kept = trim_messages(conversation, max_tokens=50, token_counter=model, start_on="human")
    assert kept == conversation[-1:]
    tool = {"name": "look", "description": "Look at an image.", "parameters": {"type": "object"}}
    assert model.get_num_tokens_from_messages([question], tools=[tool]) > alone + 576
    with pytest.raises(RequestError, match="cannot be bound"):
        model.get_num_tokens_from_messages([question], tools=[{}])


def test_stream_with_an_empty_chunk() -> None:
    class EmptyFirst(ScriptedBackend):
        def stream(self, request: Request) -> ScriptedStream:
            return ScriptedStream(self, [Chunk("", (0,)), *super().stream(request)])

    assert total(list(ChatLlava(backend=EmptyFirst(["a b"])).stream("x"))).content == "a b"
