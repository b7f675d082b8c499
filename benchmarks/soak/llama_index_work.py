"""Work through LlamaIndex: its LLM, structures and tools."""

from __future__ import annotations

import asyncio
import random
from contextlib import aclosing
from typing import Any, Literal, cast

from llama_index.core.llms import ChatMessage, ImageBlock, TextBlock
from llama_index.core.schema import ImageDocument
from llama_index.core.tools import FunctionTool
from pydantic import BaseModel

from benchmarks.server_load import IMAGES, QUESTIONS
from benchmarks.soak.langchain_work import get_weather
from benchmarks.soak.scene import DAMAGED, MAX_TOKENS, Scene, new_image
from llama_index.llms.llava import Llava
from llama_index.tools.llava import LlavaToolSpec
from llava_tools.errors import AnswerTimeoutError, ContextOverflowError, ImageError


class Star(BaseModel):
    """A star."""

    colour: Literal["red", "yellow", "blue"]


def _llm(scene: Scene, **options: Any) -> Llava:
    return Llava(image_store=scene.store, **{"max_tokens": MAX_TOKENS, **options})


def _message(image: bytes, question: str) -> ChatMessage:
    return ChatMessage(blocks=[ImageBlock(image=image), TextBlock(text=question)])


def chat(scene: Scene, rng: random.Random) -> None:
    """Chat about an image: whole, streamed, and as a completion."""
    image, question, answer = scene.known(rng)
    message, llm = _message(image.read_bytes(), question), _llm(scene)
    scene.outcomes.equal("llama_index chat", llm.chat([message]).message.content, answer)
    text = "".join(chunk.delta or "" for chunk in llm.stream_chat([message]))
    scene.outcomes.equal("llama_index stream", text, answer)
    document = ImageDocument(image_path=str(image))
    found = llm.complete(question, image_documents=[document]).text
    scene.outcomes.equal("llama_index complete", found, answer)


def asynchronous(scene: Scene, rng: random.Random) -> None:
    """Chat in an event loop: answers, a stream that is left, and a task that is cancelled."""
    image, question, answer = scene.known(rng)
    llm = _llm(scene)
    known = _message(image.read_bytes(), question)
    fresh = _message(new_image(rng), QUESTIONS[1])

    async def run() -> list[str | None]:
        answers = await asyncio.gather(*(llm.achat([known]) for _ in range(3)))
        async with aclosing(cast(Any, await llm.astream_chat([fresh]))) as stream:
            async for _ in stream:
                break
        task = asyncio.create_task(llm.achat([fresh], max_tokens=200))
        await asyncio.sleep(rng.random() * 0.05)
        task.cancel()
        results = await asyncio.gather(task, return_exceptions=True)
        if isinstance(results[0], Exception):
            raise results[0]
        return [response.message.content for response in answers]

    scene.outcomes.equal("llama_index achat", asyncio.run(run()), [answer] * 3)


def structured(scene: Scene, rng: random.Random) -> None:
    """Predict a structure, and call a tool."""
    image = rng.choice(IMAGES)
    message = _message(image.read_bytes(), QUESTIONS[0])
    star = _llm(scene).as_structured_llm(Star).chat([message]).raw
    scene.outcomes.same(f"llama_index structured {image.name}", repr(star))
    tool = FunctionTool.from_defaults(get_weather)
    question = "What is the weather in Oslo?"
    llm = _llm(scene, max_tokens=60)
    called = llm.predict_and_call([tool], question, tool_required=True)
    scene.outcomes.same("llama_index tool", str(called))


def errors(scene: Scene, rng: random.Random) -> None:
    """Send what cannot be answered, and allow too little time."""
    llm = _llm(scene)
    with scene.outcomes.error(ImageError, "damaged image"):
        llm.chat([_message(DAMAGED, QUESTIONS[0])])
    with scene.outcomes.error(ContextOverflowError, "long prompt"):
        llm.complete("word " * rng.randint(5000, 9000))
    with scene.outcomes.error(AnswerTimeoutError, "timeout"):
        late = _llm(scene, timeout=0.0005, max_retries=0)
        late.chat([_message(new_image(rng), QUESTIONS[1])])


def tools(scene: Scene, rng: random.Random) -> None:
    """Use the tools of a tool spec."""
    spec = LlavaToolSpec(tools=["look", "count"], image_store=scene.store)
    image = rng.choice(IMAGES)
    handle = spec.add(image)
    look, count = spec.to_tool_list()
    found = look.call(image=handle, question=QUESTIONS[0]).content
    scene.outcomes.same(f"llama_index look {image.name}", found)
    scene.outcomes.same(
        f"llama_index count {image.name}", count.call(image=handle, things="stars").content
    )


WORK = (chat, asynchronous, structured, errors, tools)
