"""`LlavaMemory`: ten turns about one image, in handles, in any process."""

from __future__ import annotations

import base64
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.llms import ChatMessage, ImageBlock, MockLLM, TextBlock
from llama_index.core.tools import FunctionTool
from PIL import Image

from llama_index.llms.llava import Llava, LlavaMemory
from llava_tools.chat.tool_calls import write_call
from llava_tools.core.constraints import ToolCall
from llava_tools.core.requests import Message, Request
from llava_tools.errors import ImageError, RequestError
from llava_tools.images import open_image
from llava_tools.images.store import ImageStore
from llava_tools.testing import ScriptedBackend
from tests.strategies import encoded

ROOT = Path(__file__).parent.parent.parent
GREEN, RED = (encoded(Image.new("RGB", (5, 4), colour), "PNG") for colour in ("green", "red"))


def question(*images: bytes, text: str = "What is it?") -> ChatMessage:
    blocks = [*(ImageBlock(image=image) for image in images), TextBlock(text=text)]
    return ChatMessage(role="user", blocks=blocks)


def images(message: Message) -> list[bytes]:
    return [image.data for image in message.images]


@pytest.mark.parametrize("words", [5, 700], ids=["short", "long"])
async def test_e8_ten_turns_about_one_image_keep_it(words: int) -> None:
    """Long answers push the first message out of the history, but not its image."""
    backend = ScriptedBackend(lambda request: "green " * words)
    llm = Llava(backend=backend, image_store=ImageStore(), max_tokens=800)
    memory, agent = LlavaMemory.from_defaults(llm), FunctionAgent(llm=llm)
    for turn in range(10):
        message = question(GREEN) if turn == 0 else question(text=f"And now, {turn}?")
        await agent.run(message, memory=memory)
    assert [images(request.messages[0]) for request in backend.requests] == [[GREEN]] * 10
    for request in backend.requests:
        assert request.messages[-1].images == () or request is backend.requests[0] or words == 700
    lengths = [len(request.messages) for request in backend.requests]
    assert lengths == list(range(1, 20, 2)) if words == 5 else max(lengths) < 8


async def test_last_images_are_kept_in_order() -> None:
    memory = LlavaMemory.from_defaults(token_limit=400, kept_images=2, tokenizer_fn=str.split)
    blue = encoded(Image.new("RGB", (5, 4), "blue"), "PNG")
    for image in (GREEN, RED, blue, RED):
        await memory.aput_messages([question(image), ChatMessage("It is.", role="assistant")])
    await memory.aput(question(text="Which?"))
    [message, *_] = await memory.aget()
    backend = ScriptedBackend()
    Llava(backend=backend).chat(await memory.aget())
    assert images(backend.requests[0].messages[0]) == [blue, RED]
    assert message.blocks[-1] == TextBlock(text="Which?")


async def test_images_are_stored_as_handles_and_tools_images_too() -> None:
    store = ImageStore()

    def paint() -> list[ImageBlock]:
        """Paint an image."""
        return [ImageBlock(image=RED)]

    def plan(request: Request) -> str:
        if request.messages[-1].role == "tool":
            return "Red." if images(request.messages[-1]) == [RED] else "Nothing."
        return write_call(ToolCall("", "paint", {}))

    llm = Llava(backend=ScriptedBackend(plan), image_store=store)
    memory = LlavaMemory.from_defaults(llm)
    agent = FunctionAgent(llm=llm, tools=[FunctionTool.from_defaults(paint)])
    assert str(await agent.run(question(GREEN), memory=memory)) == "Red."
    stored = str([message.model_dump() for message in await memory.aget_all()])
    for image in (GREEN, RED):
        assert open_image(image).handle in store
        assert base64.b64encode(image).decode() not in stored


@pytest.mark.parametrize("tokens", [144, 576])
async def test_tokens_are_those_of_the_model(tokens: int) -> None:
    backend = ScriptedBackend(image_tokens=tokens)
    llm = Llava(backend=backend, max_tokens=96, image_store=ImageStore())
    memory = LlavaMemory.from_defaults(llm)
    assert memory.token_limit == backend.context_length - 96
    await memory.aput(question(GREEN))
    assert memory.image_token_size_estimate == tokens
    assert memory.tokenizer_fn("a green square") == [0, 1, 2]


