"""Calls of a toolkit's model are runs below the tool's: usage, tracers, caches, cancellation."""

from __future__ import annotations

import asyncio
import json
import threading
from dataclasses import replace
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import BaseCallbackHandler, get_usage_metadata_callback
from langchain_core.messages import BaseMessage, HumanMessage
from langchain_core.rate_limiters import InMemoryRateLimiter
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool
from langchain_core.tracers import BaseTracer
from langchain_core.tracers.schemas import Run

from langchain_llava import ChatLlava, LlavaSelector, LlavaToolkit
from langchain_llava.errors import LlavaTimeoutError
from llava_tools import Llava
from llava_tools.chat.tool_calls import write_call
from llava_tools.core.constraints import ToolCall
from llava_tools.core.requests import Request
from llava_tools.images.access import ImageResolver
from llava_tools.images.store import ImageStore
from llava_tools.testing import ScriptedBackend
from llava_tools.tools import TOOLS
from llava_tools.tools.selection import select_option
from tests.langchain.scripted import NamedBackend, until
from tests.langchain.visual_tools import ARGUMENTS, SCRIPTS, TALL, WIDE

#: Requests of each tool.
CALLS = {"compare": 2, "locate": 2}


class Tracer(BaseTracer):
    """Keeps the trees of runs."""

    def __init__(self) -> None:
        super().__init__()
        self.roots: list[Run] = []

    def _persist_run(self, run: Run) -> None:
        self.roots.append(run)


def backend_for(name: str, **options: Any) -> ScriptedBackend:
    def scores(request: Request, label: str) -> float:
        return {"dog": -0.25, "Yes": -0.5}.get(label, -2.0)

    return ScriptedBackend([SCRIPTS.get(name, "ok")], scores=scores, **options)


def tool_of(kit: LlavaToolkit, name: str) -> tuple[BaseTool, dict[str, Any]]:
    """Return a tool and arguments for it."""
    (tool,) = [tool for tool in kit.get_tools() if tool.name == name]
    handle = kit.add(WIDE)
    named = {"images": [handle, kit.add(TALL)]} if name == "compare" else {"image": handle}
    return tool, {**named, **ARGUMENTS[name]}


@pytest.fixture(params=[Llava, ChatLlava], ids=["Llava", "ChatLlava"])
def llm_class(request: pytest.FixtureRequest) -> type[Llava] | type[ChatLlava]:
    llm: type[Llava] | type[ChatLlava] = request.param
    return llm


@pytest.mark.parametrize("name", TOOLS)
def test_requests_and_results_equal_those_without_a_framework(
    name: str, llm_class: type[Llava] | type[ChatLlava]
) -> None:
    plain, chat = backend_for(name), backend_for(name)
    kit = LlavaToolkit(llm=llm_class(backend=chat), image_store=(store := ImageStore()))
    tool, arguments = tool_of(kit, name)
    expected = TOOLS[name].run(
        Llava(backend=plain), TOOLS[name].parse(arguments), ImageResolver(store)
    )
    assert tool.invoke(arguments) == str(expected)
    # Scores are returned as log-probabilities; scoring itself takes no sampling parameters.
    sent = [
        replace(request, sampling=replace(request.sampling, logprobs=False))
        for request in chat.requests
    ]
    assert len(sent) == len(plain.requests) == CALLS.get(name, 1)
    assert all(request in plain.requests for request in sent)


@pytest.mark.parametrize("name", TOOLS)
async def test_async_tools_return_the_same(name: str) -> None:
    tool, arguments = tool_of(LlavaToolkit(llm=ChatLlava(backend=backend_for(name))), name)
    assert await tool.ainvoke(arguments) == tool.invoke(arguments)


@pytest.mark.parametrize("name", TOOLS)
async def test_usage_of_tools_is_counted(
    name: str, llm_class: type[Llava] | type[ChatLlava]
) -> None:
    backend = backend_for(name)
    tool, arguments = tool_of(LlavaToolkit(llm=llm_class(backend=backend)), name)
    with get_usage_metadata_callback() as usage:
        tool.invoke(arguments)
    prompts = [backend.count_tokens(request) for request in backend.requests]
    assert usage.usage_metadata["scripted"]["input_tokens"] == sum(prompts)
    with get_usage_metadata_callback() as asynchronous:
        await tool.ainvoke(arguments)
    assert asynchronous.usage_metadata == usage.usage_metadata


@pytest.mark.parametrize("name", TOOLS)
async def test_model_runs_are_children_of_the_tools_run(
    name: str, llm_class: type[Llava] | type[ChatLlava]
) -> None:
    kit = LlavaToolkit(llm=llm_class(backend=backend_for(name)))
    tool, arguments = tool_of(kit, name)
    tracer = Tracer()
    config: RunnableConfig = {"callbacks": [tracer], "tags": ["t"], "metadata": {"user": "ann"}}
    tool.invoke(arguments, config)
    await tool.ainvoke(arguments, config)
    assert len(tracer.roots) == 2
    for root in tracer.roots:
        assert (root.run_type, root.name) == ("tool", name)
        assert [run.run_type for run in root.child_runs] == ["llm"] * CALLS.get(name, 1)
        for run in root.child_runs:
            assert (run.name, run.parent_run_id, run.error) == ("ChatLlava", root.id, None)
            assert "t" in (run.tags or [])
            assert run.metadata["user"] == "ann"
            assert run.metadata["ls_provider"] == "llava"
            assert str(run.inputs["prompts"][0]).startswith("Human: ")
            assert run.outputs is not None
            (generations,) = run.outputs["generations"]
            assert generations[0]["text"]


