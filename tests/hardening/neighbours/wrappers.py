"""Two users in one process: one with LangChain, the other with LlamaIndex, and one model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from langchain_core.caches import InMemoryCache
from langchain_core.messages import HumanMessage
from llama_index.core.llms import ChatMessage, ImageBlock, TextBlock

from langchain_llava import ChatLlava, LlavaToolkit
from langchain_llava import compat as langchain
from llama_index.llms.llava import Llava as LlamaIndexLlava
from llama_index.llms.llava.image_handles import handle_block
from llama_index.tools.llava import LlavaToolSpec
from llava_tools import Llava
from llava_tools.core.backend import Backend
from llava_tools.errors import LlavaToolsError
from llava_tools.images.store import ImageStore
from tests.hardening.neighbours.user import STORE_BYTES, Operation, noise

_ERRORS = (LlavaToolsError, langchain.LangChainException)


class LangChainUser:
    """A user with a chat model, a toolkit and a store of their own, and a cache that all share."""

    def __init__(self, backend: Backend, cache: InMemoryCache, options: dict[str, Any]) -> None:
        self._store = ImageStore(STORE_BYTES)
        self._chat = ChatLlava(backend=backend, image_store=self._store, cache=cache, **options)
        toolkit = LlavaToolkit(llm=Llava(backend=backend), image_store=self._store, tools=["look"])
        (self._look,) = toolkit.get_tools()
        self._streams: list[Iterator[Any]] = []

    def run(self, operation: Operation) -> object:
        """Do something, and return what came of it."""
        try:
            return self._run(operation)
        except _ERRORS as error:
            return f"{type(error).__name__}: {error}"

    def _run(self, operation: Operation) -> object:
        match operation.kind:
            case "ask with data" | "ask what both ask" | "ask by handle" | "evidence":
                return self._chat.invoke(self._question(operation)).content
            case "ask by the other's handle":
                return self._chat.invoke(self._question(operation, by_handle=True)).content
            case "stream":
                self._streams.append(self._chat.stream(self._question(operation)))
                return next(self._streams[-1]).content
            case "read on":
                return [chunk.content for chunk in self._streams.pop()] if self._streams else None
            case "tool":
                self._store.add(operation.image)
                return str(self._look.invoke(_look(operation)))
            case "tool, other's handle":
                return str(self._look.invoke(_look(operation)))
            case "error":
                return self._chat.invoke([HumanMessage([{"type": operation.word}])]).content
            case _:
                return use_store(self._store, operation)

    def _question(self, operation: Operation, *, by_handle: bool = False) -> list[Any]:
        image: dict[str, Any] = {"type": "image", "file_id": operation.image.handle}
        if not by_handle and operation.kind == "ask with data":
            image = {"type": "image", "base64": operation.data, "mime_type": "image/png"}
        elif not by_handle:
            self._store.add(operation.image)
        return [HumanMessage([image, {"type": "text", "text": operation.text}])]


class LlamaIndexUser:
    """A user with an LLM, tools and a store of their own."""

    def __init__(self, backend: Backend, options: dict[str, Any]) -> None:
        self._store = ImageStore(STORE_BYTES)
        self._llm = LlamaIndexLlava(backend=backend, image_store=self._store, **options)
        spec = LlavaToolSpec(Llava(backend=backend), image_store=self._store, tools=["look"])
        (self._look,) = spec.to_tool_list()
        self._streams: list[Iterator[Any]] = []

    def run(self, operation: Operation) -> object:
        """Do something, and return what came of it."""
        try:
            return self._run(operation)
        except LlavaToolsError as error:
            return f"{type(error).__name__}: {error}"

    def _run(self, operation: Operation) -> object:
        match operation.kind:
            case "ask with data":
                image = ImageBlock(image=operation.image.data)
                return self._llm.chat([_llama_index(image, operation)]).message.content
            case "ask what both ask" | "ask by handle" | "evidence":
                self._store.add(operation.image)
                return self._llm.chat([self._question(operation)]).message.content
            case "ask by the other's handle":
                return self._llm.chat([self._question(operation)]).message.content
            case "stream":
                self._store.add(operation.image)
                self._streams.append(iter(self._llm.stream_chat([self._question(operation)])))
                return next(self._streams[-1]).delta
            case "read on":
                return [chunk.delta for chunk in self._streams.pop()] if self._streams else None
            case "tool":
                self._store.add(operation.image)
                return str(self._look.call(**_look(operation)))
            case "tool, other's handle":
                return str(self._look.call(**_look(operation)))
            case "error":
                return self._llm.chat([]).message.content
            case _:
                return use_store(self._store, operation)

    def _question(self, operation: Operation) -> ChatMessage:
        return _llama_index(handle_block(operation.image.handle), operation)


def _llama_index(image: ImageBlock, operation: Operation) -> ChatMessage:
    return ChatMessage(blocks=[image, TextBlock(text=operation.text)])


def _look(operation: Operation) -> dict[str, Any]:
    return {"image": operation.image.handle, "question": operation.text}


def use_store(store: ImageStore, operation: Operation) -> object:
    """Use a store directly."""
    match operation.kind:
        case "add":
            return store.add(operation.image)
        case "probe":
            return operation.image.handle in store
        case "remove the other's":
            store.remove(operation.image.handle)
            return None
        case "evict":
            return [store.add(noise(number)) for number in range(12)]
        case _:
            return store.handles()


class Wrappers:
    """Users in one process.

    Args:
        backend: The model that all users share.
        options: Of the wrappers.
    """

    def __init__(self, backend: Backend, **options: Any) -> None:
        cache = InMemoryCache()
        self._users = (LangChainUser(backend, cache, options), LlamaIndexUser(backend, options))

    def run(self, user: int, operation: Operation) -> object:
        """Do something as a user, and return what came of it."""
        return self._users[user].run(operation)

    def shown(self) -> str:
        """Return what is shown to whoever watches; here nobody does."""
        return ""

    def close(self) -> None:
        """Nothing is open."""
