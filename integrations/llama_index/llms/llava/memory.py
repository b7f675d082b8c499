"""`LlavaMemory`: LlamaIndex's `Memory`, which keeps handles and does not forget the image.

Messages go into the chat store with handles instead of images, and come out as the LLM can read
them. Where messages have left the active history to make room, the last images of the archived
ones are put back into the first question. Tokens are those of the model: LlamaIndex reckons with
256 for an image and with the words of another model's vocabulary.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

from llama_index.core.base.llms.types import ContentBlock, ImageBlock, MessageRole, TextBlock
from llama_index.core.llms import LLM, ChatMessage
from llama_index.core.memory import Memory
from llama_index.core.storage.chat_store.base_db import MessageStatus
from pydantic import Field, PrivateAttr

from llama_index.llms.llava.base import Llava
from llama_index.llms.llava.image_handles import (
    handle_block,
    handles_in,
    map_images,
    with_handles,
    with_inline_images,
)
from llama_index.llms.llava.images import image_handle
from llava_tools.core.backend import Backend
from llava_tools.core.requests import Message, Request
from llava_tools.errors import RequestError, check_count
from llava_tools.images.store import ImageStore, open_store
from llava_tools.model_fields import ImageStoreField

#: Tokens of an image in LLaVA 1.5.
IMAGE_TOKENS = 576


class LlavaMemory(Memory):
    """An agent's memory with handles, that keeps the conversation's last images.

        llm = Llava("7b")
        memory = LlavaMemory.from_defaults(llm)
        await FunctionAgent(llm=llm, tools=tools).run(user_msg, memory=memory)

    Its handles are found again by another process if `image_store` is a folder and the chat store
    is a database (`async_database_uri`, `session_id`).
    """

    image_store: ImageStoreField = None
    """Keeps the images: an `ImageStore` or the folder of one; None for that of the process."""
    image_form: Literal["handle", "bytes", "name"] = "handle"
    """What the LLM gets: handles (`Llava`), the images, or the text `[image img_…]`."""
    kept_images: int = Field(default=1, ge=0)
    """How many of the conversation's last images stay when their messages leave the history."""

    _llm: Llava | None = PrivateAttr(None)
    _counts_images: bool = PrivateAttr(False)

    @classmethod
    def class_name(cls) -> str:
        """Return the name by which LlamaIndex serializes this class."""
        return "LlavaMemory"

    @classmethod
    def from_defaults(  # type: ignore[override]
        cls,
        llm: LLM | None = None,
        *,
        image_store: ImageStore | str | None = None,
        image_inputs: bool | None = None,
        kept_images: int = 1,
        chat_history: Sequence[ChatMessage] | None = None,
        **options: Any,
    ) -> LlavaMemory:
        """Return a memory for the LLM of an agent.

        Args:
            llm: The agent's LLM; None for a `Llava`. Of a `Llava` in this process the memory takes
                the image store and the tokenizer, of any LLM what its context has room for.
            image_store: Keeps the images: an `ImageStore` or the folder of one; by default the
                store of the LLM, else that of the process.
            image_inputs: Whether another LLM than `Llava` takes images.
            kept_images: How many of the last images stay when their messages leave the history.
            chat_history: Messages to start with.
            **options: Those of `Memory.from_defaults`.

        Raises:
            RequestError: It is not known whether the LLM takes images; an impossible store or
                number.
            ImageError: An image of `chat_history` cannot be used.
        """
        check_count("kept_images", kept_images, 0)
        options.setdefault("image_token_size_estimate", IMAGE_TOKENS)
        if llm is not None:
            room = llm.metadata.context_window - max(llm.metadata.num_output, 0)
            options.setdefault("token_limit", max(room, 1))
        memory = super().from_defaults(**options)
        assert isinstance(memory, LlavaMemory)
        memory.image_store = image_store
        memory.kept_images = kept_images
        if isinstance(llm, Llava):
            memory.image_store = llm.image_store if image_store is None else image_store
            if llm.base_url is None:
                memory._llm = llm
                if "tokenizer_fn" not in options:
                    memory.tokenizer_fn = partial(_token_ids, llm)
        elif llm is not None:
            if image_inputs is None:
                raise RequestError(
                    f"It is not known whether {type(llm).__name__} takes images.",
                    "Give image_inputs=True or False.",
                )
            memory.image_form = "bytes" if image_inputs else "name"
        open_store(memory.image_store)  # raises if it cannot be used
        if chat_history is not None:
            memory.set(list(chat_history))
        return memory

    async def aput(self, message: ChatMessage) -> None:
        """Add a message, with handles instead of its images."""
        await self.aput_messages([message])

    async def aput_messages(self, messages: list[ChatMessage]) -> None:
        """Add messages, with handles instead of their images."""
        await super().aput_messages(await asyncio.to_thread(self._named, messages))

    async def aset(self, messages: list[ChatMessage]) -> None:
        """Replace the history."""
        await super().aset(await asyncio.to_thread(self._named, messages))

    async def aget(
        self,
        input: str | ChatMessage | None = None,  # noqa: A002
        **block_kwargs: Any,
    ) -> list[ChatMessage]:
        """Return the history for the LLM, with the last images of what has left it."""
        messages = await super().aget(input, **block_kwargs)
        archived = await self.aget_all(status=MessageStatus.ARCHIVED)
        return await asyncio.to_thread(self._readable, self._with_kept(messages, archived))

    @property
    def _backend(self) -> Backend:
        assert self._llm is not None
        return self._llm._loader()()

    def _named(self, messages: Sequence[ChatMessage]) -> list[ChatMessage]:
        named = with_handles(messages, self.image_store)
        if self._llm is not None:
            self._count_images(named)
        return named

    def _count_images(self, messages: Sequence[ChatMessage]) -> None:
        """Count the tokens of the first image; all of a model have as many."""
        handles = [handle for message in messages for handle in handles_in(message)]
        if handles and not self._counts_images:
            image = open_store(self.image_store).get(handles[0])
            with_image, without = (
                self._backend.count_tokens(Request((Message("user", content),)))
                for content in ((image, "?"), ("?",))
            )
            self.image_token_size_estimate = with_image - without
            self._counts_images = True

    def _with_kept(
        self, messages: list[ChatMessage], archived: Sequence[ChatMessage]
    ) -> list[ChatMessage]:
        """Put the last images of the conversation into the first question, if they are gone."""
        present = [handle for message in messages for handle in handles_in(message)]
        handles = [handle for message in archived for handle in handles_in(message)]
        latest = list(dict.fromkeys(reversed([*handles, *present])))[: self.kept_images]
        missing = [handle for handle in reversed(latest) if handle not in present]
        first = next(
            (i for i, message in enumerate(messages) if message.role == MessageRole.USER), None
        )
        if not missing or first is None:
            return messages
        blocks = [*map(handle_block, missing), *messages[first].blocks]
        question = messages[first].model_copy(update={"blocks": blocks})
        return [*messages[:first], question, *messages[first + 1 :]]

    def _readable(self, messages: list[ChatMessage]) -> list[ChatMessage]:
        if self.image_form == "bytes":
            return with_inline_images(messages, self.image_store)
        if self.image_form == "name":
            return [map_images(message, _to_name) for message in messages]
        return messages


def _token_ids(llm: Llava, text: str) -> list[int]:
    return llm._loader()().token_ids(text)


def _to_name(block: ImageBlock) -> ContentBlock:
    handle = image_handle(block)
    return block if handle is None else TextBlock(text=f"[image {handle}]")