def test_scores_of_labels_are_in_the_trace() -> None:
    tool, arguments = tool_of(LlavaToolkit(llm=ChatLlava(backend=backend_for("choose"))), "choose")
    tracer = Tracer()
    result = json.loads(tool.invoke(arguments, {"callbacks": [tracer]}))
    assert result == {"label": "dog", "probabilities": {"cat": 0.148, "dog": 0.852}}
    (run,) = tracer.roots[0].child_runs
    assert run.outputs is not None
    ((generation,),) = run.outputs["generations"]
    assert generation["text"] == "dog"
    assert generation["generation_info"]["logprobs"]["content"][0]["top_logprobs"] == [
        {"token": "dog", "logprob": -0.25},
        {"token": "cat", "logprob": -2.0},
    ]
    assert run.extra is not None
    assert run.extra["invocation_params"]["labels"] == ["cat", "dog"]


def test_error_of_a_model_is_in_its_run_and_in_the_tools() -> None:
    backend = ScriptedBackend(pause=threading.Event().wait)
    kit = LlavaToolkit(llm=ChatLlava(backend=backend, timeout=0.01))
    tool, arguments = tool_of(kit, "look")
    tracer = Tracer()
    with pytest.raises(LlavaTimeoutError):
        tool.invoke(arguments, {"callbacks": [tracer]})
    (root,) = tracer.roots
    (run,) = root.child_runs
    assert "timeout=0.01" in str(run.error)
    assert "timeout=0.01" in str(root.error)


def test_options_of_the_chat_models_conversations_do_not_reach_the_tools() -> None:
    plain, chat = backend_for("look"), backend_for("look")
    model = ChatLlava(
        backend=chat, system="Answer in French.", temperature=0.9, max_tokens=3, stop=["k"], seed=1
    )
    tool, arguments = tool_of(LlavaToolkit(llm=model), "look")
    other, _ = tool_of(LlavaToolkit(llm=Llava(backend=plain)), "look")
    assert tool.invoke(arguments) == other.invoke(arguments) == '{"text":"ok"}'
    assert chat.requests == plain.requests
    assert (model.system, model.temperature) == ("Answer in French.", 0.9)


class Handler(BaseCallbackHandler):
    """Keeps what chat models begin with, and their tokens."""

    def __init__(self) -> None:
        self.starts: list[dict[str, Any]] = []
        self.messages: list[BaseMessage] = []
        self.tokens: list[str] = []

    def on_chat_model_start(self, serialized: Any, messages: Any, **kwargs: Any) -> None:
        self.starts.append(kwargs)
        self.messages += messages[0]

    def on_llm_new_token(self, token: Any, **kwargs: Any) -> None:
        self.tokens.append(token)


def test_callbacks_tags_and_metadata_of_the_chat_model_count() -> None:
    model = ChatLlava(
        backend=ScriptedBackend(["one two"]),
        callbacks=[handler := Handler()],
        tags=["eyes"],
        metadata={"team": "a"},
        streaming=True,
    )
    tool, arguments = tool_of(LlavaToolkit(llm=model), "look")
    tool.invoke(arguments)
    (start,) = handler.starts
    assert "eyes" in start["tags"]
    assert start["metadata"]["team"] == "a"
    assert handler.tokens == ["one", " two"]
    image = {"type": "image", "file_id": arguments["image"]}
    (message,) = handler.messages
    assert message.content == [image, {"type": "text", "text": "What is it?"}]


@pytest.mark.parametrize("name", TOOLS)
async def test_cache_answers_the_same_call(name: str) -> None:
    backend = backend_for(name)
    kit = LlavaToolkit(llm=ChatLlava(backend=backend, cache=InMemoryCache()))
    tool, arguments = tool_of(kit, name)
    first = tool.invoke(arguments)
    requests = len(backend.requests)
    assert tool.invoke(arguments) == await tool.ainvoke(arguments) == first
    assert len(backend.requests) == requests
    other = {**arguments, "image": kit.add(TALL)}
    if name not in ("compare", "zoom"):
        tool.invoke(other)
        assert len(backend.requests) == 2 * requests


def test_cache_parts_the_answers_of_users_with_stores_of_their_own() -> None:
    cache, backend = InMemoryCache(), ScriptedBackend(["one", "two", "three"])
    model = ChatLlava(backend=backend, cache=cache)
    answers = []
    for store in (first := ImageStore(), ImageStore(), first, None, None):
        tool, arguments = tool_of(LlavaToolkit(llm=model, image_store=store), "look")
        answers.append(json.loads(tool.invoke(arguments))["text"])
    assert answers == ["one", "two", "one", "three", "three"]


