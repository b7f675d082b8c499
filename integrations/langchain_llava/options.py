"""Options of this package's LangChain classes: synonyms, and one error for a wrong option."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pydantic import BaseModel, ValidationError, model_validator

from langchain_llava.errors import translate
from llava_tools.errors import LlavaToolsError, refuse_unknown
from llava_tools.options import validation_error

#: From LangChain's names of options to this project's.
SYNONYMS = {"model_name": "model", "stop_sequences": "stop"}


@contextmanager
def option_errors(class_name: str) -> Iterator[None]:
    """Raise a `RequestError` of one line instead of pydantic's `ValidationError`.

    pydantic's error would show the values of all options, including the API key.
    """
    try:
        yield
    except LlavaToolsError as error:  # of `validate_model_on_init`
        raise translate(error) from error.__cause__
    except ValidationError as error:
        raise translate(validation_error(error, class_name)) from None


class CheckedOptions(BaseModel):
    """A class whose wrong options are a `RequestError`: unknown names, impossible values."""

    def __init__(self, **options: Any) -> None:
        with option_errors(type(self).__name__):
            super().__init__(**options)

    @model_validator(mode="before")
    @classmethod
    def _check_names(cls, options: Any) -> Any:
        if isinstance(options, dict):
            refuse_unknown(options, cls.model_fields, cls.__name__)
        return options
