"""Errors at the edges that only developers read; no model or planner sees them.

They stand apart from the other groups, since a rewording of these is no change of behaviour.
"""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Callable
from contextlib import chdir
from functools import partial
from pathlib import Path
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, ChatMessage, HumanMessage
from llama_index.core.base.llms.types import AudioBlock, VideoBlock
from llama_index.core.llms import ChatMessage as IndexMessage
from llama_index.core.llms import ImageBlock

from langchain_llava import ChatLlava
from llama_index.llms.llava import Llava as IndexLlava
from llava_tools import tools
from llava_tools.chat import prompt
from llava_tools.core.constraints import UNCONSTRAINED, Constraint, ToolSpec
from llava_tools.core.requests import Message, Request, SamplingParams
from llava_tools.images import open_image
from llava_tools.images.access import ImageResolver
from llava_tools.images.store import ImageStore
from llava_tools.model import Llava
from llava_tools.testing import ScriptedBackend
from tests.golden import inputs as i
from tests.golden.plain import outcome

_UNKNOWN: Any = {"quantisation": "4bit"}
SAY = (i.user("What?"),)
_PNG = base64.b64decode(i.PNG_BASE64)
ENDLESS = i.fields(["next"], next={"$ref": "#"})


def _llava() -> Any:
    return Llava(backend=ScriptedBackend())


def _request(
    *messages: Message, constraint: Constraint = UNCONSTRAINED, **sampling: Any
) -> Callable[[], Any]:
    """Return what raises the error of a request."""
    return lambda: ScriptedBackend().stream(
        Request(messages, SamplingParams(**sampling), constraint)
    )


def _schema(schema: Any) -> Callable[[], Any]:
    return lambda: ScriptedBackend().stream(Request(SAY, constraint=Constraint(schema=schema)))


def _file(name: str, content: bytes | None = None, *, wanted: str = "") -> Any:
    """Return the error for a file of the folder that is current."""
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        if content is not None:
            Path(name).write_bytes(content)
        return open_image(wanted or name)


def _chat(block: dict[str, Any]) -> Callable[[], Any]:
    return _messages(HumanMessage([block]))


def _messages(*messages: BaseMessage) -> Callable[[], Any]:
    return lambda: _chat_model().invoke(list(messages))


def _chat_model() -> Any:
    return ChatLlava(backend=ScriptedBackend())


def _index(*blocks: Any, **options: Any) -> Callable[[], Any]:
    message = IndexMessage(blocks=list(blocks)) if blocks else IndexMessage("What?")
    return lambda: IndexLlava(backend=ScriptedBackend()).chat([message], **options)


OPTIONS: dict[str, Callable[[], Any]] = {
    "unknown option": lambda: Llava(**_UNKNOWN),
    "dtype": lambda: Llava(dtype="int8"),
    "quantization": lambda: Llava(quantization="2bit"),
    "context": lambda: Llava(context_length=3),
    "max_queue": lambda: Llava(max_concurrent_requests=0),
    "device": lambda: Llava(device="gpu"),
    "reuse": lambda: Llava(prefix_caching=1),
    "model": lambda: Llava(" "),
    "base_url": lambda: Llava(base_url="localhost:8000"),
    "base_url and a device": lambda: Llava(base_url="http://localhost:1/v1", device="cpu"),
    "LangChain: unknown": lambda: ChatLlava(**_UNKNOWN),
    "LangChain: twice": lambda: ChatLlava(model="7b", model_name="13b"),
    "LangChain: timeout": lambda: ChatLlava(timeout=-1),
    "LangChain: host": lambda: ChatLlava(allowed_hosts=("http://x",)),
    "LangChain: unknown in a call": lambda: _chat_model().invoke("What?", tempo=1),
    "LangChain: another model": lambda: _chat_model().invoke("What?", model="7b"),
    "LlamaIndex: unknown": lambda: IndexLlava(**_UNKNOWN),
    "LlamaIndex: unknown in a call": _index(tempo=1),
}

