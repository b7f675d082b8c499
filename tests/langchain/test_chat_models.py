"""`ChatLlava`: options, engines, answers and their metadata."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from pydantic import BaseModel

import langchain_llava
import llava_tools
from langchain_llava import ChatLlava
from langchain_llava import compat as langchain
from llava_tools import model_cache
from llava_tools.core.requests import Message, Request
from llava_tools.errors import (
    ContextOverflowError,
    ImageError,
    LlavaToolsError,
    RequestError,
)
from llava_tools.images import open_image
from llava_tools.options import EngineOptions
from llava_tools.testing import ScriptedBackend, ScriptedStream
from tests.langchain.scripted import BACKEND, NamedBackend, total


def test_public_names() -> None:
    assert langchain_llava.__all__ == [
        "ChatLlava",
        "LlavaEmbeddings",
        "LlavaPageLoader",
        "LlavaPageRetriever",
        "LlavaSelector",
        "LlavaToolkit",
        "__version__",
        "image_block",
        "with_handles",
        "with_inline_images",
    ]
    assert langchain_llava.__version__ == llava_tools.__version__


# ---- options -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "fragments"),
    [
        ({"temprature": 1}, ["no option 'temprature'", "Did you mean 'temperature'?"]),
        ({"max_tokens": -1}, ["max_tokens=-1", "at least 1"]),
        ({"max_tokens": 1.5}, ["max_tokens=1.5"]),
        ({"temperature": "hot"}, ["temperature='hot'"]),
        ({"top_logprobs": 3}, ["logprobs=True"]),
        ({"stop": [""]}, ["stop"]),
        ({"model": ""}, ["model=''"]),
        ({"model": "a", "model_name": "b"}, ["model appears twice"]),
        ({"device": "cud"}, ["device='cud'", "cuda"]),
        ({"quantization": "3bit"}, ["quantization='3bit'"]),
        ({"base_url": "x/v1"}, ["base_url='x/v1'"]),
        ({"local_files_only": "perhaps"}, ["local_files_only='perhaps'"]),
        ({"timeout": 0}, ["timeout=0"]),
        ({"max_retries": -1}, ["max_retries=-1"]),
        ({"allowed_hosts": ["http://x"]}, ["allowed_hosts", "'http://x'"]),
        ({"allowed_hosts": "x"}, ["allowed_hosts='x'"]),
        ({"backend": 3}, ["backend=3"]),
    ],
)
def test_wrong_option_raises_a_one_line_error(
    options: dict[str, Any], fragments: list[str]
) -> None:
    with pytest.raises(RequestError) as caught:
        ChatLlava(**options)
    assert isinstance(caught.value, langchain.ModelInvalidRequestError)
    assert "\n" not in str(caught.value)
    for fragment in fragments:
        assert fragment in str(caught.value)


@pytest.mark.parametrize(
    ("options", "fragments"),
    [
        ({"max_token": 3}, ["no option 'max_token'", "Did you mean 'max_tokens'?"]),
        ({"tools": "f"}, ["tools='f' is no list"]),
        ({"tool_choice": "any"}, ["tool_choice='any'", "no tool"]),
        ({"device": "cpu"}, ["no option 'device'"]),
        ({"max_tokens": 0}, ["max_tokens=0"]),
        ({"model": "7b"}, ["model='7b'", "backend"]),
    ],
)
async def test_wrong_option_of_a_call_raises_a_one_line_error(
    options: dict[str, Any], fragments: list[str]
) -> None:
    model = ChatLlava(backend=BACKEND)

    async def stream() -> list[AIMessageChunk]:
        return [chunk async for chunk in model.astream("x", **options)]

    for call in (
        lambda: model.invoke("x", **options),
        lambda: list(model.stream("x", **options)),
    ):
        with pytest.raises(langchain.ModelInvalidRequestError) as caught:
            call()
        assert all(fragment in str(caught.value) for fragment in fragments)
    for awaitable in (model.ainvoke("x", **options), stream()):
        with pytest.raises(langchain.ModelInvalidRequestError):
            await awaitable


def test_synonyms_of_options() -> None:
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


def test_system_prompt_is_for_conversations_without_one() -> None:
    backend = ScriptedBackend()
    model = ChatLlava(backend=backend, system="Be brief.")
    model.invoke("x")
    model.invoke([SystemMessage("Be long."), HumanMessage("x")])
    texts = [[message.text for message in request.messages] for request in backend.requests]
    assert texts == [["Be brief.", "x"], ["Be long.", "x"]]


def test_model_can_be_the_field_of_a_pydantic_model() -> None:
    class Holder(BaseModel):
        llm: ChatLlava

    model = ChatLlava(temperature=1)
    assert Holder(llm=model).llm is model


# ---- engines -------------------------------------------------------------------------------------


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[EngineOptions]:
    """Replace engines by scripted backends; the value lists the options of each load."""
    load_calls: list[EngineOptions] = []

    def load_engine(options: EngineOptions) -> NamedBackend:
        load_calls.append(options)
        return NamedBackend(options.source)

    monkeypatch.setattr(model_cache, "engines", model_cache.ModelCache(load_engine))
    return load_calls


def test_first_request_loads_the_engine_that_equal_models_share(
    loaded: list[EngineOptions],
) -> None:
    first, second = ChatLlava(device="cpu"), ChatLlava(device="cpu", temperature=1)
    assert loaded == []
    assert first.invoke("x").response_metadata["model_name"] == "tiny"
    second.invoke("x")
    assert loaded == [EngineOptions("tiny", device="cpu")]


async def test_call_can_choose_another_model(loaded: list[EngineOptions]) -> None:
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


def test_close_releases_the_engine(loaded: list[EngineOptions]) -> None:
    model, other = ChatLlava(), ChatLlava()
    model.invoke("x")
    other.invoke("x")
    engine = model_cache.engines.loaded()[EngineOptions()]
    model.close()
    engine.stream(Request((Message("user", ("x",)),))).close()  # raises if it is closed
    other.close()
    assert model_cache.engines.loaded() == {}
    model.invoke("x")
    assert len(loaded) == 2


# ---- answers -------------------------------------------------------------------------------------


def test_invoke_returns_usage_and_metadata(png_base64: str) -> None:
    model = ChatLlava(backend=BACKEND, logprobs=True)
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
    assert "logprobs" not in ChatLlava(backend=BACKEND).invoke("x").response_metadata


@pytest.mark.parametrize("options", [{}, {"logprobs": True}, {"max_tokens": 2}, {"timeout": 60}])
async def test_sum_of_chunks_equals_the_message(options: dict[str, Any]) -> None:
    model = ChatLlava(backend=ScriptedBackend(["one two three"]), **options)
    message = model.invoke("x")
    streamed = list(model.stream("x"))
    astreamed = [chunk async for chunk in model.astream("x")]
    assert (await model.ainvoke("x")).model_dump(exclude={"id"}) == message.model_dump(
        exclude={"id"}
    )
    for chunks in (streamed, astreamed):
        merged = total(chunks)
        assert merged.content == message.content
        assert merged.usage_metadata == message.usage_metadata
        assert merged.response_metadata == message.response_metadata
        assert [bool(chunk.usage_metadata) for chunk in chunks] == [
            *[False] * (len(chunks) - 1),
            True,
        ]
        assert [chunk.chunk_position for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
        assert chunks[-1].chunk_position == "last"
        assert chunks[-1].response_metadata["finish_reason"] in ("stop", "length")


async def test_each_chunk_has_the_log_probabilities_of_its_tokens() -> None:
    model = ChatLlava(backend=ScriptedBackend(["one two three"]), logprobs=True)
    streamed = list(model.stream("x"))
    astreamed = [chunk async for chunk in model.astream("x")]
    for chunks in (streamed, astreamed):
        tokens = [chunk.response_metadata["logprobs"]["content"] for chunk in chunks[:3]]
        assert [[item["token"] for item in chunk] for chunk in tokens] == [
            ["one"],
            [" two"],
            [" three"],
        ]
    generations = list(model._stream([HumanMessage("x")]))
    infos = [generation.generation_info or {} for generation in generations]
    assert [info["logprobs"]["content"][0]["token"] for info in infos[:3]] == [
        "one",
        " two",
        " three",
    ]
    without = next(model.bind(logprobs=False).stream("x"))
    assert "logprobs" not in without.response_metadata


def test_finish_reasons_stop_and_length() -> None:
    model = ChatLlava(backend=ScriptedBackend(["one two three"]))
    assert model.invoke("x", stop=[" three"]).content == "one two"
    cut = model.invoke("x", max_tokens=2)
    assert (cut.content, cut.response_metadata["finish_reason"]) == ("one two", "length")


def test_images_from_tools_stay_in_the_tool_message(png: bytes, png_base64: str) -> None:
    backend = ScriptedBackend()
    block = {"type": "image", "base64": png_base64, "mime_type": "image/png"}
    ChatLlava(backend=backend).invoke(
        [
            HumanMessage("get an image"),
            AIMessage([], tool_calls=[{"name": "random_image", "args": {}, "id": "1"}]),
            ToolMessage([block], tool_call_id="1"),
        ]
    )
    roles = [message.role for message in backend.requests[0].messages]
    assert roles == ["user", "assistant", "tool"]
    assert backend.requests[0].messages[-1].images == (open_image(png),)


@pytest.mark.parametrize("source_type", ["base64", "url"])
def test_v0_image_blocks_after_langchains_conversion(
    source_type: str, png: bytes, png_base64: str
) -> None:
    backend = ScriptedBackend()
    key = "data" if source_type == "base64" else "url"
    value = png_base64 if source_type == "base64" else f"data:image/png;base64,{png_base64}"
    block = {"type": "image", "source_type": source_type, key: value, "mime_type": "image/png"}
    ChatLlava(backend=backend).invoke([HumanMessage([block])])
    assert backend.requests[0].messages[-1].images == (open_image(png),)


def test_overflow_error_is_also_langchains(png_base64: str) -> None:
    model = ChatLlava(backend=ScriptedBackend(context_length=100))
    block = {"type": "image", "base64": png_base64, "mime_type": "image/png"}
    with pytest.raises(langchain.ContextOverflowError, match="576") as caught:
        model.invoke([HumanMessage([block])])
    assert isinstance(caught.value, ContextOverflowError)
    assert isinstance(caught.value.__cause__, ContextOverflowError)


async def test_forbidden_image_never_reaches_the_backend() -> None:
    backend = ScriptedBackend()
    message = HumanMessage([{"type": "image", "url": "/etc/passwd"}])
    with pytest.raises(ImageError):
        await ChatLlava(backend=backend).ainvoke([message])
    assert backend.requests == []


class InterruptedBackend(ScriptedBackend):
    """Its streams lack the last chunk, like those of an engine that is closed."""

    def stream(self, request: Request) -> ScriptedStream:
        return ScriptedStream(self, list(super().stream(request))[:-1])


async def test_interrupted_stream_raises() -> None:
    model = ChatLlava(backend=InterruptedBackend(["one two three"]))
    with pytest.raises(LlavaToolsError, match="before the answer was complete"):
        list(model.stream("x"))
    with pytest.raises(LlavaToolsError, match="before the answer was complete"):
        [chunk async for chunk in model.astream("x")]
    with pytest.raises(LlavaToolsError, match="before the answer was complete"):
        model.invoke("x")
