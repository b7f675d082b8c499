from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from typing import Any

import pytest
from langchain_core import exceptions as langchain
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.load import dumps, load, loads
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    HumanMessage,
    SystemMessage,
    ToolMessage,
    trim_messages,
)
from langchain_core.outputs import LLMResult
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.rate_limiters import InMemoryRateLimiter
from langchain_core.runnables import ConfigurableField
from pydantic import BaseModel

import langchain_llava
from langchain_llava import ChatLlava
from llava_tools import registry
from llava_tools.errors import (
    ContextOverflowError,
    EngineCrashedError,
    ImageError,
    LlavaToolsError,
    QueueFullError,
    RequestError,
)
from llava_tools.images import open_image
from llava_tools.options import EngineOptions
from llava_tools.testing import ScriptedBackend
from llava_tools.types import Delta, Request

WORDS = ScriptedBackend(["one two three"])


def echo(request: Request) -> str:
    return "you said " + request.messages[-1].text


async def until(happened: Any) -> None:
    """Let the loop run until `happened()`."""
    async with asyncio.timeout(10):
        while not happened():
            await asyncio.sleep(0)


def total(chunks: list[AIMessageChunk]) -> AIMessageChunk:
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole = whole + chunk
    return whole


def test_the_public_names() -> None:
    assert langchain_llava.__all__ == [
        "ChatLlava",
        "LlavaEmbeddings",
        "LlavaToolkit",
        "PageLoader",
        "PageRetriever",
        "image_block",
        "with_handles",
    ]


# ---- options --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"temprature": 1}, ["no option 'temprature'", "Did you mean 'temperature'?"]),
        ({"max_tokens": -1}, ["max_tokens=-1", "at least 1"]),
        ({"max_tokens": 1.5}, ["max_tokens=1.5"]),
        ({"temperature": "hot"}, ["temperature='hot'"]),
        ({"top_logprobs": 3}, ["logprobs=True"]),
        ({"stop": [""]}, ["stop"]),
        ({"model": ""}, ["model=''"]),
        ({"model": "a", "model_name": "b"}, ["model was given twice"]),
        ({"device": "cud"}, ["device='cud'", "cuda"]),
        ({"quantization": "3bit"}, ["quantization='3bit'"]),
        ({"base_url": "x/v1"}, ["base_url='x/v1'"]),
        ({"offline": "perhaps"}, ["offline='perhaps'"]),
        ({"timeout": 0}, ["timeout=0"]),
        ({"max_retries": -1}, ["max_retries=-1"]),
        ({"allowed_hosts": ["http://x"]}, ["allowed_hosts", "'http://x'"]),
        ({"allowed_hosts": "x"}, ["allowed_hosts='x'"]),
        ({"backend": 3}, ["backend=3"]),
    ],
)
def test_a_wrong_option_is_one_line(options: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(RequestError) as caught:
        ChatLlava(**options)
    assert isinstance(caught.value, langchain.ModelInvalidRequestError)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_token": 3}, ["no option 'max_token'", "Did you mean 'max_tokens'?"]),
        ({"tools": "f"}, ["tools='f' is no list"]),
        ({"tool_choice": "any"}, ["tool_choice='any'", "no tool"]),
        ({"device": "cpu"}, ["no option 'device'"]),
        ({"max_tokens": 0}, ["max_tokens=0"]),
        ({"model": "7b"}, ["model='7b'", "backend"]),
    ],
)
async def test_a_wrong_call_is_one_line(options: dict[str, Any], words: list[str]) -> None:
    model = ChatLlava(backend=WORDS)

    async def stream() -> list[AIMessageChunk]:
        return [chunk async for chunk in model.astream("x", **options)]

    for call in (
        lambda: model.invoke("x", **options),
        lambda: list(model.stream("x", **options)),
    ):
        with pytest.raises(langchain.ModelInvalidRequestError) as caught:
            call()
        assert all(word in str(caught.value) for word in words)
    for waits in (model.ainvoke("x", **options), stream()):
        with pytest.raises(langchain.ModelInvalidRequestError):
            await waits


def test_other_names_are_understood() -> None:
    model = ChatLlava(model_name="7b", stop_sequences="end")
    assert (model.model, model.stop) == ("7b", ["end"])


