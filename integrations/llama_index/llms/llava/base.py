"""`Llava`: LlamaIndex's messages and options in, a `Request` through the backend interface, responses out.

The way of a call: `_request` turns messages (messages.py), tools and output classes (tools.py) and
options (configured.py) into a `Request`, the engine of `llava_tools` answers it in `Chunk`s,
results.py turns those into responses. structured.py builds structured prediction on top of chats.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import aclosing, closing
from typing import TYPE_CHECKING, Any

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    ChatResponseAsyncGen,
    ChatResponseGen,
    CompletionResponse,
    CompletionResponseAsyncGen,
    CompletionResponseGen,
)
from llama_index.core.llms.callbacks import llm_chat_callback, llm_completion_callback
from llama_index.core.llms.llm import ToolSelection

from llama_index.llms.llava import results
from llama_index.llms.llava.configured import Configured
from llama_index.llms.llava.messages import Imaged, to_messages, to_question
from llama_index.llms.llava.structured import StructuredPrediction
from llama_index.llms.llava.tools import NAMES, ToolChoice, describe, selections, to_constraint
from llava_tools.core.requests import Message, Request
from llava_tools.core.streaming import aanswer, answer, astream
from llava_tools.errors import RequestError
from llava_tools.options import SAMPLING_OPTIONS, normalize, sampling_params

if TYPE_CHECKING:
    from llama_index.core.tools import BaseTool

ImageDocuments = Sequence[Imaged]


class Llava(Configured, StructuredPrediction):
    """LLaVA 1.5 on this machine, as a LlamaIndex LLM that sees and calls tools.

    Making one loads nothing. The first request loads the model, once for the process, shared with
    every other wrapper that asks for the same one; concurrent requests run in one batch. Options of
    sampling may also be given to a call; they override the fields. A chat also takes `tools`,
    `tool_choice`, `allow_parallel_tool_calls`, `response_format` (a pydantic model or OpenAI's
    layout) and `strict`.

        Llava(model="7b", quantization="4bit").chat([ChatMessage([
            ImageBlock(url="https://example.org/street.jpg"),
            TextBlock(text="What colour is the car?"),
        ])])

    Raises:
        RequestError: An unknown option, or a value that is not possible.
    """

    # ---- chats ----------------------------------------------------------------------------------

    @llm_chat_callback()
    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """Answer a conversation.

        Raises:
            RequestError: A bad option, block, image, tool or schema, or more than fits.
            ModelError: The model cannot be loaded.
            EngineError: The engine could not finish; `OutputError` if it was cut off in a call.
        """
        return self._answer(self._request(self._said(messages), kwargs))

    @llm_chat_callback()
    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseGen:
        """`chat` in steps; closing the generator stops the generation."""
        return self._chunks(self._request(self._said(messages), kwargs))

    @llm_chat_callback()
    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """`chat` without blocking the event loop; cancelling the task stops the generation."""
        return await self._aanswer(await self._arequest(messages, kwargs))

    @llm_chat_callback()
    async def astream_chat(
        self, messages: Sequence[ChatMessage], **kwargs: Any
    ) -> ChatResponseAsyncGen:
        """`stream_chat` without blocking the event loop."""
        return self._achunks(await self._arequest(messages, kwargs))

    # ---- completions ----------------------------------------------------------------------------

    @llm_completion_callback()
    def complete(
        self,
        prompt: str,
        formatted: bool = False,
        image_documents: ImageDocuments = (),
        **kwargs: Any,
    ) -> CompletionResponse:
        """Answer a prompt, about images or without any.

        Args:
            prompt: What to ask.
            formatted: Whether `completion_to_prompt` has been applied already.
            image_documents: ImageResolver, which may be local files: the caller names them himself.
            **kwargs: As for `chat`.
        """
        said = self._asked(prompt, formatted, image_documents)
        return results.to_completion(self._answer(self._request(said, kwargs)))

    @llm_completion_callback()
    def stream_complete(
        self,
        prompt: str,
        formatted: bool = False,
        image_documents: ImageDocuments = (),
        **kwargs: Any,
    ) -> CompletionResponseGen:
        """`complete` in steps; closing the generator stops the generation."""
        said = self._asked(prompt, formatted, image_documents)
        request = self._request(said, kwargs)

        def steps() -> CompletionResponseGen:
            for chunk in self._chunks(request):
                yield results.to_completion(chunk)

        return steps()

    @llm_completion_callback()
    async def acomplete(
        self,
        prompt: str,
        formatted: bool = False,
        image_documents: ImageDocuments = (),
        **kwargs: Any,
    ) -> CompletionResponse:
        """`complete` without blocking the event loop."""
        said = await asyncio.to_thread(self._asked, prompt, formatted, image_documents)
        return results.to_completion(await self._aanswer(self._request(said, kwargs)))

    @llm_completion_callback()
    async def astream_complete(
        self,
        prompt: str,
        formatted: bool = False,
        image_documents: ImageDocuments = (),
        **kwargs: Any,
    ) -> CompletionResponseAsyncGen:
        """`stream_complete` without blocking the event loop."""
        said = await asyncio.to_thread(self._asked, prompt, formatted, image_documents)
        request = self._request(said, kwargs)

        async def steps() -> CompletionResponseAsyncGen:
            async with aclosing(self._achunks(request)) as chunks:
                async for chunk in chunks:
                    yield results.to_completion(chunk)

        return steps()

    # ---- tools ----------------------------------------------------------------------------------

    def _prepare_chat_with_tools(
        self,
        tools: Sequence[BaseTool],
        user_msg: str | ChatMessage | None = None,
        chat_history: list[ChatMessage] | None = None,
        verbose: bool = False,
        allow_parallel_tool_calls: bool = False,
        tool_required: bool = False,
        tool_choice: ToolChoice = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Return the keywords of the chat that these are; a `tool_choice` goes before the rest."""
        messages = list(chat_history or [])
        if user_msg is not None:
            messages.append(
                ChatMessage(user_msg, role="user") if isinstance(user_msg, str) else user_msg
            )
        return {
            "messages": messages,
            "tools": [describe(tool) for tool in tools],
            "tool_choice": tool_choice or ("required" if tool_required else "auto"),
            "allow_parallel_tool_calls": allow_parallel_tool_calls,
            **kwargs,
        }

    def get_tool_calls_from_response(
        self, response: ChatResponse, error_on_no_tool_call: bool = True, **kwargs: Any
    ) -> list[ToolSelection]:
        """Return the calls of a response or of a chunk, with the arguments as far as they came."""
        return selections(response, demanded=error_on_no_tool_call)

    # ---- through the backend interface -----------------------------------------------------------------------

    def _said(self, messages: Sequence[ChatMessage]) -> tuple[Message, ...]:
        return to_messages(messages, self._resolver)

    def _asked(
        self, prompt: str, formatted: bool, documents: ImageDocuments
    ) -> tuple[Message, ...]:
        if not formatted and self.completion_to_prompt is not None:
            prompt = self.completion_to_prompt(prompt)
        return (to_question(prompt, documents, self._resolver),)

    def _request(self, said: tuple[Message, ...], given: dict[str, Any]) -> Request:
        """Check all that can be checked without the model; nothing is loaded yet."""
        normalize(given, (*SAMPLING_OPTIONS, *NAMES), "A Llava call", {})
        about = {name: given[name] for name in NAMES if name in given}
        usual = {name: getattr(self, name) for name in SAMPLING_OPTIONS}
        told = {name: given[name] for name in SAMPLING_OPTIONS if name in given}
        if not said:
            raise RequestError("There is no message.", "Give at least the user's question.")
        return Request(
            said,
            sampling_params({**usual, **told}, "A Llava call"),
            to_constraint(**{"strict": self.strict, **about}),
        )

    async def _arequest(self, messages: Sequence[ChatMessage], given: dict[str, Any]) -> Request:
        # In a thread: images may have to be fetched.
        return self._request(await asyncio.to_thread(self._said, messages), given)

    def _answer(self, request: Request) -> ChatResponse:
        return results.to_response(answer(self._loader()(), request))

    async def _aanswer(self, request: Request) -> ChatResponse:
        return results.to_response(await aanswer(self._loader(), request))

    def _chunks(self, request: Request) -> Generator[ChatResponse, None, None]:
        load = self._loader()
        converter = results.ChunkConverter(load)
        with closing(load().stream(request)) as stream:
            for chunk in stream:
                yield converter.convert(chunk)
        converter.check_finished()

    async def _achunks(self, request: Request) -> AsyncGenerator[ChatResponse, None]:
        load = self._loader()
        converter = results.ChunkConverter(load)
        async with aclosing(astream(load, request)) as stream:
            async for chunk in stream:
                yield converter.convert(chunk)
        converter.check_finished()
