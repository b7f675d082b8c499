"""This project's errors as LangChain's errors.

Each class derives from both: `except llava_tools.errors.ContextOverflowError` and `except
langchain_core.exceptions.ContextOverflowError` catch the same error, with the same message.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from langchain_core import exceptions as langchain

from llava_tools import errors as llava
from llava_tools.images.fetch import FetchError


class LlavaRequestError(llava.RequestError, langchain.ModelInvalidRequestError):
    """A wrong request: an option, a value, a content block, a conversation."""


class LlavaImageError(llava.ImageError, langchain.ModelInvalidRequestError):
    """An image cannot be used."""


class LlavaDocumentError(llava.DocumentError, langchain.ModelInvalidRequestError):
    """A document cannot be read, or changed after it was indexed."""


class LlavaIndexStoreError(llava.IndexStoreError, langchain.LangChainException):
    """An index cannot be opened or written."""


class LlavaSchemaError(llava.SchemaError, langchain.ModelInvalidRequestError):
    """A value is no JSON schema, or the schema cannot be enforced."""


class LlavaFetchError(FetchError, langchain.ModelConnectionError):
    """The image's server or the network failed; the same URL may work later."""


class LlavaContextOverflowError(llava.ContextOverflowError, langchain.ContextOverflowError):
    """Prompt and answer do not fit into the model's context."""


class LlavaModelError(llava.ModelError, langchain.ModelError):
    """The model cannot be loaded."""


class LlavaModelNotFoundError(llava.ModelNotFoundError, langchain.ModelNotFoundError):
    """No model has this name."""


class LlavaEngineError(llava.EngineError, langchain.ModelError):
    """The engine could not finish the request."""


class LlavaOutputError(llava.OutputError, langchain.ModelError):
    """The answer was cut off, or does not satisfy the schema."""


class LlavaEngineClosedError(llava.EngineClosedError, langchain.ModelError):
    """The engine was closed."""


class LlavaEngineCrashedError(llava.EngineCrashedError, langchain.ModelAPIError):
    """A step of the engine raised; the same request may work when it is sent again."""


class LlavaMemoryExhaustedError(llava.MemoryExhaustedError, langchain.ModelAPIError):
    """Memory did not suffice for this request; it may work when others are finished."""


class LlavaQueueFullError(llava.QueueFullError, langchain.ModelRateLimitError):
    """Too many requests are waiting; the same request may work later."""


class LlavaTimeoutError(llava.AnswerTimeoutError, langchain.ModelTimeoutError):
    """The answer took longer than `timeout`."""


class LlavaServerError(llava.ServerError, langchain.ModelConnectionError):
    """The server behind `base_url` cannot be reached, failed, or broke off."""


#: From each error of `llava_tools` to the class above that derives from it.
_TRANSLATIONS: dict[type, type[llava.LlavaToolsError]] = {
    item.__bases__[0]: item
    for item in list(globals().values())
    if isinstance(item, type)
    and issubclass(item, llava.LlavaToolsError)
    and item.__module__ == __name__
}


def translate(error: llava.LlavaToolsError) -> llava.LlavaToolsError:
    """Return an error that is LangChain's too; a missing extra has none and stays as it is."""
    if isinstance(error, langchain.LangChainException):
        return error
    for error_type in type(error).__mro__:
        if error_type in _TRANSLATIONS:
            return _TRANSLATIONS[error_type](error.message, error.hint)
    return error


@contextmanager
def translated_errors() -> Iterator[None]:
    """Raise this project's errors as LangChain's, with the original error as their cause."""
    try:
        yield
    except llava.LlavaToolsError as error:
        translated = translate(error)
        if translated is error:
            raise
        raise translated from error
