"""This project's errors as LangChain knows them.

Each class here is both: whoever catches `llava_tools.errors.ContextOverflowError` and whoever
catches `langchain_core.exceptions.ContextOverflowError` get the same error, message unchanged.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from langchain_core import exceptions as langchain
from pydantic import ValidationError

from llava_tools import errors as own
from llava_tools.images.fetch import FetchError
from llava_tools.options import validation_error


class LlavaRequestError(own.RequestError, langchain.ModelInvalidRequestError):
    """The request is wrong: an option, a value, a content block, a conversation."""


class LlavaImageError(own.ImageError, langchain.ModelInvalidRequestError):
    """An image cannot be used."""


class LlavaDocumentError(own.DocumentError, langchain.ModelInvalidRequestError):
    """A document cannot be read, or no page was found."""


class LlavaIndexStoreError(own.IndexStoreError, langchain.LangChainException):
    """An index cannot be opened or written."""


class LlavaSchemaError(own.SchemaError, langchain.ModelInvalidRequestError):
    """A schema is none, or demands what cannot be enforced."""


class LlavaFetchError(FetchError, langchain.ModelConnectionError):
    """An image's server or the network failed; the same URL may work later."""


class LlavaContextOverflowError(own.ContextOverflowError, langchain.ContextOverflowError):
    """Prompt and answer do not fit into the model's context."""


class LlavaModelError(own.ModelError, langchain.ModelError):
    """The model cannot be loaded."""


class LlavaModelNotFoundError(own.ModelNotFoundError, langchain.ModelNotFoundError):
    """There is no such model."""


class LlavaEngineError(own.EngineError, langchain.ModelError):
    """The engine could not finish the request."""


class LlavaOutputError(own.OutputError, langchain.ModelError):
    """The answer was cut off, or is not of the schema asked for."""


class LlavaEngineClosedError(own.EngineClosedError, langchain.ModelError):
    """The engine was closed."""


class LlavaEngineCrashedError(own.EngineCrashedError, langchain.ModelAPIError):
    """A step of the model raised; the same request may work when it is sent again."""


class LlavaMemoryExhaustedError(own.MemoryExhaustedError, langchain.ModelAPIError):
    """There was no memory for this request; it may work when others are over."""


class LlavaQueueFullError(own.QueueFullError, langchain.ModelRateLimitError):
    """Too many requests are waiting; the same request may work later."""


class LlavaTimeoutError(own.AnswerTimeoutError, langchain.ModelTimeoutError):
    """The answer took longer than `timeout`."""


class LlavaServerError(own.ServerError, langchain.ModelConnectionError):
    """The server behind `base_url` cannot be reached, failed, or broke off."""


_TWINS: dict[type[own.LlavaToolsError], type[own.LlavaToolsError]] = {
    own.RequestError: LlavaRequestError,
    own.ImageError: LlavaImageError,
    own.DocumentError: LlavaDocumentError,
    own.IndexStoreError: LlavaIndexStoreError,
    own.SchemaError: LlavaSchemaError,
    FetchError: LlavaFetchError,
    own.ContextOverflowError: LlavaContextOverflowError,
    own.ModelError: LlavaModelError,
    own.ModelNotFoundError: LlavaModelNotFoundError,
    own.EngineError: LlavaEngineError,
    own.OutputError: LlavaOutputError,
    own.EngineClosedError: LlavaEngineClosedError,
    own.EngineCrashedError: LlavaEngineCrashedError,
    own.MemoryExhaustedError: LlavaMemoryExhaustedError,
    own.QueueFullError: LlavaQueueFullError,
    own.AnswerTimeoutError: LlavaTimeoutError,
    own.ServerError: LlavaServerError,
}


def twin(error: own.LlavaToolsError) -> own.LlavaToolsError:
    """Return the error as an instance of LangChain's nearest class too.

    What LangChain has no word for (a missing extra) is returned as it is.
    """
    if isinstance(error, langchain.LangChainException):
        return error
    for kind in type(error).__mro__:
        if kind in _TWINS:
            return _TWINS[kind](error.message, error.hint)
    return error


@contextmanager
def as_langchain() -> Iterator[None]:
    """Raise this project's errors as LangChain's, with the original one as their cause."""
    try:
        yield
    except own.LlavaToolsError as error:
        same = twin(error)
        if same is error:
            raise
        raise same from error


def of_validation(error: ValidationError) -> own.LlavaToolsError:
    """Return the one-line error of what pydantic found wrong first."""
    return twin(validation_error(error, "ChatLlava"))
