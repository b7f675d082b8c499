"""`ImageHandleMiddleware`: handles in the state, bytes or names for the model."""

from __future__ import annotations

import base64
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import ModelFallbackMiddleware
from langchain_core.language_models import BaseChatModel, ModelProfile
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command
from PIL import Image
from pydantic import Field

from langchain_llava import ChatLlava, LlavaToolkit, image_block
from langchain_llava import compat as langchain
from langchain_llava.middleware import ImageHandleMiddleware
from llava_tools.core.requests import Request
from llava_tools.images import open_image
from llava_tools.images.store import ImageStore
from llava_tools.model import Llava
from llava_tools.testing import ScriptedBackend
from tests.langchain.test_imports import run
from tests.strategies import encoded

GREEN, RED = (encoded(Image.new("RGB", (9, 9), colour), "PNG") for colour in ("green", "red"))
GREEN_HANDLE, RED_HANDLE = open_image(GREEN).handle, open_image(RED).handle
SEES = ModelProfile(image_inputs=True)
BLIND = ModelProfile(image_inputs=False)


def inline(data: bytes) -> dict[str, Any]:
    return {
        "type": "image",
        "base64": base64.b64encode(data).decode(),
        "mime_type": "image/png",
    }


def named(handle: str) -> dict[str, Any]:
    return {"type": "image", "file_id": handle}


def text(handle: str) -> dict[str, Any]:
    return {"type": "text", "text": f"[image {handle}]"}


