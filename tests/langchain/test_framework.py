"""What LangChain does with a model: callbacks, events, caches, saving, retries, tracing."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core import exceptions as langchain
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.load import dumps, load, loads
from langchain_core.messages import (
    AIMessage,
    HumanMessage,
    SystemMessage,
    trim_messages,
)
from langchain_core.outputs import LLMResult
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.rate_limiters import InMemoryRateLimiter
from langchain_core.runnables import ConfigurableField

from langchain_llava import ChatLlava
from llava_tools.core.outputs import Chunk
from llava_tools.core.requests import Request
from llava_tools.errors import (
    EngineCrashedError,
    QueueFullError,
    RequestError,
)
from llava_tools.testing import ScriptedBackend
from tests.langchain.scripted import WORDS, Named, total


class Tokens(BaseCallbackHandler):
    def __init__(self) -> None:
        self.tokens: list[str] = []
        self.ends: list[LLMResult] = []

    def on_llm_new_token(self, token: Any, **kwargs: Any) -> None:
        self.tokens.append(token)

    def on_llm_end(self, response: LLMResult, **kwargs: Any) -> None:
        self.ends.append(response)


async def test_callbacks_hear_every_chunk() -> None:
    model, heard = ChatLlava(backend=WORDS), Tokens()
    chunks = list(model.stream("x", {"callbacks": [heard]}))
    assert heard.tokens == [chunk.content for chunk in chunks] == ["one", " two", " three"]
    async for _ in model.astream("x", {"callbacks": [heard]}):
        pass
    assert len(heard.tokens) == 6
    assert len(heard.ends) == 2
    model.invoke("x", {"callbacks": [heard]}, stream=True)
    assert len(heard.tokens) == 9
    ChatLlava(backend=WORDS, streaming=True).invoke("x", {"callbacks": [heard]})
    assert len(heard.tokens) == 12
    model.invoke("x", {"callbacks": [heard]})
    assert len(heard.tokens) == 12
    assert heard.ends[-1].generations[0][0].generation_info == {"finish_reason": "stop"}


async def test_events() -> None:
    chain = ChatPromptTemplate.from_messages([("human", "{q}")]) | ChatLlava(backend=WORDS)
    kinds = []
    text = ""
    async for event in chain.astream_events({"q": "x"}, version="v2"):
        kinds.append(event["event"])
        if event["event"] == "on_chat_model_stream":
            text += event["data"]["chunk"].content
    assert text == "one two three"
    assert "on_chat_model_end" in kinds


def test_the_cache_knows_what_was_asked_of_whom() -> None:
    backend = ScriptedBackend(["one two three"])
    cache = InMemoryCache()
    model = ChatLlava(backend=backend, cache=cache)
    first, again = model.invoke("x"), model.invoke("x")
    assert again.content == first.content
    assert len(backend.requests) == 1
    model.invoke("x", max_tokens=1)
    model.invoke("x", stop=["two"])
    model.invoke("y")
    ChatLlava(backend=backend, cache=cache, temperature=1).invoke("x")
    ChatLlava(backend=backend, cache=cache, system="Be brief.").invoke("x")
    assert len(backend.requests) == 6
    other = Named("another")
    assert ChatLlava(backend=other, cache=cache).invoke("x").content == "hello"


@pytest.mark.filterwarnings("ignore:The function `load:Warning")
def test_models_are_saved_and_loaded() -> None:
    model = ChatLlava(
        model="7b",
        temperature=0,
        stop=["end"],
        prefix_caching=False,
        allowed_hosts={"b", "a:80"},
        system="",
        api_key="hunter2",
        backend=WORDS,
    )
    text = dumps(model)
    assert "hunter2" not in text
    again = loads(text, valid_namespaces=["langchain_llava"], allowed_objects=[ChatLlava])
    assert isinstance(again, ChatLlava)
    assert again.asdict() == model.asdict()
    assert again.allowed_hosts == ("a:80", "b")
    assert (again.prefix_caching, again.system, again.temperature) == (False, "", 0)
    assert again.backend is None
    with pytest.raises(RequestError, match="no option 'colour'"):
        load(
            {"lc": 1, "type": "constructor", "id": ChatLlava.lc_id(), "kwargs": {"colour": 1}},
            valid_namespaces=["langchain_llava"],
            allowed_objects=[ChatLlava],
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
        [ChatLlava(backend=WORDS)], exceptions_to_handle=(QueueFullError,)
    )
    assert falling.invoke("x").content == "one two three"


def test_a_crash_may_be_tried_again() -> None:
    def crash(request: Request) -> str:
        raise EngineCrashedError("A step raised.", "Ask again.")

    with pytest.raises(langchain.ModelAPIError) as caught:
        ChatLlava(backend=ScriptedBackend(crash)).invoke("x")
    assert caught.value.is_retryable


def test_fields_can_be_configured() -> None:
    backend = ScriptedBackend(["one two three"])
    model = ChatLlava(backend=backend).configurable_fields(
        max_tokens=ConfigurableField(id="length"), temperature=ConfigurableField(id="heat")
    )
    assert model.invoke("x").content == "one two three"
    configured = model.with_config(configurable={"length": 1, "heat": 0.5})
    assert configured.invoke("x").content == "one"
    assert backend.requests[-1].sampling.temperature == 0.5


async def test_a_rate_limiter_is_asked() -> None:
    class Limiter(InMemoryRateLimiter):
        asked = 0

        def acquire(self, *, blocking: bool = True) -> bool:
            self.asked += 1
            return True

        async def aacquire(self, *, blocking: bool = True) -> bool:
            self.asked += 1
            return True

    limiter = Limiter()
    model = ChatLlava(backend=WORDS, rate_limiter=limiter)
    model.invoke("x")
    await model.ainvoke("x")
    list(model.stream("x"))
    assert limiter.asked == 3


def test_what_tracing_is_told() -> None:
    model = ChatLlava(model="7b", max_tokens=9, stop=["end"])
    assert model._get_ls_params() == {
        "ls_provider": "llava",
        "ls_model_name": "7b",
        "ls_model_type": "chat",
        "ls_max_tokens": 9,
        "ls_stop": ["end"],
    }
    told = model._get_ls_params(stop=["x"], model="13b", temperature=0)
    assert (told["ls_stop"], told["ls_model_name"]) == (["x"], "13b")
    assert told["ls_temperature"] == 0
    assert model._get_ls_params(model_name="13b")["ls_model_name"] == "13b"
    assert model._llm_type == "llava"
    assert model.metadata is not None
    assert "llava-tools" in model.metadata["lc_versions"]


def test_the_profile_needs_no_model() -> None:
    profile = ChatLlava(model="7b").profile
    assert profile is not None
    assert profile["image_inputs"]
    assert profile["max_input_tokens"] == 4096
    for options in ({"context_length": 512}, {"backend": ScriptedBackend(context_length=512)}):
        profile = ChatLlava(**options).profile
        assert profile is not None
        assert profile["max_input_tokens"] == 512


def test_images_are_counted_as_the_model_counts_them(png_base64: str) -> None:
    model = ChatLlava(backend=ScriptedBackend(), system="")
    block = {"type": "image", "base64": png_base64, "mime_type": "image/png"}
    asked = HumanMessage(["look here", block])
    alone = model.get_num_tokens_from_messages([HumanMessage("look here")])
    assert model.get_num_tokens_from_messages([asked]) == alone + 576
    assert model.get_num_tokens_from_messages([asked, AIMessage("a car")]) > alone + 576
    assert model.get_num_tokens_from_messages([SystemMessage("be brief")]) < 10
    conversation = [asked, AIMessage("a car"), HumanMessage("what colour?")]
    kept = trim_messages(conversation, max_tokens=50, token_counter=model, start_on="human")
    assert kept == conversation[-1:]
    tool = {"name": "look", "description": "Look at a picture.", "parameters": {"type": "object"}}
    assert model.get_num_tokens_from_messages([asked], tools=[tool]) > alone + 576
    with pytest.raises(RequestError, match="cannot be bound"):
        model.get_num_tokens_from_messages([asked], tools=[{}])


def test_an_empty_delta_is_a_chunk_like_any_other() -> None:
    class Empty(ScriptedBackend):
        def stream(self, request: Request) -> Any:
            stream: Any = super().stream(request)
            stream._deltas.insert(0, Chunk("", (0,)))
            return stream

    assert total(list(ChatLlava(backend=Empty(["a b"])).stream("x"))).content == "a b"