def test_rate_limiter_counts_every_request() -> None:
    class Limiter(InMemoryRateLimiter):
        acquired = 0

        def acquire(self, *, blocking: bool = True) -> bool:
            type(self).acquired += 1
            return True

    model = ChatLlava(backend=backend_for("locate"), rate_limiter=Limiter())
    tool, arguments = tool_of(LlavaToolkit(llm=model), "locate")
    tool.invoke(arguments)
    assert Limiter.acquired == 2


@pytest.mark.parametrize("name", ["look", "compare"])
async def test_cancelling_stops_the_generation(
    name: str, llm_class: type[Llava] | type[ChatLlava]
) -> None:
    resume = threading.Event()
    backend = backend_for(name, pause=resume.wait)
    tool, arguments = tool_of(LlavaToolkit(llm=llm_class(backend=backend)), name)
    tracer = Tracer()
    task = asyncio.ensure_future(tool.ainvoke(arguments, {"callbacks": [tracer]}))
    await until(lambda: len(backend.requests) == CALLS.get(name, 1))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    resume.set()
    await until(lambda: backend.closed_early == CALLS.get(name, 1))


async def test_max_concurrency_of_the_config_bounds_requests() -> None:
    running = 0
    most = 0
    lock = threading.Lock()

    def respond(request: Request) -> str:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        with lock:
            running -= 1
        return "ok"

    tool, arguments = tool_of(
        LlavaToolkit(llm=ChatLlava(backend=ScriptedBackend(respond))), "compare"
    )
    config: RunnableConfig = {"max_concurrency": 1}
    assert tool.invoke(arguments, config) == await tool.ainvoke(arguments, config)
    assert most == 1


def test_requests_of_one_call_are_sent_together() -> None:
    both = threading.Barrier(2)
    backend = ScriptedBackend(pause=lambda: both.wait(10))
    tool, arguments = tool_of(LlavaToolkit(llm=ChatLlava(backend=backend)), "compare")
    assert json.loads(tool.invoke(arguments)) == {"same": True, "answers": ["ok", "ok"]}


def test_images_of_the_chat_models_store_are_opened() -> None:
    store = ImageStore()
    model = ChatLlava(backend=backend_for("look"), image_store=store)
    kit = LlavaToolkit(llm=model)
    tool, arguments = tool_of(kit, "look")
    assert arguments["image"] in store
    assert json.loads(tool.invoke(arguments)) == {"text": "ok"}
    other = LlavaToolkit(llm=model, image_store=ImageStore())
    (look,) = [tool for tool in other.get_tools() if tool.name == "look"]
    assert "no picture" in look.invoke(arguments)


def test_images_that_the_store_dropped_meanwhile_are_still_seen() -> None:
    kit = LlavaToolkit(
        llm=ChatLlava(backend=backend_for("compare")), image_store=(store := ImageStore(300_000))
    )
    tool, arguments = tool_of(kit, "compare")
    kit.llm.backend._pause = store.clear  # type: ignore[union-attr]
    assert json.loads(tool.invoke(arguments))["same"] is True


def test_agent_reports_usage_and_tokens_of_its_tools() -> None:
    def plan(request: Request) -> str:
        if request.messages[-1].role == "tool":
            return "It says one two."
        return write_call(ToolCall("", "look", {"image": handle, "question": "?"}))

    kit = LlavaToolkit(llm=ChatLlava(backend=NamedBackend("eyes")))
    handle = kit.add(WIDE)
    agent = create_agent(ChatLlava(backend=ScriptedBackend(plan)), kit.get_tools())
    with get_usage_metadata_callback() as usage:
        updates: list[Any] = list(
            agent.stream({"messages": [HumanMessage("Look.")]}, stream_mode="messages")
        )
    assert usage.usage_metadata["eyes"]["output_tokens"] == 1
    nodes = [meta["langgraph_node"] for chunk, meta in updates if chunk.text == "hello"]
    assert nodes == ["tools"]


async def test_selectors_score_through_the_same_way() -> None:
    backend = ScriptedBackend(scores=lambda request, label: -1.0 if "shop" in label else -2.0)
    options = {"weather": "Rain.", "shop": "Prices."}
    selector = LlavaSelector(llm=ChatLlava(backend=backend), options=options)
    expected = select_option(Llava(backend=backend), "What is tea?", (), options)
    tracer = Tracer()
    with get_usage_metadata_callback() as usage:
        choice = selector.invoke("What is tea?", {"callbacks": [tracer]})
        assert await selector.ainvoke("What is tea?", {"callbacks": [tracer]}) == choice
    assert choice == expected
    assert [[run.run_type for run in root.child_runs] for root in tracer.roots] == [["llm"] * 2] * 2
    requests = [
        replace(request, sampling=replace(request.sampling, logprobs=False))
        for request in backend.requests
    ]
    assert requests == requests[:2] * 3
    tokens = sum(backend.count_tokens(request) for request in requests[2:])
    assert usage.usage_metadata["scripted"]["input_tokens"] == tokens
