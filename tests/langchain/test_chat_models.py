"""What the chat model takes, which engine it asks, and what its answers carry."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core import exceptions as langchain
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from pydantic import BaseModel

import langchain_llava
from langchain_llava import ChatLlava
from llava_tools import registry
from llava_tools.core.requests import Request
from llava_tools.errors import (
    ContextOverflowError,
    ImageError,
    LlavaToolsError,
    RequestError,
)
from llava_tools.images import open_image
from llava_tools.options import EngineOptions
from llava_tools.testing import ScriptedBackend
from tests.langchain.scripted import WORDS, Named, total


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


# ---- options -------------------------------------------------------------------------------------


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
        ({"local_files_only": "perhaps"}, ["offline='perhaps'"]),
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


# ---- engines -------------------------------------------------------------------------------------


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
    model = ChatLlava(context_length=512)
    for _ in range(2):
        message = model.invoke("x", model="7b")
        assert message.response_metadata["model_name"] == "llava-hf/llava-1.5-7b-hf"
    message = await model.ainvoke("x", model_name="7b")
    assert message.response_metadata["model_name"] == "llava-hf/llava-1.5-7b-hf"
    assert loaded == [EngineOptions("7b", context_length=512)]
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


# ---- answers -------------------------------------------------------------------------------------


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


def test_images_of_tools_stand_where_the_tool_answered(png: bytes, png_base64: str) -> None:
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
    model = ChatLlava(backend=ScriptedBackend(context_length=100))
    block = {"type": "image", "base64": png_base64, "mime_type": "image/png"}
    with pytest.raises(langchain.ContextOverflowError, match="576") as caught:
        model.invoke([HumanMessage([block])])
    assert isinstance(caught.value, ContextOverflowError)
    assert isinstance(caught.value.__cause__, ContextOverflowError)


async def test_a_bad_image_never_reaches_the_engine() -> None:
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