SAMPLING: dict[str, Callable[[], Any]] = {
    "max_tokens": lambda: _llava().ask("What?", max_tokens=0),
    "temperature": lambda: _llava().ask("What?", temperature=-1),
    "top_p": lambda: _llava().ask("What?", top_p=0),
    "top_k": lambda: _llava().ask("What?", top_k=1.5),
    "seed": lambda: _llava().ask("What?", seed=-1),
    "stop": lambda: _llava().ask("What?", stop=["", "x"]),
    "stop is a number": lambda: _llava().ask("What?", stop=3),
    "top_logprobs": lambda: _llava().ask("What?", logprobs=True, top_logprobs=21),
    "top_logprobs alone": lambda: _llava().ask("What?", top_logprobs=2),
    "unknown": lambda: _llava().ask("What?", max_token=3),
}

CONVERSATIONS: dict[str, Callable[[], Any]] = {
    "no string": lambda: _llava().ask(3),
    "no messages": _request(),
    "only a system sentence": _request(i.system("Be brief.")),
    "empty question": _request(i.user(" ")),
    "role": lambda: Message("robot", ("hi",)),
    "content is a list": lambda: Message("user", ["hi"]),
    "part of a message": lambda: Message("user", (3,)),
    "image of the assistant": lambda: Message("assistant", (i.RED,)),
    "calls of a user": lambda: Message("user", ("hi",), (i.CALL_ADD,)),
    "result without a call": _request(*SAY, i.result("c9", "3")),
    "too long": _request(i.user("word " * 5000)),
    "too many images": _request(i.user(*[i.RED] * 8)),
    "max_tokens too large": _request(*SAY, max_tokens=5000),
    "lesson without a question": lambda: prompt.training_example((i.assistant("That."),)),
}

LABELS: dict[str, Callable[[], Any]] = {
    "none": lambda: _llava().choose("Which?", (), []),
    "one string": lambda: _llava().choose("Which?", (), "cat"),
    "blank": lambda: _llava().choose("Which?", (), ["cat", " "]),
    "white space around": lambda: _llava().choose("Which?", (), ["cat "]),
    "twice": lambda: _llava().choose("Which?", (), ["cat", "cat"]),
    "a number": lambda: _llava().choose("Which?", (), ["cat", 3]),
    "threshold": lambda: _llava().choose("Which?", (), ["cat"], abstain=1.5),
    "question": lambda: _llava().choose(3, (), ["cat"]),
    "text to score": lambda: _llava().score(3, i.RED),
}

TOOLS: dict[str, Callable[[], Any]] = {
    "name": lambda: ToolSpec("two words"),
    "schema is a list": lambda: ToolSpec("a", "", []),
    "schema is too large": lambda: ToolSpec("a", "", {"description": "x" * 70_000}),
    "schema is no object": lambda: ToolSpec("a", "", {"type": "string"}),
    "two of one name": lambda: Constraint((i.ADD, i.ADD)),
    "choice of none": lambda: Constraint((i.ADD,), "sub"),
    "choice without tools": lambda: Constraint((), "any"),
    "schema of the answer": lambda: Constraint(schema="x"),
    "unknown visual tool": lambda: tools.select_tools(["lok"]),
    "find without an index": lambda: tools.select_tools(["find"]),
    "no JSON schema": _schema({"type": "strnig"}),
    "endless": _schema(ENDLESS),
    "no JSON schema of a tool": _request(
        *SAY, constraint=Constraint((ToolSpec("a", "", i.fields(a={"minimum": "x"})),))
    ),
    "LangChain: no tool": lambda: _chat_model().bind_tools([3]),
    "LangChain: provider's tool": lambda: _chat_model().bind_tools([{"type": "web_search"}]),
    "LangChain: choice": lambda: _chat_model().bind_tools([], tool_choice="add"),
    "LangChain: choice is a number": lambda: _chat_model().bind_tools([], tool_choice=3),
    "LangChain: strict": lambda: _chat_model().invoke("What?", strict="yes"),
    "LangChain: format": lambda: _chat_model().invoke("What?", response_format="json"),
    "LangChain: format without a schema": lambda: _chat_model().invoke(
        "What?", response_format={"type": "json_schema"}
    ),
    "LangChain: method": lambda: _chat_model().with_structured_output(i.NUMBER, method="xml"),
    "LangChain: no schema": lambda: _chat_model().with_structured_output(None),
    "LangChain: option": lambda: _chat_model().with_structured_output(i.NUMBER, tools=[]),
    "LlamaIndex: no tool": _index(tools=[3]),
    "LlamaIndex: format": _index(response_format="json"),
}

