"""`Llava`: LlamaIndex's messages and options in, a `Request` to the backend, responses out.

requests.py builds requests and gets their responses: messages.py converts messages, tools.py tools
and output classes, and results.py the backend's chunks. structured.py builds structured prediction
on top of chats.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, ClassVar

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    ChatResponseAsyncGen,
    ChatResponseGen,
    CompletionResponse,
    CompletionResponseAsyncGen,
    CompletionResponseGen,
    LLMMetadata,
)
from llama_index.core.constants import DEFAULT_CONTEXT_WINDOW
from llama_index.core.llms.callbacks import llm_chat_callback, llm_completion_callback
from llama_index.core.llms.llm import ToolSelection
from pydantic import ValidationError

from llama_index.llms.llava import results
from llama_index.llms.llava.messages import ImageInputs
from llama_index.llms.llava.requests import RequestMethods
from llama_index.llms.llava.structured import StructuredPrediction
from llama_index.llms.llava.tools import ToolChoice, tool_dict, tool_selections
from llava_tools.core.requests import DEFAULT_MAX_TOKENS
from llava_tools.options import validation_error

if TYPE_CHECKING:
    from llama_index.core.tools import BaseTool


class Llava(RequestMethods, StructuredPrediction):
    """LLaVA 1.5 on this machine, as a LlamaIndex LLM that sees images and calls tools.

    The first request loads the model, once for the process; all LLMs of equal options share it,
    and concurrent requests run in one batch. Sampling options of a call override the fields. A chat
    also takes `tools`, `tool_choice`, `allow_parallel_tool_calls`, `response_format` (a pydantic
    model or OpenAI's schema format) and `strict`.

    Setup:
        Install the extras `torch` and `llama-index`.

    Key arguments:
        `model`, `device`, `dtype` and `quantization` choose the model, `base_url` a server that
        runs it; `max_tokens`, `temperature`, `stop` and `seed` are the defaults of requests.

    Instantiate:
        ```python
        from llama_index.llms.llava import Llava

        llm = Llava(model="tiny", temperature=0)
        ```

    Invoke:
        ```python
        llm.complete("Hello!").text
        ```

    Stream:
        ```python
        for chunk in llm.stream_complete("Hello!"):
            print(chunk.delta, end="")
        ```

    Images:
        ```python
        from llama_index.core.llms import ChatMessage, ImageBlock, TextBlock

        image = ImageBlock(image=open("examples/images/night.png", "rb").read())
        question = ChatMessage(blocks=[image, TextBlock(text="What colour is the star?")])
        llm.chat([question]).message.content
        ```

    Tool calling:
        ```python
        from llama_index.core.tools import FunctionTool

        def get_price(item: str) -> str:
            "Get the price of an item."
            return "4.20"

        tool = FunctionTool.from_defaults(get_price)
        llm.predict_and_call([tool], "What does the tea cost?", tool_required=True)
        ```

    Structured output:
        ```python
        from pydantic import BaseModel, Field

        class Star(BaseModel):
            colour: str = Field(max_length=10)

        llm.as_structured_llm(Star).chat([question]).raw
        ```

    Raises:
        RequestError: An unknown option, or a value that is not possible.
    """

    synonyms: ClassVar[Mapping[str, str]] = {
        "model_name": "model",
        "context_window": "context_length",
    }

    def __init__(self, **kwargs: Any) -> None:
        try:
            super().__init__(**kwargs)
        except ValidationError as error:
            raise validation_error(error, "Llava") from None

    @classmethod
    def class_name(cls) -> str:
        """Return the name by which LlamaIndex serializes this class and detects vision support."""
        return "llava_multi_modal_llm"

    @property
    def metadata(self) -> LLMMetadata:
        """The model's properties that LlamaIndex reads; reading them loads nothing."""
        return LLMMetadata(
            context_window=self._configured_context_length or DEFAULT_CONTEXT_WINDOW,
            num_output=self.max_tokens or DEFAULT_MAX_TOKENS,
            is_chat_model=True,
            is_function_calling_model=True,
            model_name=self.model if self.backend is None else self.backend.model_name,
        )

    @llm_chat_callback()
    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """Answer a conversation.

        Raises:
            RequestError: A bad option, block, image, tool or schema, or more than fits.
            ModelError: The model cannot be loaded.
            EngineError: The engine could not finish; `OutputError` if a tool call was cut off.
        """
        return self._answer(self._chat_request(messages, kwargs))

    @llm_chat_callback()
    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseGen:
        """Stream the response of `chat`; closing the generator stops the generation."""
        return self._chunks(self._chat_request(messages, kwargs))

    @llm_chat_callback()
    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """`chat` without blocking the event loop; cancelling the task stops the generation."""
        # Requests are built in a thread, since images may have to be fetched.
        return await self._aanswer(await asyncio.to_thread(self._chat_request, messages, kwargs))

    @llm_chat_callback()
    async def astream_chat(
        self, messages: Sequence[ChatMessage], **kwargs: Any
    ) -> ChatResponseAsyncGen:
        """`stream_chat` without blocking the event loop."""
        return self._achunks(await asyncio.to_thread(self._chat_request, messages, kwargs))

    @llm_completion_callback()
    def complete(
        self,
        prompt: str,
        formatted: bool | ImageInputs = False,
        image_documents: ImageInputs = None,
        **kwargs: Any,
    ) -> CompletionResponse:
        """Complete a prompt, with or without images.

        Args:
            prompt: The question.
            formatted: Whether `completion_to_prompt` has been applied already; or the images,
                which the older multi-modal classes take in this place.
            image_documents: Images; they may be local files, since your own code names them.
            **kwargs: As for `chat`.
        """
        request = self._completion_request(prompt, formatted, image_documents, kwargs)
        return results.to_completion(self._answer(request))

    @llm_completion_callback()
    def stream_complete(
        self,
        prompt: str,
        formatted: bool | ImageInputs = False,
        image_documents: ImageInputs = None,
        **kwargs: Any,
    ) -> CompletionResponseGen:
        """Stream the response of `complete`; closing the generator stops the generation."""
        request = self._completion_request(prompt, formatted, image_documents, kwargs)
        return (results.to_completion(response) for response in self._chunks(request))

    @llm_completion_callback()
    async def acomplete(
        self,
        prompt: str,
        formatted: bool | ImageInputs = False,
        image_documents: ImageInputs = None,
        **kwargs: Any,
    ) -> CompletionResponse:
        """`complete` without blocking the event loop."""
        request = await asyncio.to_thread(
            self._completion_request, prompt, formatted, image_documents, kwargs
        )
        return results.to_completion(await self._aanswer(request))

    @llm_completion_callback()
    async def astream_complete(
        self,
        prompt: str,
        formatted: bool | ImageInputs = False,
        image_documents: ImageInputs = None,
        **kwargs: Any,
    ) -> CompletionResponseAsyncGen:
        """`stream_complete` without blocking the event loop."""
        request = await asyncio.to_thread(
            self._completion_request, prompt, formatted, image_documents, kwargs
        )

        async def completions() -> CompletionResponseAsyncGen:
            async with aclosing(self._achunks(request)) as responses:
                async for response in responses:
                    yield results.to_completion(response)

        return completions()

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
        """Return the keywords of `chat`; `tool_choice` overrides `tool_required`."""
        messages = list(chat_history or [])
        if user_msg is not None:
            messages.append(
                ChatMessage(user_msg, role="user") if isinstance(user_msg, str) else user_msg
            )
        return {
            "messages": messages,
            "tools": [tool_dict(tool) for tool in tools],
            "tool_choice": tool_choice or ("required" if tool_required else "auto"),
            "allow_parallel_tool_calls": allow_parallel_tool_calls,
            **kwargs,
        }

    def get_tool_calls_from_response(
        self, response: ChatResponse, error_on_no_tool_call: bool = True, **kwargs: Any
    ) -> list[ToolSelection]:
        """Return the tool calls of a response or a chunk, with the arguments received so far."""
        return tool_selections(response, required=error_on_no_tool_call)
