"""Structured prediction through the grammar: an output class in, its instances out.

The JSON schema of the class constrains the answer while it is generated, so the model cannot write
anything else; no tool is made up for it. With a `pydantic_program_mode` other than the default,
LlamaIndex's own programs are used.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from typing import Any, TypeVar, cast

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

from llama_index.llms.llava.tools import describe_output
from llava_tools.errors import OutputError

Model = TypeVar("Model", bound=BaseModel)

dispatcher = get_dispatcher(__name__)


class StructuredPrediction(FunctionCallingLLM):
    """Turns `structured_predict` and its twins into chats with a `response_format`."""

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
            OutputError: The answer was cut off by max_tokens, or a validator refused it.
        """
        if self._through_programs:
            given = (output_cls, prompt, llm_kwargs)
            return cast(Model, super().structured_predict(*given, **prompt_args))
        messages, told = self._begin(output_cls, prompt, llm_kwargs, prompt_args)
        return _end(output_cls, self.chat(messages, **told).message.content)

    async def astructured_predict(
        self,
        output_cls: type[Model],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> Model:
        """`structured_predict` without blocking the event loop."""
        if self._through_programs:
            given = (output_cls, prompt, llm_kwargs)
            return cast(Model, await super().astructured_predict(*given, **prompt_args))
        messages, told = self._begin(output_cls, prompt, llm_kwargs, prompt_args)
        response = await self.achat(messages, **told)
        return _end(output_cls, response.message.content)

    def stream_structured_predict(
        self,
        output_cls: type[Model],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> Generator[Model | FlexibleModel, None, None]:
        """`structured_predict` in steps: whatever fields are there yet, and the instance last."""
        if self._through_programs:
            yield from super().stream_structured_predict(
                output_cls, prompt, llm_kwargs, **prompt_args
            )
            return
        messages, told = self._begin(output_cls, prompt, llm_kwargs, prompt_args)
        partial = _Partial(output_cls)
        text: str | None = None
        for response in self.stream_chat(messages, **told):
            text = response.message.content
            if (step := partial.read(text)) is not None:
                yield step
        yield _end(output_cls, text)

    async def astream_structured_predict(
        self,
        output_cls: type[Model],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> AsyncGenerator[Model | FlexibleModel, None]:
        """`stream_structured_predict` without blocking the event loop."""
        if self._through_programs:
            return await super().astream_structured_predict(
                output_cls, prompt, llm_kwargs, **prompt_args
            )
        messages, told = self._begin(output_cls, prompt, llm_kwargs, prompt_args)

        async def steps() -> AsyncGenerator[Model | FlexibleModel, None]:
            partial = _Partial(output_cls)
            text: str | None = None
            async for response in await self.astream_chat(messages, **told):
                text = response.message.content
                if (step := partial.read(text)) is not None:
                    yield step
            yield _end(output_cls, text)

        return steps()

    @property
    def _through_programs(self) -> bool:
        return self.pydantic_program_mode is not PydanticProgramMode.DEFAULT

    def _begin(
        self,
        output_cls: type[BaseModel],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None,
        prompt_args: dict[str, Any],
    ) -> tuple[list[ChatMessage], dict[str, Any]]:
        """Return the chat's messages and keywords."""
        dispatcher.event(
            LLMStructuredPredictStartEvent(
                output_cls=output_cls, template=prompt, template_args=prompt_args
            )
        )
        messages = self._extend_messages(prompt.format_messages(llm=self, **prompt_args))
        return messages, {**(llm_kwargs or {}), "response_format": describe_output(output_cls)}


class _Partial:
    """Reads an answer on its way into a copy of the class whose fields may all be missing."""

    def __init__(self, output_cls: type[BaseModel]) -> None:
        self._flexible = create_flexible_model(output_cls)
        self._last: object = None

    def read(self, text: str | None) -> FlexibleModel | None:
        """Return what there is by now; None if it says no more than last time."""
        told = from_json(text, allow_partial="trailing-strings") if text and text.strip() else None
        if not isinstance(told, dict) or told == self._last:
            return None
        self._last = told
        partial = self._flexible(**told)
        dispatcher.event(LLMStructuredPredictInProgressEvent(output=partial))
        return partial


def _end(output_cls: type[Model], text: str | None) -> Model:
    try:
        output = output_cls.model_validate_json(text or "")
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise OutputError(
            f"The answer is of {output_cls.__name__}'s schema, but a validator of the class "
            f"refuses it at {where or 'the top'}: {first['msg']}.",
            "Say in the field's type what it demands (pattern, bounds, Literal), or ask again.",
        ) from error
    dispatcher.event(LLMStructuredPredictEndEvent(output=output))
    return output