IMAGES: dict[str, Callable[[], Any]] = {
    "a number": lambda: open_image(3),
    "no bytes": lambda: open_image(b""),
    "text as bytes": lambda: open_image(b"hello, this is text"),
    "cut off": lambda: open_image(_PNG[:40]),
    "file URL": lambda: open_image("file:///a.png"),
    "scheme": lambda: open_image("ftp://example.org/a.png"),
    "path not allowed": lambda: open_image("a.png", allow_paths=False),
    "data URL of text": lambda: open_image("data:text/plain;base64,aGk="),
    "broken data URL": lambda: open_image("data:image/png"),
    "data URL without base64": lambda: open_image("data:image/png,abc"),
    "private address": lambda: open_image("http://127.0.0.1:9/a.png"),
    "missing": partial(_file, "a.png"),
    "almost missing": partial(_file, "street.jpg", b"", wanted="Street.jpeg"),
    "empty": partial(_file, "a.png", b""),
    "text": partial(_file, "a.png", b"hello, this is text"),
    "unknown handle": lambda: ImageStore().get("img_1"),
    "size of a store": lambda: ImageStore(0),
    "folders as one string": lambda: ImageResolver(ImageStore(), "folder"),
    "missing folder": lambda: ImageResolver(ImageStore(), ["/no/such/folder"]),
}

BLOCKS: dict[str, Callable[[], Any]] = {
    "LangChain: role": _messages(ChatMessage("hi", role="robot")),
    "LangChain: audio": _chat(
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}
    ),
    "LangChain: video": _chat({"type": "video", "url": "http://example.org/a.mp4"}),
    "LangChain: unknown block": _chat({"type": "hologram", "data": 3}),
    "LangChain: text without text": _chat({"type": "text"}),
    "LangChain: image without one": _chat({"type": "image_url", "image_url": {}}),
    "LangChain: local path": _chat({"type": "image_url", "image_url": {"url": "a.png"}}),
    "LangChain: unknown handle": _chat({"type": "image", "file_id": "img_1"}),
    "LangChain: image of the assistant": _messages(
        HumanMessage("What?"),
        AIMessage([{"type": "image_url", "image_url": {"url": i.DATA_URL}}]),
        HumanMessage("Why?"),
    ),
    "LlamaIndex: audio": _index(AudioBlock(audio=b"x", format="wav")),
    "LlamaIndex: video": _index(VideoBlock(url="http://example.org/a.mp4")),
    "LlamaIndex: empty image": _index(ImageBlock()),
    "LlamaIndex: local path": _index(
        ImageBlock.model_construct(path=Path("a.png"), image=None, url=None)
    ),
    "LlamaIndex: no messages": lambda: IndexLlava(backend=ScriptedBackend()).chat([]),
    "LlamaIndex: no image": lambda: IndexLlava(backend=ScriptedBackend()).complete(
        "What?", image_documents=[3]
    ),
}

_GROUPS = {
    "options": OPTIONS,
    "sampling": SAMPLING,
    "conversation": CONVERSATIONS,
    "labels": LABELS,
    "tools": TOOLS,
    "images": IMAGES,
    "blocks": BLOCKS,
}


def _raised(work: Callable[[], Any]) -> Any:
    """Return the error that some work raises; what raises none is a mistake in these cases."""
    found = outcome(work)
    assert isinstance(found, dict), "This raised no error."
    assert "error" in found, "This raised no error."
    return found


CASES: dict[str, Callable[[], Any]] = {
    f"{group}: {name}": partial(_raised, work)
    for group, cases in _GROUPS.items()
    for name, work in cases.items()
}