def test_options_reach_the_request() -> None:
    backend = ScriptedBackend()
    model = ChatLlava(
        backend=backend, temperature=0.5, top_p=0.9, top_k=5, seed=3, max_tokens=9, stop=["end"]
    )
    model.invoke("x")
    model.invoke("x", temperature=1.5, stop=["a", "b"], max_tokens=None)
    model.bind(seed=4, stop_sequences=["c"]).invoke("x")
    model.temperature = None
    model.invoke("x", logprobs=True, top_logprobs=2)
    first, second, third, fourth = (request.sampling for request in backend.requests)
    assert (first.temperature, first.top_p, first.top_k) == (0.5, 0.9, 5)
    assert (first.seed, first.max_tokens, first.stop) == (3, 9, ("end",))
    assert (second.temperature, second.stop, second.max_tokens) == (1.5, ("a", "b"), None)
    assert (third.seed, third.stop) == (4, ("c",))
    assert (fourth.temperature, fourth.logprobs, fourth.top_logprobs) == (0.0, True, 2)


def test_the_system_sentence_is_for_conversations_that_bring_none() -> None:
    backend = ScriptedBackend()
    model = ChatLlava(backend=backend, system="Be brief.")
    model.invoke("x")
    model.invoke([SystemMessage("Be long."), HumanMessage("x")])
    told = [[message.text for message in request.messages] for request in backend.requests]
    assert told == [["Be brief.", "x"], ["Be long.", "x"]]


def test_a_model_may_be_a_field_of_something_else() -> None:
    class Holder(BaseModel):
        llm: ChatLlava

    model = ChatLlava(temperature=1)
    assert Holder(llm=model).llm is model


# ---- engines --------------------------------------------------------------------------------


class Named(ScriptedBackend):
    def __init__(self, name: str) -> None:
        super().__init__(["hello"])
        self.model_name = name


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[EngineOptions]:
    """Let the registry make scripted engines; the value is what it was asked for."""
    asked: list[EngineOptions] = []

    def load_engine(options: EngineOptions) -> Named:
        asked.append(options)
        return Named(options.source)

    monkeypatch.setattr(registry, "_engines", registry._Shelf(load_engine))
    return asked


def test_the_first_request_loads_and_others_share(loaded: list[EngineOptions]) -> None:
    first, second = ChatLlava(device="cpu"), ChatLlava(device="cpu", temperature=1)
    assert loaded == []
    assert first.invoke("x").response_metadata["model_name"] == "tiny"
    second.invoke("x")
    assert loaded == [EngineOptions("tiny", device="cpu")]


async def test_a_call_may_name_another_model(loaded: list[EngineOptions]) -> None:
    model = ChatLlava(context=512)
    for _ in range(2):
        message = model.invoke("x", model="7b")
        assert message.response_metadata["model_name"] == "llava-hf/llava-1.5-7b-hf"
    message = await model.ainvoke("x", model_name="7b")
    assert message.response_metadata["model_name"] == "llava-hf/llava-1.5-7b-hf"
    assert loaded == [EngineOptions("7b", context=512)]
    with pytest.raises(RequestError, match="model=''"):
        model.invoke("x", model="")
    ChatLlava(model="13b", revision="of-13b", device="cpu").invoke("x", model="7b")
    assert loaded[-1] == EngineOptions("7b", device="cpu")


def test_closing_gives_the_engine_back(loaded: list[EngineOptions]) -> None:
    model, other = ChatLlava(), ChatLlava()
    model.invoke("x")
    other.invoke("x")
    engine = registry.loaded()[EngineOptions()]
    model.close()
    assert not getattr(engine, "_closed")  # noqa: B009
    other.close()
    assert registry.loaded() == {}
    model.invoke("x")
    assert len(loaded) == 2


# ---- answers --------------------------------------------------------------------------------


