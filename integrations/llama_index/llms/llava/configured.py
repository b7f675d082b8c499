"""What a `Llava` is made with: fields, checked before anything is loaded, and their engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from llama_index.core.base.llms.types import LLMMetadata
from llama_index.core.llms.function_calling import FunctionCallingLLM
from pydantic import ValidationError

from llava_tools.core.requests import DEFAULT_MAX_TOKENS
from llava_tools.model_fields import ModelFields
from llava_tools.options import validation_error

#: Other names under which LlamaIndex's users know our options.
SYNONYMS = {"model_name": "model", "context_window": "context_length"}


class Configured(ModelFields, FunctionCallingLLM):
    """The options of `Llava`, and the engine that they choose."""

    synonyms: ClassVar[Mapping[str, str]] = SYNONYMS

    strict: bool = True
    """False takes schemas that cannot be enforced in full: the answer is checked afterwards, and
    marked `best_effort`."""

    def __init__(self, **kwargs: Any) -> None:
        try:
            super().__init__(**kwargs)
        except ValidationError as error:
            raise validation_error(error, "Llava") from None

    @classmethod
    def class_name(cls) -> str:
        """Return the name under which LlamaIndex serializes this class and knows that it sees."""
        return "llava_multi_modal_llm"

    @property
    def metadata(self) -> LLMMetadata:
        """What LlamaIndex reads of the model, without loading it."""
        metadata = LLMMetadata(
            num_output=self.max_tokens or DEFAULT_MAX_TOKENS,
            is_chat_model=True,
            is_function_calling_model=True,
            model_name=self.model if self.backend is None else self.backend.model_name,
        )
        window = self._known_context_length
        return (
            metadata if window is None else metadata.model_copy(update={"context_window": window})
        )
