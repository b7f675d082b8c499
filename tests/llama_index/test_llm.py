"""`Llava` through LlamaIndex's interface: chats, completions, their streams and async twins."""

from __future__ import annotations

import asyncio
import base64
import itertools
import pickle
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from itertools import pairwise
from typing import Any

import pytest
from llama_index.core.base.llms.types import ChatResponse, CompletionResponse, ToolCallBlock
from llama_index.core.callbacks import CallbackManager, CBEventType, TokenCountingHandler
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.events import BaseEvent
from llama_index.core.llms import ChatMessage, ImageBlock, TextBlock
from llama_index.core.prompts import PromptTemplate
from llama_index.core.schema import ImageDocument
from llama_index.core.tools import FunctionTool
from llama_index_instrumentation import get_dispatcher

from llama_index.llms.llava import Llava
from llava_tools.chat.tool_calls import write_call
from llava_tools.core.backend import Stream
from llava_tools.core.constraints import ToolCall
from llava_tools.core.requests import Message, Request, SamplingParams
from llava_tools.errors import AnswerTimeoutError, EngineError, QueueFullError, RequestError
from llava_tools.images import open_image
from llava_tools.testing import ScriptedBackend
from tests.core.blocked_backend import PLACES, BlockedBackend, Place

TEXT = "The circle is red."
CALL = write_call(ToolCall("", "look", {"at": "img_1", "question": "which colour"}))
OTHER = write_call(ToolCall("", "look", {"at": "img_2", "question": "which colour"}))
HELLO = [ChatMessage("Which colour is the circle?")]


def look(at: str, question: str) -> str:
    """Look at an image."""
    return f"{at}: {question}"


LOOK = FunctionTool.from_defaults(look)


def _llm(*script: str, **options: Any) -> tuple[Llava, ScriptedBackend]:
    backend = ScriptedBackend(script or (TEXT,))
    return Llava(backend=backend, **options), backend


async def _collect(stream: AsyncIterator[Any]) -> list[Any]:
    return [chunk async for chunk in stream]


async def test_all_four_chat_methods_return_the_same_response() -> None:
    llm, backend = _llm()
    options: dict[str, Any] = {"max_tokens": 20, "logprobs": True}
    responses: list[ChatResponse] = [
        llm.chat(HELLO, **options),
        list(llm.stream_chat(HELLO, **options))[-1],
        await llm.achat(HELLO, **options),
        (await _collect(await llm.astream_chat(HELLO, **options)))[-1],
    ]
    assert len({response.model_dump_json(exclude={"delta"}) for response in responses}) == 1
    assert responses[0].message.content == TEXT
    assert [len(tokens) for tokens in responses[0].logprobs or []] == [1] * 4
    assert responses[0].raw
    assert responses[0].raw["finish_reason"] == "stop"
    assert responses[0].additional_kwargs["completion_tokens"] == 4
    assert len(set(map(repr, backend.requests))) == 1
    assert backend.requests[0].sampling == SamplingParams(max_tokens=20, logprobs=True)


async def test_each_chunk_has_the_log_probabilities_so_far() -> None:
    llm, _ = _llm()
    streams: list[list[Any]] = [
        list(llm.stream_chat(HELLO, logprobs=True)),
        await _collect(await llm.astream_chat(HELLO, logprobs=True)),
        list(llm.stream_complete("Hello", logprobs=True)),
        await _collect(await llm.astream_complete("Hello", logprobs=True)),
    ]
    for responses in streams:
        assert [len(response.logprobs) for response in responses] == [1, 2, 3, 4]
        assert responses[1].logprobs == responses[-1].logprobs[:2]
    assert next(iter(llm.stream_chat(HELLO))).logprobs is None


@pytest.mark.parametrize("script", [TEXT, CALL, f"{CALL}\n{OTHER}"])
def test_chunks_are_cumulative_and_end_with_the_whole_message(script: str) -> None:
    llm, _ = _llm(script)
    tools = {"tools": [LOOK]}
    chunks = list(llm.stream_chat(HELLO, **tools))
    whole = llm.chat(HELLO, **tools)
    assert "".join(chunk.delta or "" for chunk in chunks) == (whole.message.content or "")
    text = ""
    for before, chunk in pairwise(chunks):
        text += before.delta or ""
        assert (before.message.content or "") == text
        assert len(_calls(before)) <= len(_calls(chunk))
    last = chunks[-1].message
    assert last.content == whole.message.content
    assert [(c.tool_name, c.tool_kwargs) for c in _calls(chunks[-1])] == [
        (c.tool_name, c.tool_kwargs) for c in _calls(whole)
    ]
    assert len(_calls(whole)) == script.count("<tool_call>")


def _calls(response: ChatResponse) -> list[ToolCallBlock]:
    return [block for block in response.message.blocks if isinstance(block, ToolCallBlock)]