def test_invoke_tells_usage_and_metadata(png_base64: str) -> None:
    model = ChatLlava(backend=WORDS, logprobs=True)
    message = model.invoke(
        [HumanMessage(["look", {"type": "image", "base64": png_base64, "mime_type": "image/png"}])]
    )
    assert message.content == "one two three"
    usage = message.usage_metadata
    assert usage is not None
    assert usage["output_tokens"] == 3
    assert usage["total_tokens"] == usage["input_tokens"] + 3
    assert usage["input_token_details"] == {"cache_read": 0, "image": 576}
    metadata = message.response_metadata
    assert metadata["finish_reason"] == "stop"
    assert metadata["model_name"] == "scripted"
    assert metadata["model_provider"] == "llava"
    assert set(metadata["timings"]) == {"prepare", "first_token", "total"}
    assert [item["token"] for item in metadata["logprobs"]["content"]] == ["one", " two", " three"]
    assert metadata["logprobs"]["content"][0] == {"token": "one", "logprob": 0, "top_logprobs": []}
    assert "logprobs" not in ChatLlava(backend=WORDS).invoke("x").response_metadata


@pytest.mark.parametrize("options", [{}, {"logprobs": True}, {"max_tokens": 2}, {"timeout": 60}])
async def test_added_up_chunks_are_the_message(options: dict[str, Any]) -> None:
    model = ChatLlava(backend=ScriptedBackend(["one two three"]), **options)
    message = model.invoke("x")
    streamed = list(model.stream("x"))
    astreamed = [chunk async for chunk in model.astream("x")]
    assert (await model.ainvoke("x")).model_dump(exclude={"id"}) == message.model_dump(
        exclude={"id"}
    )
    for chunks in (streamed, astreamed):
        whole = total(chunks)
        assert whole.content == message.content
        assert whole.usage_metadata == message.usage_metadata
        assert whole.response_metadata == message.response_metadata
        assert [bool(chunk.usage_metadata) for chunk in chunks] == [
            *[False] * (len(chunks) - 1),
            True,
        ]
        assert [chunk.chunk_position for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
        assert chunks[-1].chunk_position == "last"
        assert chunks[-1].response_metadata["finish_reason"] in ("stop", "length")


def test_stop_and_length() -> None:
    model = ChatLlava(backend=ScriptedBackend(["one two three"]))
    assert model.invoke("x", stop=[" three"]).content == "one two"
    cut = model.invoke("x", max_tokens=2)
    assert (cut.content, cut.response_metadata["finish_reason"]) == ("one two", "length")


def test_pictures_of_tools_stand_where_the_tool_answered(png: bytes, png_base64: str) -> None:
    backend = ScriptedBackend()
    block = {"type": "image", "base64": png_base64, "mime_type": "image/png"}
    ChatLlava(backend=backend).invoke(
        [
            HumanMessage("get a picture"),
            AIMessage([], tool_calls=[{"name": "random_image", "args": {}, "id": "1"}]),
            ToolMessage([block], tool_call_id="1"),
        ]
    )
    roles = [message.role for message in backend.requests[0].messages]
    assert roles == ["user", "assistant", "tool"]
    assert backend.requests[0].messages[-1].images == (open_image(png),)


@pytest.mark.parametrize("source_type", ["base64", "url"])
def test_old_blocks_come_through_langchains_own_translation(
    source_type: str, png: bytes, png_base64: str
) -> None:
    backend = ScriptedBackend()
    key = "data" if source_type == "base64" else "url"
    value = png_base64 if source_type == "base64" else f"data:image/png;base64,{png_base64}"
    block = {"type": "image", "source_type": source_type, key: value, "mime_type": "image/png"}
    ChatLlava(backend=backend).invoke([HumanMessage([block])])
    assert backend.requests[0].messages[-1].images == (open_image(png),)


def test_too_much_is_langchains_overflow_too(png_base64: str) -> None:
    model = ChatLlava(backend=ScriptedBackend(context=100))
    block = {"type": "image", "base64": png_base64, "mime_type": "image/png"}
    with pytest.raises(langchain.ContextOverflowError, match="576") as caught:
        model.invoke([HumanMessage([block])])
    assert isinstance(caught.value, ContextOverflowError)
    assert isinstance(caught.value.__cause__, ContextOverflowError)


async def test_a_bad_picture_never_reaches_the_engine() -> None:
    backend = ScriptedBackend()
    message = HumanMessage([{"type": "image", "url": "/etc/passwd"}])
    with pytest.raises(ImageError):
        await ChatLlava(backend=backend).ainvoke([message])
    assert backend.requests == []


class Cut(ScriptedBackend):
    """Its streams end before they are finished, as those of an engine that is closed do."""

    def stream(self, request: Request) -> Any:
        stream: Any = super().stream(request)
        stream._deltas = stream._deltas[:-1]
        return stream


async def test_a_stream_that_was_cut_off_is_an_error() -> None:
    model = ChatLlava(backend=Cut(["one two three"]))
    with pytest.raises(LlavaToolsError, match="before it was finished"):
        list(model.stream("x"))
    with pytest.raises(LlavaToolsError, match="before it was finished"):
        [chunk async for chunk in model.astream("x")]
    with pytest.raises(LlavaToolsError, match="before it was finished"):
        model.invoke("x")


# ---- many at once, and leaving early -----------------------------------------------------------


class Meeting:
    """Answers only when `number` requests are being answered at the same time."""

    def __init__(self, number: int) -> None:
        self.barrier = threading.Barrier(number, timeout=30)

    def __call__(self, request: Request) -> str:
        self.barrier.wait()
        return echo(request)


def test_a_batch_runs_at_once_and_keeps_its_order() -> None:
    model = ChatLlava(backend=ScriptedBackend(Meeting(4)))
    messages = model.batch([f"number {i}" for i in range(8)], {"max_concurrency": 4})
    assert [message.content for message in messages] == [f"you said number {i}" for i in range(8)]


async def test_an_async_batch_runs_at_once_and_keeps_its_order() -> None:
    model = ChatLlava(backend=ScriptedBackend(Meeting(32)))
    messages = await model.abatch([f"number {i}" for i in range(32)])
    assert [message.content for message in messages] == [f"you said number {i}" for i in range(32)]


class Gate:
    """Lets the first delta pass and holds the second until it is opened."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.passed = 0

    def __call__(self) -> None:
        self.passed += 1
        if self.passed > 1:
            self.opened.wait(30)


@pytest.mark.parametrize("options", [{}, {"timeout": 60}])
async def test_cancelling_stops_the_generation(options: dict[str, Any]) -> None:
    gate = Gate()
    backend = ScriptedBackend(["one two three"], pause=gate)
    model = ChatLlava(backend=backend, **options)
    begun = asyncio.Event()

    async def read() -> None:
        async for _ in model.astream("x"):
            begun.set()

    task = asyncio.create_task(read())
    await begun.wait()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert backend.closed_early == 1
    gate.opened.set()


async def test_cancelling_ainvoke_stops_the_generation() -> None:
    gate = Gate()
    backend = ScriptedBackend(["one two three"], pause=gate)
    task = asyncio.create_task(ChatLlava(backend=backend).ainvoke("x"))
    await until(lambda: gate.passed > 1)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert backend.closed_early == 1
    gate.opened.set()


async def test_leaving_a_stream_closes_it() -> None:
    backend = ScriptedBackend(["one two three"])
    model = ChatLlava(backend=backend)
    for _ in model.stream("x"):
        break
    assert backend.closed_early == 1
    gate = Gate()
    backend = ScriptedBackend(["one two three"], pause=gate)
    chunks: AsyncIterator[AIMessageChunk] = ChatLlava(backend=backend).astream("x")
    async with aclosing(chunks):  # type: ignore[type-var]
        async for _ in chunks:
            break
    await until(lambda: backend.closed_early == 1)
    gate.opened.set()


# ---- what LangChain does with a model -----------------------------------------------------------


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
        reuse=False,
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
    assert (again.reuse, again.system, again.temperature) == (False, "", 0)
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
    for options in ({"context": 512}, {"backend": ScriptedBackend(context=512)}):
        profile = ChatLlava(**options).profile
        assert profile is not None
        assert profile["max_input_tokens"] == 512


def test_pictures_are_counted_as_the_model_counts_them(png_base64: str) -> None:
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
            stream._deltas.insert(0, Delta("", (0,)))
            return stream

    assert total(list(ChatLlava(backend=Empty(["a b"])).stream("x"))).content == "a b"
