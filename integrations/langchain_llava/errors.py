"""This project's errors as LangChain's errors.

Each class derives from both: `except llava_tools.errors.ContextOverflowError` and `except
langchain_core.exceptions.ContextOverflowError` catch the same error, with the same message. The
docstrings are those of `llava_tools.errors`.
"""

# ruff: noqa: D101

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from langchain_llava import compat as langchain
from llava_tools import errors as llava
from llava_tools.images.fetch import FetchError


class LlavaRequestError(llava.RequestError, langchain.ModelInvalidRequestError): ...


class LlavaImageError(llava.ImageError, langchain.ModelInvalidRequestError): ...


class LlavaDocumentError(llava.DocumentError, langchain.ModelInvalidRequestError): ...


class LlavaImageStoreError(llava.ImageStoreError, langchain.LangChainException): ...


class LlavaIndexStoreError(llava.IndexStoreError, langchain.LangChainException): ...


class LlavaForeignIndexError(llava.ForeignIndexError, LlavaIndexStoreError): ...


class LlavaSchemaError(llava.SchemaError, langchain.ModelInvalidRequestError): ...


class LlavaFetchError(FetchError, langchain.ModelConnectionError): ...


class LlavaContextOverflowError(llava.ContextOverflowError, langchain.ContextOverflowError): ...


class LlavaModelError(llava.ModelError, langchain.ModelError): ...


class LlavaModelNotFoundError(llava.ModelNotFoundError, langchain.ModelNotFoundError): ...


class LlavaEngineError(llava.EngineError, langchain.ModelError): ...


class LlavaOutputError(llava.OutputError, langchain.ModelError): ...


class LlavaEngineClosedError(llava.EngineClosedError, langchain.ModelError): ...


class LlavaEngineCrashedError(llava.EngineCrashedError, langchain.ModelAPIError): ...


class LlavaMemoryExhaustedError(llava.MemoryExhaustedError, langchain.ModelAPIError): ...


class LlavaQueueFullError(llava.QueueFullError, langchain.ModelRateLimitError): ...


class LlavaTimeoutError(llava.AnswerTimeoutError, langchain.ModelTimeoutError): ...


class LlavaServerError(llava.ServerError, langchain.ModelConnectionError): ...


#: From each error of `llava_tools` to the class above that derives from it.
_TRANSLATIONS: dict[type, type[llava.LlavaToolsError]] = {
    item.__bases__[0]: item
    for item in list(globals().values())
    if isinstance(item, type)
    and issubclass(item, llava.LlavaToolsError)
    and item.__module__ == __name__
}


def translate(error: llava.LlavaToolsError) -> llava.LlavaToolsError:
    """Return an error that is LangChain's too; `MissingExtraError` is returned unchanged."""
    if isinstance(error, langchain.LangChainException):
        return error
    for error_type in type(error).__mro__:
        if issubclass(error_type, llava.LlavaToolsError) and error_type in _TRANSLATIONS:
            return _TRANSLATIONS[error_type](*error_type.__reduce__(error)[1])
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