def test_closing_a_stream_stops_the_generation() -> None:
    llm, backend = _llm("one two three four")
    stream = llm.stream_chat(HELLO)
    next(stream)
    stream.close()
    assert backend.closed_early == 1
    completions = llm.stream_complete("hi")
    next(completions)
    completions.close()
    assert backend.closed_early == 2


async def test_closing_an_async_stream_stops_the_generation() -> None:
    for name in ("astream_chat", "astream_complete"):
        pauses, closed = itertools.count(1), threading.Event()

        def pause(pauses: Iterator[int] = pauses, closed: threading.Event = closed) -> None:
            if next(pauses) > 1:  # the first word comes at once, the others wait
                closed.wait(30)

        backend = ScriptedBackend(["one two three"], pause=pause)
        prompt: Any = HELLO if name == "astream_chat" else "hi"
        async with aclosing(await getattr(Llava(backend=backend), name)(prompt)) as stream:
            async for _ in stream:
                break
        async with asyncio.timeout(10):
            while not backend.closed_early:
                await asyncio.sleep(0)
        closed.set()


async def test_cancelling_a_task_stops_the_generation() -> None:
    started, cancelled = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def pause() -> None:
        loop.call_soon_threadsafe(started.set)
        asyncio.run_coroutine_threadsafe(cancelled.wait(), loop).result()

    backend = ScriptedBackend(["one two three"], pause=pause)
    task = asyncio.create_task(Llava(backend=backend).achat(HELLO))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert backend.closed_early == 1
    cancelled.set()


async def test_all_four_completion_methods_return_the_same_text(png: bytes) -> None:
    llm, backend = _llm()
    images = [ImageDocument(image=base64.b64encode(png).decode())]
    answers: list[CompletionResponse] = [
        llm.complete("What?", image_documents=images),
        list(llm.stream_complete("What?", image_documents=images))[-1],
        await llm.acomplete("What?", image_documents=images),
        (await _collect(await llm.astream_complete("What?", image_documents=images)))[-1],
    ]
    assert {answer.text for answer in answers} == {TEXT}
    assert {r.messages for r in backend.requests} == {
        (Message("user", (open_image(png), "What?")),)
    }
    chunks = list(llm.stream_complete("What?"))
    assert [chunk.text for chunk in chunks][:2] == ["The", "The circle"]
    assert "".join(chunk.delta or "" for chunk in chunks) == TEXT


@pytest.mark.parametrize("images", [None, [], ()])
async def test_all_four_completion_methods_take_no_images(images: Any) -> None:
    llm, backend = _llm()
    answers: list[CompletionResponse] = [
        llm.complete("What?", image_documents=images),
        list(llm.stream_complete("What?", image_documents=images))[-1],
        await llm.acomplete("What?", image_documents=images),
        (await _collect(await llm.astream_complete("What?", image_documents=images)))[-1],
    ]
    assert {answer.text for answer in answers} == {TEXT}
    assert {r.messages for r in backend.requests} == {(Message("user", ("What?",)),)}


async def test_all_four_chat_methods_answer_a_history_that_ends_with_the_assistant() -> None:
    llm, backend = _llm()
    history = [ChatMessage("Draw a circle."), ChatMessage("A circle.", role="assistant")]
    answers = [
        llm.chat(history),
        list(llm.stream_chat(history))[-1],
        await llm.achat(history),
        (await _collect(await llm.astream_chat(history)))[-1],
    ]
    assert {answer.message.content for answer in answers} == {TEXT}
    assert {tuple(m.role for m in r.messages) for r in backend.requests} == {("user", "assistant")}


def test_completion_to_prompt_is_applied_once() -> None:
    llm, backend = _llm(completion_to_prompt=lambda prompt: f"Q: {prompt}")
    llm.complete("a")
    llm.complete("b", formatted=True)
    assert [r.messages[0].text for r in backend.requests] == ["Q: a", "b"]


def test_the_system_prompt_reaches_predictions() -> None:
    llm, backend = _llm(system_prompt="Be brief.")
    assert llm.predict(PromptTemplate("Name a {noun}."), noun="fruit") == TEXT
    messages = backend.requests[0].messages
    assert messages == (Message("system", ("Be brief.",)), Message("user", ("Name a fruit.",)))


def test_options_of_a_call_override_the_fields() -> None:
    llm, backend = _llm(temperature=0.5, stop="circle", seed=1)
    assert llm.chat(HELLO).message.content == "The "
    llm.chat(HELLO, stop=["is", "red"], seed=2, max_tokens=3)
    assert backend.requests[1].sampling == SamplingParams(3, 0.5, stop=("is", "red"), seed=2)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"tempersture": 1}, "Did you mean 'temperature'"),
        ({"temperature": -1}, "temperature=-1"),
        ({"allow_local_paths": "maybe"}, "allow_local_paths='maybe'"),
        ({"allowed_hosts": ["http://x"]}, "not a host's name"),
        ({"model": ""}, "model=''"),
        ({"model": "7b", "model_name": "13b"}, "appears twice"),
        ({"quantization": "2bit"}, "quantization='2bit'"),
    ],
)
def test_bad_options_raise_in_the_constructor(options: dict[str, Any], error: str) -> None:
    with pytest.raises(RequestError, match=error) as caught:
        Llava(**options)
    assert "\n" not in str(caught.value)


