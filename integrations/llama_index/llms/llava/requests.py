"""`RequestMethods`: from messages and options to a `Request`, and from there to responses."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import aclosing, closing
from typing import Any

from llama_index.core.base.llms.types import ChatMessage, ChatResponse
from llama_index.core.llms.llm import LLM

from llama_index.llms.llava import results
from llama_index.llms.llava.messages import ImageInputs, to_messages, to_question
from llama_index.llms.llava.tools import CALL_OPTIONS, to_constraint
from llava_tools.core.requests import Message, Request
from llava_tools.core.streaming import aanswer, answer, astream
from llava_tools.errors import RequestError
from llava_tools.model_fields import ModelFields
from llava_tools.options import SAMPLING_OPTIONS, normalize, sampling_params


class RequestMethods(ModelFields, LLM):
    """The fields of a `Llava`, and what its chats and completions share."""

    strict: bool = True
    """False accepts schemas that cannot be enforced in full: the finished answer is validated
    instead, and marked `best_effort`."""

    def _chat_request(self, messages: Sequence[ChatMessage], kwargs: dict[str, Any]) -> Request:
        return self._request(to_messages(messages, self._resolver), kwargs)

    def _completion_request(
        self,
        prompt: str,
        formatted: bool | ImageInputs,
        images: ImageInputs,
        kwargs: dict[str, Any],
    ) -> Request:
        if not isinstance(formatted, bool):
            images = formatted if images is None else images
            formatted = False
        if not formatted and self.completion_to_prompt is not None:
            prompt = self.completion_to_prompt(prompt)
        return self._request((to_question(prompt, images, self._resolver),), kwargs)

    def _request(self, messages: tuple[Message, ...], kwargs: dict[str, Any]) -> Request:
        """Check everything that can be checked without loading the model."""
        names = (*SAMPLING_OPTIONS, *CALL_OPTIONS)
        options = normalize(kwargs, names, "A Llava call", {})
        if not messages:
            raise RequestError("There is no message.", "Give at least the user's question.")
        constraint: dict[str, Any] = {"strict": self.strict}
        constraint |= {name: options.pop(name) for name in CALL_OPTIONS if name in options}
        defaults = {name: getattr(self, name) for name in SAMPLING_OPTIONS}
        sampling = sampling_params({**defaults, **options}, "A Llava call")
        return Request(messages, sampling, to_constraint(**constraint))

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
