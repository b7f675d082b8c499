"""The errors that users meet: one line each, saying what was wrong, why, and what to do next.

Every error of this package derives from `LlavaToolsError`. `retryable` tells a caller whether the
same request may work later (a full queue, a crashed step) or never will (a bad image).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from difflib import get_close_matches


class LlavaToolsError(Exception):
    """Base of all errors.

    Args:
        message: What was wrong and why, naming the offending value.
        hint: What to do next; appended to the message.
    """

    retryable = False

    def __init__(self, message: str, hint: str = "") -> None:
        self.message = message
        self.hint = hint
        super().__init__(" ".join(f"{message} {hint}".split()))

    def __reduce__(self) -> tuple[type[LlavaToolsError], tuple[str, str]]:
        return type(self), (self.message, self.hint)


class RequestError(LlavaToolsError, ValueError):
    """The request itself is wrong: an unknown option, a bad value, an impossible conversation."""


class ImageError(RequestError):
    """An image cannot be used: missing, unreadable, truncated, too large, or not allowed."""


class DocumentError(RequestError):
    """A document cannot be read: missing, broken, encrypted, empty, too large, or changed."""


class ContextOverflowError(RequestError):
    """The prompt and the tokens asked for do not fit into the model's context."""


class SchemaError(RequestError):
    """A schema is no JSON schema, or demands what cannot be enforced."""


class ModelError(LlavaToolsError):
    """The model cannot be had: unknown name, not a LLaVA, wrong weights, no room for it."""


class ModelNotFoundError(ModelError):
    """There is no model of that name, folder or revision."""


class MissingExtraError(LlavaToolsError, ImportError):
    """An optional dependency is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        self.package = package
        self.extra = extra
        super().__init__(
            f"{package} is not installed, and this needs it.",
            f"Run: pip install 'llava-tools[{extra}]'",
        )

    def __reduce__(self) -> tuple[type[MissingExtraError], tuple[str, str]]:
        return type(self), (self.package, self.extra)


class IndexStoreError(LlavaToolsError):
    """An index cannot be opened or written: no index, another model's, in use, no room."""


class EngineError(LlavaToolsError):
    """The engine could not run the request to its end."""


class OutputError(EngineError):
    """The model's answer is not what it had to be: cut off, or not of the schema asked for."""


class EngineClosedError(EngineError):
    """The engine was closed before or during the request."""


class EngineCrashedError(EngineError):
    """A step of the model raised; the requests in flight are lost, the next one starts afresh."""

    retryable = True


class MemoryExhaustedError(EngineError):
    """There was no memory for this request; those beside it go on."""

    retryable = True


class AnswerTimeoutError(EngineError):
    """The answer took longer than its `timeout`."""

    retryable = True


class TrainingError(EngineError):
    """A training stopped before its end; the same command goes on from where it last saved."""


class ServerError(EngineError):
    """The server behind `base_url` cannot be reached, failed, or broke off."""

    retryable = True


class QueueFullError(EngineError):
    """Too many requests are waiting."""

    retryable = True


def unknown_option(name: str, known: Iterable[str], where: str) -> RequestError:
    """Return the error for a keyword that `where` does not take, with the nearest known one."""
    names = sorted(known)
    near = get_close_matches(name, names, n=1)
    hint = f"Did you mean {near[0]!r}? " if near else ""
    return RequestError(
        f"{where} takes no option {name!r}.", f"{hint}Known options: {', '.join(names)}."
    )


def refuse_unknown(given: Iterable[str], known: Collection[str], where: str) -> None:
    """Make sure that `where` takes all the keywords that it was given.

    Raises:
        RequestError: It takes one of them not; the message names the nearest that it takes.
    """
    for name in given:
        if name not in known:
            raise unknown_option(name, known, where)


def need(*packages: str, extra: str) -> None:
    """Make sure that packages are installed.

    Raises:
        MissingExtraError: One is not; the message names the extra that brings it.
    """
    for package in packages:
        try:
            __import__(package)
        except ModuleNotFoundError as error:
            if error.name != package:
                raise
            raise MissingExtraError(package, extra) from None
