"""Work through LangChain: `ChatLlava`, agents and the toolkit."""

from __future__ import annotations

import asyncio
import base64
import random
from contextlib import aclosing
from typing import Any, Literal, cast

from langchain.agents import create_agent
from langchain_core.messages import HumanMessage
from langgraph.checkpoint.memory import InMemorySaver
from pydantic import BaseModel

from benchmarks.server_load import IMAGES, QUESTIONS
from benchmarks.soak.scene import BAD_SCHEMA, DAMAGED, MAX_TOKENS, Scene, new_image
from langchain_llava import ChatLlava, LlavaToolkit, image_block
from langchain_llava.middleware import ImageHandleMiddleware
from langchain_llava.planner_middleware import OutputErrorMiddleware, RepeatedCallMiddleware
from llava_tools.errors import (
    AnswerTimeoutError,
    ContextOverflowError,
    ImageError,
    OutputError,
    SchemaError,
)

_TOWNS = ("Oslo", "Rome", "Lima")


class Star(BaseModel):
    """A star."""

    colour: Literal["red", "yellow", "blue"]


def get_weather(town: str) -> str:
    """Get the weather in a town."""
    return "rain"


def _model(scene: Scene, **options: Any) -> ChatLlava:
    return ChatLlava(image_store=scene.store, **{"max_tokens": MAX_TOKENS, **options})


def _message(scene: Scene, image: Any, question: str) -> HumanMessage:
    return HumanMessage([image_block(image, scene.store), question])


def invoke(scene: Scene, rng: random.Random) -> None:
    """Invoke with an image, whole and streamed."""
    image, question, answer = scene.known(rng)
    message, model = _message(scene, image, question), _model(scene)
    scene.outcomes.equal("langchain invoke", model.invoke([message]).text, answer)
    text = "".join(chunk.text for chunk in model.stream([message]))
    scene.outcomes.equal("langchain stream", text, answer)


def new_images(scene: Scene, rng: random.Random) -> None:
    """Invoke with images that no cache has; the answer is that of the model itself."""
    for _ in range(3):
        image = new_image(rng)
        answer = scene.model.ask(QUESTIONS[1], image, max_tokens=MAX_TOKENS).text
        found = _model(scene).invoke([_message(scene, image, QUESTIONS[1])]).text
        scene.outcomes.equal("langchain new image", found, answer)


def batch(scene: Scene, rng: random.Random) -> None:
    """Ask about several images in a batch."""
    known = [scene.known(rng) for _ in range(5)]
    messages: list[Any] = [[_message(scene, image, question)] for image, question, _ in known]
    found = [message.text for message in _model(scene).batch(messages)]
    scene.outcomes.equal("langchain batch", found, [answer for *_, answer in known])


def abandoned(scene: Scene, rng: random.Random) -> None:
    """Leave streams after their first chunk: closed, dropped, and asynchronous."""
    message, model = _message(scene, new_image(rng), QUESTIONS[1]), _model(scene, max_tokens=200)

    async def leave() -> None:
        async with aclosing(cast(Any, model.astream([message]))) as stream:
            async for _ in stream:
                break

    asyncio.run(leave())
    for _ in model.stream([message]):
        break


def cancelled(scene: Scene, rng: random.Random) -> None:
    """Cancel tasks while they wait for an answer."""
    model = _model(scene, max_tokens=200)
    messages = [[_message(scene, new_image(rng), QUESTIONS[1])] for _ in range(3)]

    async def cancel() -> None:
        tasks = [asyncio.create_task(model.ainvoke(message)) for message in messages]
        await asyncio.sleep(rng.random() * 0.05)
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        for result in results:  # cancelled, or answered before
            if isinstance(result, Exception):
                raise result

    asyncio.run(cancel())


def timeouts(scene: Scene, rng: random.Random) -> None:
    """Allow too little time."""
    message = _message(scene, new_image(rng), QUESTIONS[1])
    with scene.outcomes.error(AnswerTimeoutError, "timeout"):
        _model(scene, timeout=0.0005, max_retries=0).invoke([message])


