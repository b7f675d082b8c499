"""Names of langchain-core that its older releases lack.

Errors came with 1.2.10 (`ContextOverflowError`) and 1.6 (the others), model profiles with 1.1.
Before that, errors are `LangChainException`s, and a profile is a plain dict.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core import exceptions, language_models
from langchain_core.language_models import BaseChatModel

if TYPE_CHECKING:
    from langchain_core.exceptions import (
        ContextOverflowError,
        LangChainException,
        ModelAPIError,
        ModelConnectionError,
        ModelError,
        ModelInvalidRequestError,
        ModelNotFoundError,
        ModelRateLimitError,
        ModelTimeoutError,
    )
    from langchain_core.language_models import ModelProfile
else:
    LangChainException = exceptions.LangChainException
    ContextOverflowError = getattr(exceptions, "ContextOverflowError", LangChainException)
    ModelAPIError = getattr(exceptions, "ModelAPIError", LangChainException)
    ModelConnectionError = getattr(exceptions, "ModelConnectionError", LangChainException)
    ModelError = getattr(exceptions, "ModelError", LangChainException)
    ModelInvalidRequestError = getattr(exceptions, "ModelInvalidRequestError", LangChainException)
    ModelNotFoundError = getattr(exceptions, "ModelNotFoundError", LangChainException)
    ModelRateLimitError = getattr(exceptions, "ModelRateLimitError", LangChainException)
    ModelTimeoutError = getattr(exceptions, "ModelTimeoutError", LangChainException)
    ModelProfile = getattr(language_models, "ModelProfile", dict[str, Any])


def add_version(model: BaseChatModel, package: str, version: str) -> None:
    """Name a package in the metadata of traces, if langchain-core does that (from 1.5 on)."""
    if hasattr(model, "_add_version"):
        model._add_version(package, version)


__all__ = [
    "ContextOverflowError",
    "LangChainException",
    "ModelAPIError",
    "ModelConnectionError",
    "ModelError",
    "ModelInvalidRequestError",
    "ModelNotFoundError",
    "ModelProfile",
    "ModelRateLimitError",
    "ModelTimeoutError",
    "add_version",
]
