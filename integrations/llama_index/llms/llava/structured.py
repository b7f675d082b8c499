"""Structured prediction through the grammar: from an output class to its instances.

The JSON schema of the class constrains generation, so every answer conforms to it; no tool call is
involved. With a `pydantic_program_mode` other than the default, LlamaIndex's own programs run.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Iterator
from typing import Any, Generic, TypeVar, cast

from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.instrumentation.events.llm import (
    LLMStructuredPredictEndEvent,
    LLMStructuredPredictInProgressEvent,
    LLMStructuredPredictStartEvent,
)
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.program.utils import FlexibleModel, create_flexible_model
from llama_index.core.prompts import PromptTemplate
from llama_index.core.types import PydanticProgramMode
from llama_index_instrumentation import get_dispatcher
from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from llama_index.llms.llava.tools import format_dict
from llava_tools.errors import OutputError

Model = TypeVar("Model", bound=BaseModel)

dispatcher = get_dispatcher(__name__)


class StructuredPrediction(FunctionCallingLLM):
    """Implements `structured_predict` and its twins as chats with a `response_format`."""

    def structured_predict(
        self,
        output_cls: type[Model],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> Model:
        """Predict an instance of a pydantic model.

        Raises:
            SchemaError: Its schema cannot be enforced.
            OutputError: max_tokens cut the answer off, or a validator of the model refused it.
        """
        if self._uses_programs:
            predict = super().structured_predict
            return cast(Model, predict(output_cls, prompt, llm_kwargs, **prompt_args))
        messages, kwargs = self._chat_arguments(output_cls, prompt, llm_kwargs, prompt_args)
        return _parse(output_cls, self.chat(messages, **kwargs).message.content)

    async def astructured_predict(
        self,
        output_cls: type[Model],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> Model:
        """`structured_predict` without blocking the event loop."""
        if self._uses_programs:
            predict = super().astructured_predict
            return cast(Model, await predict(output_cls, prompt, llm_kwargs, **prompt_args))
        messages, kwargs = self._chat_arguments(output_cls, prompt, llm_kwargs, prompt_args)
        return _parse(output_cls, (await self.achat(messages, **kwargs)).message.content)

    def stream_structured_predict(
        self,
        output_cls: type[Model],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> Generator[Model | FlexibleModel, None, None]:
        """Stream `structured_predict`: partial objects while it answers, then the instance."""
        if self._uses_programs:
            stream = super().stream_structured_predict
            yield from stream(output_cls, prompt, llm_kwargs, **prompt_args)
            return
        messages, kwargs = self._chat_arguments(output_cls, prompt, llm_kwargs, prompt_args)
        parser = _PartialParser(output_cls)
        for response in self.stream_chat(messages, **kwargs):
            yield from parser.parse(response.message.content)
        yield parser.finish()

    async def astream_structured_predict(
        self,
        output_cls: type[Model],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> AsyncGenerator[Model | FlexibleModel, None]:
        """`stream_structured_predict` without blocking the event loop."""
        if self._uses_programs:
            stream = super().astream_structured_predict
            return await stream(output_cls, prompt, llm_kwargs, **prompt_args)
        messages, kwargs = self._chat_arguments(output_cls, prompt, llm_kwargs, prompt_args)

        async def outputs() -> AsyncGenerator[Model | FlexibleModel, None]:
            parser = _PartialParser(output_cls)
            async for response in await self.astream_chat(messages, **kwargs):
                for partial in parser.parse(response.message.content):
                    yield partial
            yield parser.finish()

        return outputs()

    @property
    def _uses_programs(self) -> bool:
        return self.pydantic_program_mode is not PydanticProgramMode.DEFAULT

    def _chat_arguments(
        self,
        output_cls: type[BaseModel],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None,
        prompt_args: dict[str, Any],
    ) -> tuple[list[ChatMessage], dict[str, Any]]:
        """Return the messages and keywords of the chat."""
        dispatcher.event(
            LLMStructuredPredictStartEvent(
                output_cls=output_cls, template=prompt, template_args=prompt_args
            )
        )
        messages = self._extend_messages(prompt.format_messages(llm=self, **prompt_args))
        return messages, {**(llm_kwargs or {}), "response_format": format_dict(output_cls)}


class _PartialParser(Generic[Model]):
    """Parses a growing answer into partial objects: a copy of the class with optional fields."""

    def __init__(self, output_cls: type[Model]) -> None:
        self._output_cls = output_cls
        self._flexible = create_flexible_model(output_cls)
        self._text: str | None = None
        self._fields: object = None

    def parse(self, text: str | None) -> Iterator[FlexibleModel]:
        """Yield the object that the text so far spells, if it differs from the last one."""
        self._text = text
        fields = (
            from_json(text, allow_partial="trailing-strings") if text and text.strip() else None
        )
        if isinstance(fields, dict) and fields != self._fields:
            self._fields = fields
            partial = self._flexible(**fields)
            dispatcher.event(LLMStructuredPredictInProgressEvent(output=partial))
            yield partial

    def finish(self) -> Model:
        """Return the instance that the whole text spells."""
        return _parse(self._output_cls, self._text)


def _parse(output_cls: type[Model], text: str | None) -> Model:
    try:
        output = output_cls.model_validate_json(text or "")
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        location = ".".join(str(part) for part in first["loc"]) or "the top"
        raise OutputError(
            f"The answer conforms to the schema of {output_cls.__name__}, but a validator of the "
            f"class refuses it at {location}: {first['msg']}.",
            "Express the rule in the field's type (pattern, bounds, Literal), or try again.",
        ) from error
    dispatcher.event(LLMStructuredPredictEndEvent(output=output))
    return output