def test_bad_calls_raise_before_the_backend_gets_a_request() -> None:
    llm, backend = _llm()
    for options in ({"tempersture": 1}, {"temperature": -1}, {"verbosity": "high"}):
        with pytest.raises(ValueError, match=r"temp|verb"):
            llm.chat(HELLO, **options)
    with pytest.raises(ValueError, match="no message"):
        llm.chat([])
    with pytest.raises(ValueError, match="no user message"):
        llm.chat([ChatMessage("Be brief.", role="system")])
    with pytest.raises(ValueError, match="context holds 4096"):
        llm.chat([ChatMessage("word " * 5000)])
    assert not backend.requests


def test_metadata_needs_no_model() -> None:
    assert Llava().metadata.context_window == 2048
    assert Llava(model="7b", max_tokens=99).metadata.num_output == 99
    synonym: dict[str, Any] = {"context_window": 1000}
    assert Llava(model="some/where", **synonym).metadata.context_window == 1000
    metadata = Llava(model="7b").metadata
    assert metadata.model_name == "7b"
    assert metadata.is_chat_model
    assert metadata.is_function_calling_model


def test_serializing_and_copying() -> None:
    llm = Llava(model="7b", temperature=0.5, stop=["x"], allowed_hosts=["b", "a"])
    assert Llava.from_dict(llm.to_dict()).to_dict() == llm.to_dict()
    assert pickle.loads(pickle.dumps(llm)).to_dict() == llm.to_dict()
    assert llm.model_copy(update={"seed": 1}).seed == 1
    if hasattr(llm, "to_payload"):  # from 0.14.23 on
        assert "temperature" not in llm.to_payload()


class EventRecorder(BaseEventHandler):
    """Records the names of LlamaIndex's events."""

    names: list[str]

    def handle(self, event: BaseEvent, **kwargs: Any) -> None:
        self.names.append(event.class_name())


async def test_events_and_callbacks(png: bytes) -> None:
    counter = TokenCountingHandler()
    llm, _ = _llm(callback_manager=CallbackManager([counter]))
    events = EventRecorder(names=[])
    get_dispatcher().add_event_handler(events)
    try:
        llm.chat([ChatMessage([ImageBlock(image=png), TextBlock(text="What is it?")])])
        await _collect(await llm.astream_chat(HELLO))
        llm.complete("hi")
    finally:
        get_dispatcher().event_handlers.remove(events)
    assert events.names[:2] == ["LLMChatStartEvent", "LLMChatEndEvent"]
    assert events.names.count("LLMChatInProgressEvent") == 4
    assert events.names[-2:] == ["LLMCompletionStartEvent", "LLMCompletionEndEvent"]
    assert counter.total_llm_token_count > 600  # an image is 576
    assert CBEventType.LLM not in counter.event_ends_to_ignore


def test_a_stream_that_ends_early_raises() -> None:
    class ClosingBackend(ScriptedBackend):
        def stream(self, request: Any) -> Any:
            stream = super().stream(request)
            stream.close()
            return stream

    llm = Llava(backend=ClosingBackend())
    with pytest.raises(EngineError, match="ended before"):
        list(llm.stream_chat(HELLO))


def test_a_closed_model_answers_again() -> None:
    llm, backend = _llm()
    llm.chat(HELLO)
    llm.close()
    assert llm.chat(HELLO).message.content == TEXT
    assert len(backend.requests) == 2


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("method", ["chat", "achat", "stream_chat", "astream_chat"])
async def test_timeout_raises_while_the_backend_blocks(method: str, place: Place) -> None:
    backend = BlockedBackend(place)
    llm = Llava(backend=backend, timeout=0.05)

    async def answer() -> None:
        if method in ("chat", "stream_chat"):
            list(getattr(llm, method)(HELLO))
        elif method == "achat":
            await llm.achat(HELLO)
        else:
            await _collect(await llm.astream_chat(HELLO))

    with pytest.raises(AnswerTimeoutError, match=r"timeout=0\.05"):
        await answer()
    assert not backend.resumed.is_set()
    backend.resume.set()


def test_max_retries_retries_a_full_queue() -> None:
    class FullOnce(ScriptedBackend):
        def stream(self, request: Request) -> Stream:
            if not self.requests:
                self.requests.append(request)
                raise QueueFullError("full")
            return super().stream(request)

    assert Llava(backend=FullOnce(["ok"]), max_retries=1).chat(HELLO).message.content == "ok"
    with pytest.raises(QueueFullError):
        Llava(backend=FullOnce(["ok"])).chat(HELLO)