def tools(scene: Scene, rng: random.Random) -> None:
    """Call a tool, and let an agent call one."""
    town = rng.choice(_TOWNS)
    question = f"What is the weather in {town}?"
    bound = _model(scene, max_tokens=60).bind_tools([get_weather], tool_choice="any")
    calls = [(call["name"], call["args"]) for call in bound.invoke(question).tool_calls]
    scene.outcomes.same(f"langchain tool calls {town}", calls)
    middleware = [RepeatedCallMiddleware(limit=2), OutputErrorMiddleware()]
    agent: Any = create_agent(_model(scene, max_tokens=60), [get_weather], middleware=middleware)
    state = agent.invoke({"messages": [("user", question)]})
    scene.outcomes.same(f"langchain agent {town}", [message.text for message in state["messages"]])


def conversation(scene: Scene, rng: random.Random) -> None:
    """Have a conversation of four turns about one image, with checkpoints."""
    image, saver = rng.choice(IMAGES), InMemorySaver()
    middleware = [ImageHandleMiddleware(scene.store)]
    agent: Any = create_agent(_model(scene), [], middleware=middleware, checkpointer=saver)
    config = {"configurable": {"thread_id": "1"}}
    data = base64.b64encode(image.read_bytes()).decode()
    first: Any = {"type": "image", "base64": data, "mime_type": "image/png"}
    texts = []
    for turn, question in enumerate((*QUESTIONS, "Are you sure?")):
        message = HumanMessage([first, question] if turn == 0 else [question])
        state = agent.invoke({"messages": [message]}, config)
        texts.append(state["messages"][-1].text)
    scene.outcomes.same(f"langchain conversation {image.name}", texts)


def structured(scene: Scene, rng: random.Random) -> None:
    """Predict a structure; an answer that is cut off is an error."""
    image, *_ = scene.known(rng)
    message = _message(scene, image, QUESTIONS[0])
    star = _model(scene).with_structured_output(Star).invoke([message])
    scene.outcomes.same(f"langchain structured {image.name}", repr(star))
    with scene.outcomes.error(OutputError, "cut off"):
        _model(scene, max_tokens=2).with_structured_output(Star).invoke([message])


def errors(scene: Scene, rng: random.Random) -> None:
    """Send what cannot be answered."""
    model = _model(scene)
    data = base64.b64encode(DAMAGED).decode()
    block = {"type": "image", "base64": data, "mime_type": "image/png"}
    with scene.outcomes.error(ImageError, "damaged image"):
        model.invoke([HumanMessage([block, QUESTIONS[0]])])
    with scene.outcomes.error(SchemaError, "bad schema"):
        model.with_structured_output(BAD_SCHEMA, strict=True).invoke("Hello!")
    with scene.outcomes.error(ContextOverflowError, "long prompt"):
        model.invoke("word " * rng.randint(5000, 9000))


def dropped_image(scene: Scene, rng: random.Random) -> None:
    """Name an image that was removed from its store."""
    block = image_block(new_image(rng), scene.store)
    scene.store.remove(block["file_id"])
    with scene.outcomes.error(ImageError, "dropped image"):
        _model(scene).invoke([HumanMessage([block, QUESTIONS[0]])])


def toolkit(scene: Scene, rng: random.Random) -> None:
    """Use the toolkit's tools about one image."""
    tools = LlavaToolkit(llm=_model(scene), image_store=scene.store)
    image = rng.choice(IMAGES)
    handle = tools.add(image)
    arguments: dict[str, dict[str, Any]] = {
        "look": {"question": QUESTIONS[0]},
        "locate": {"thing": "the star"},
        "count": {"things": "stars"},
        "choose": {"question": QUESTIONS[0], "labels": ["red", "yellow", "blue"]},
        "read_text": {},
        "describe": {"detail": "brief"},
        "zoom": {"box": [10, 10, 100, 100], "question": "What is it?"},
    }
    for tool in tools.get_tools():
        if tool.name in arguments:
            found = tool.invoke({"image": handle, **arguments[tool.name]})
            scene.outcomes.same(f"langchain {tool.name} {image.name}", found)
    result = tools.get_tools()[0].invoke({"image": "img_0", "question": "What?"})
    scene.outcomes.same("langchain look at an unknown image", result)


WORK = (
    invoke,
    new_images,
    batch,
    abandoned,
    cancelled,
    timeouts,
    tools,
    conversation,
    structured,
    errors,
    dropped_image,
    toolkit,
)