class Planner(BaseChatModel):
    """A model of another provider: calls `paint`, then answers; keeps what it was sent."""

    seen: list[list[BaseMessage]] = Field(default_factory=list)
    call: dict[str, Any] | None = None
    fails: bool = False

    @property
    def _llm_type(self) -> str:
        return "planner"

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self

    def _answer(self, messages: list[BaseMessage]) -> dict[str, Any]:
        if self.fails:
            raise ConnectionError("down")
        self.seen.append(messages)
        if self.call and messages[-1].type == "human" and len(messages) == 1:
            return {"content": "", "tool_calls": [{**self.call, "id": "1"}]}
        return {"content": "Done."}

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        message = AIMessage(**self._answer(messages))
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _stream(
        self, messages: list[BaseMessage], *args: Any, **kwargs: Any
    ) -> Iterator[ChatGenerationChunk]:
        yield ChatGenerationChunk(message=AIMessageChunk(**self._answer(messages)))

    async def _astream(
        self, messages: list[BaseMessage], *args: Any, **kwargs: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        yield ChatGenerationChunk(message=AIMessageChunk(**self._answer(messages)))


@tool
def paint() -> list[dict[str, Any]]:
    """Paint an image."""
    return [{"type": "text", "text": "Here:"}, inline(RED)]


async def finish(agent: Any, state: Any, way: str, config: Any = None) -> Any:
    """Run an agent in one of LangGraph's ways, and return the last state."""
    if way == "invoke":
        return agent.invoke(state, config)
    if way == "ainvoke":
        return await agent.ainvoke(state, config)
    if way == "stream":
        return list(agent.stream(state, config, stream_mode=["messages", "values"]))[-1][1]
    modes = ["messages", "values"]
    return [item async for item in agent.astream(state, config, stream_mode=modes)][-1][1]


WAYS = pytest.mark.parametrize("way", ["invoke", "ainvoke", "stream", "astream"])


@WAYS
@pytest.mark.parametrize("profile", [SEES, BLIND], ids=["sees", "blind"])
async def test_state_has_handles_and_the_model_bytes_or_names(
    profile: ModelProfile, way: str
) -> None:
    model = Planner(profile=profile, call={"name": "paint", "args": {}})
    agent = create_agent(model, [paint], middleware=[ImageHandleMiddleware(ImageStore())])
    state: Any = {"messages": [HumanMessage([inline(GREEN), "Paint it red."])]}
    messages = (await finish(agent, state, way))["messages"]
    assert messages[0].content == [named(GREEN_HANDLE), "Paint it red."]
    assert messages[2].content == [{"type": "text", "text": "Here:"}, named(RED_HANDLE)]
    assert [message.type for message in messages] == ["human", "ai", "tool", "ai"]
    green, red = inline(GREEN), inline(RED)
    if profile is BLIND:
        green, red = text(GREEN_HANDLE), text(RED_HANDLE)
    assert [message.content[0] for message in (model.seen[0][0], model.seen[1][0])] == [green] * 2
    assert model.seen[1][2].content == [{"type": "text", "text": "Here:"}, red]


@WAYS
async def test_chat_llava_gets_handles_of_the_same_store(way: str) -> None:
    store, backend = ImageStore(), ScriptedBackend(lambda request: "Green.")
    model = ChatLlava(backend=backend, image_store=store)
    agent = create_agent(model, middleware=[ImageHandleMiddleware(store)])
    state: Any = {"messages": [{"role": "user", "content": [inline(GREEN), "Which colour?"]}]}
    messages = (await finish(agent, state, way))["messages"]
    assert messages[0].content == [named(GREEN_HANDLE), "Which colour?"]
    assert messages[1].text == "Green."
    assert [image.data for image in backend.requests[0].messages[0].images] == [GREEN]


def test_chat_llava_with_another_store_gets_bytes() -> None:
    backend = ScriptedBackend(lambda request: "Green.")
    model = ChatLlava(backend=backend, image_store=ImageStore())
    agent = create_agent(model, middleware=[ImageHandleMiddleware(ImageStore())])
    agent.invoke({"messages": [HumanMessage([inline(GREEN), "Which colour?"])]})
    assert [image.data for image in backend.requests[0].messages[0].images] == [GREEN]


def test_argument_decides_where_the_profile_does_not() -> None:
    state: Any = {"messages": [HumanMessage([inline(GREEN), "?"])]}
    for image_inputs, block in ((True, inline(GREEN)), (False, text(GREEN_HANDLE))):
        model = Planner()
        middleware = ImageHandleMiddleware(ImageStore(), image_inputs=image_inputs)
        create_agent(model, middleware=[middleware]).invoke(state)
        assert model.seen[0][0].content[0] == block
    agent = create_agent(Planner(), middleware=[ImageHandleMiddleware(ImageStore())])
    with pytest.raises(langchain.ModelInvalidRequestError, match=r"Planner.*image_inputs=True or"):
        agent.invoke(state)
    agent.invoke({"messages": [HumanMessage("No images, no question.")]})


def test_profile_goes_before_the_argument() -> None:
    model = Planner(profile=BLIND)
    middleware = ImageHandleMiddleware(ImageStore(), image_inputs=True)
    agent = create_agent(model, middleware=[middleware])
    agent.invoke({"messages": [HumanMessage([inline(GREEN), "?"])]})
    assert model.seen[0][0].content[0] == text(GREEN_HANDLE)


def test_fallback_model_gets_what_it_can_read() -> None:
    first, second = Planner(profile=SEES, fails=True), Planner(profile=BLIND)
    middleware = [ModelFallbackMiddleware(second), ImageHandleMiddleware(ImageStore())]
    agent = create_agent(first, middleware=middleware)
    agent.invoke({"messages": [HumanMessage([inline(GREEN), "?"])]})
    assert second.seen[0][0].content[0] == text(GREEN_HANDLE)


def test_images_of_tools_follow_for_models_that_take_none_in_tool_messages() -> None:
    profile = ModelProfile(image_inputs=True, image_tool_message=False)
    model = Planner(profile=profile, call={"name": "paint", "args": {}})
    agent = create_agent(model, [paint], middleware=[ImageHandleMiddleware(ImageStore())])
    messages = agent.invoke({"messages": [HumanMessage("Paint.")]})["messages"]
    assert [message.type for message in messages] == ["human", "ai", "tool", "ai"]
    *_, tool_message, images = model.seen[1]
    assert tool_message.content == [{"type": "text", "text": "Here:"}, text(RED_HANDLE)]
    assert images == HumanMessage([text(RED_HANDLE), inline(RED)])


@WAYS
async def test_command_of_a_tool_and_an_image_that_cannot_be_used(way: str) -> None:
    from langchain_core.messages import ToolMessage

    @tool
    def update() -> Command[Any]:
        """Return images in a command."""
        broken = {"type": "image", "base64": "AAAA", "mime_type": "image/png"}
        message = ToolMessage([inline(RED), broken], tool_call_id="1")
        return Command(update={"messages": [message]})

    model = Planner(profile=SEES, call={"name": "update", "args": {}})
    agent = create_agent(model, [update], middleware=[ImageHandleMiddleware(ImageStore())])
    messages = (await finish(agent, {"messages": [HumanMessage("Go.")]}, way))["messages"]
    image, broken = messages[2].content
    assert image == named(RED_HANDLE)
    assert broken["text"].startswith("[image that cannot be used: data URL is not an image")


def test_unusable_image_of_the_user_raises() -> None:
    agent = create_agent(Planner(profile=SEES), middleware=[ImageHandleMiddleware(ImageStore())])
    with pytest.raises(langchain.ModelInvalidRequestError, match="local path"):
        agent.invoke({"messages": [HumanMessage([{"type": "image", "url": "/etc/hostname"}])]})


def test_checkpoints_after_the_first_turn_are_small(large_image: bytes) -> None:
    saver, backend = InMemorySaver(), ScriptedBackend(lambda request: "Noise.")
    store = ImageStore()
    model = ChatLlava(backend=backend, image_store=store)
    agent = create_agent(model, middleware=[ImageHandleMiddleware(store)], checkpointer=saver)
    config: Any = {"configurable": {"thread_id": "1"}}
    agent.invoke({"messages": [HumanMessage([inline(large_image), "What is it?"])]}, config)
    for _ in range(3):
        agent.invoke({"messages": [HumanMessage("Sure?")]}, config)
    assert len(backend.requests[-1].messages[0].images[0].data) == len(large_image)
    assert len(str(agent.get_state(config))) < 20_000


def test_blind_planner_passes_the_name_on_to_a_visual_tool() -> None:
    store = ImageStore()

    def look(request: Request) -> str:
        return "green" if request.messages[-1].images[0].data == GREEN else "?"

    llm = Llava(backend=ScriptedBackend(look))
    toolkit = LlavaToolkit(llm=llm, image_store=store, tools=("look",))
    arguments = {"image": GREEN_HANDLE, "question": "Which colour?"}
    model = Planner(profile=BLIND, call={"name": "look", "args": arguments})
    middleware = [ImageHandleMiddleware(store)]
    agent = create_agent(model, toolkit.get_tools(), middleware=middleware)
    state: Any = {"messages": [HumanMessage([image_block(GREEN, store), "Which colour?"])]}
    assert "green" in agent.invoke(state)["messages"][2].text


def test_import_without_langchain_names_the_extra() -> None:
    process = run(
        "import sys, langchain_llava\n"
        "sys.modules['langchain'] = None\n"
        "import langchain_llava.middleware"
    )
    last = process.stderr.strip().splitlines()[-1]
    assert last.startswith("llava_tools.errors.MissingExtraError: langchain is not installed")
    assert "the extra 'agents'" in last
    assert sys.modules["langchain"] is not None