@pytest.mark.parametrize("image_inputs", [True, False])
def test_other_llms_get_bytes_or_names(image_inputs: bool) -> None:
    memory = LlavaMemory.from_defaults(
        MockLLM(),
        image_store=ImageStore(),
        image_inputs=image_inputs,
        chat_history=[question(GREEN)],
    )
    [message] = memory.get()
    name = TextBlock(text=f"[image {open_image(GREEN).handle}]")
    inline = ImageBlock(image=GREEN, image_mimetype="image/png")
    assert message.blocks == [inline if image_inputs else name, TextBlock(text="What is it?")]


def test_a_memory_can_be_shown_and_copied() -> None:
    llm = Llava(backend=ScriptedBackend(), image_store=ImageStore())
    memory = LlavaMemory.from_defaults(llm)
    assert "LlavaMemory(" in repr(memory)
    assert memory.tokenizer_fn("one two") == [0, 1]
    assert memory.model_copy().tokenizer_fn("one two") == [0, 1]


@pytest.mark.parametrize("number", [-1, "2", None])
def test_an_impossible_number_of_kept_images_raises(number: Any) -> None:
    with pytest.raises(RequestError, match="kept_images="):
        LlavaMemory.from_defaults(kept_images=number)


def test_other_llms_need_the_argument() -> None:
    with pytest.raises(RequestError, match=r"MockLLM takes images.*image_inputs=True or False"):
        LlavaMemory.from_defaults(MockLLM())


def test_memories_of_two_users_do_not_share_images() -> None:
    first, second = (Llava(backend=ScriptedBackend(), image_store=ImageStore()) for _ in range(2))
    memory = LlavaMemory.from_defaults(first, chat_history=[question(GREEN)])
    with pytest.raises(ImageError, match="no picture"):
        second.chat(memory.get())


WRITER = """
import asyncio, json, sys
from llama_index.core.llms import ChatMessage, ImageBlock, TextBlock
from llama_index.llms.llava import Llava, LlavaMemory, with_handles
from llava_tools.testing import ScriptedBackend

folder, image = sys.argv[1:3]
llm = Llava(backend=ScriptedBackend(lambda request: "Green."), image_store=sys.argv[3] or None)

async def main():
    blocks = [ImageBlock(image=open(image, "rb").read()), TextBlock(text="What is it?")]
    message = ChatMessage(role="user", blocks=blocks)
    uri = f"sqlite+aiosqlite:///{folder}/memory.db"
    memory = LlavaMemory.from_defaults(llm, session_id="1", async_database_uri=uri)
    await memory.aput(message)
    answer = await llm.achat(await memory.aget())
    await memory.aput(answer.message)
    history = with_handles([message, answer.message], llm.image_store)
    stored = json.dumps([json.loads(item.model_dump_json()) for item in history])
    open(f"{folder}/history.json", "w").write(stored)

asyncio.run(main())
"""


@pytest.mark.slow
@pytest.mark.parametrize("way", ["option", "variable"])
async def test_d3_memory_of_another_process_goes_on(
    way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = str(tmp_path / "images")
    (tmp_path / "green.png").write_bytes(GREEN)
    if way == "variable":
        monkeypatch.setenv("LLAVA_IMAGE_STORE", store)
    arguments = [str(tmp_path), str(tmp_path / "green.png"), store if way == "option" else ""]
    subprocess.run([sys.executable, "-c", WRITER, *arguments], check=True, cwd=ROOT, timeout=120)
    reader: Any = subprocess.run(
        [sys.executable, "-c", READER, *arguments],
        check=True, cwd=ROOT, timeout=120, capture_output=True, text=True,
    )  # fmt: skip
    handle = open_image(GREEN).handle
    assert reader.stdout.split() == [handle, handle]


READER = """
import asyncio, json, sys
from llama_index.core.llms import ChatMessage
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.llms.llava import Llava, LlavaMemory
from llava_tools.testing import ScriptedBackend

folder = sys.argv[1]
backend = ScriptedBackend(lambda request: "Sure.")
llm = Llava(backend=backend, image_store=sys.argv[3] or None)

async def main():
    uri = f"sqlite+aiosqlite:///{folder}/memory.db"
    memory = LlavaMemory.from_defaults(llm, session_id="1", async_database_uri=uri)
    await memory.aput(ChatMessage("Sure?", role="user"))
    await llm.achat(await memory.aget())
    history = [ChatMessage(**item) for item in json.load(open(f"{folder}/history.json"))]
    buffer = ChatMemoryBuffer.from_defaults(chat_history=history)
    await llm.achat([*buffer.get(), ChatMessage("Sure?", role="user")])

asyncio.run(main())
for request in backend.requests:
    assert len(request.messages) == 3
    print(*(image.handle for image in request.messages[0].images))
"""
