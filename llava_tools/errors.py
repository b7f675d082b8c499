"""The errors of this package: one line each, with the fault, its cause and the next step.

All of them derive from `LlavaToolsError`. `retryable` is True if the same request may succeed later
(a full queue, a crashed step), False if it cannot (a bad image).
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable
from difflib import get_close_matches
from typing import Any

#: Characters of an error's text, at most: a server or a file may have written it.
MAX_MESSAGE = 2_000
#: Characters that move a terminal's cursor, ring its bell, or reverse the direction of a text: the
#: control characters except tab and line feed, a carriage return without its line feed, and of
#: Unicode's the separators of lines and the marks that override or isolate directions.
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]|\r(?!\n)")
#: A user's name and password in a URL.
_CREDENTIALS = re.compile(r"(?<=://)[^\s/\\?#'\"]*@")


def escape_controls(text: str) -> str:
    r"""Return a text that is harmless in a terminal: with `\x1b` in letters for an escape."""
    return _CONTROLS.sub(lambda match: ascii(match[0])[1:-1], text)


def escape_line(text: str) -> str:
    r"""Return a text that is harmless as a line of a log: with `\n` in letters, too."""
    return escape_controls(text).replace("\r", "\\r").replace("\n", "\\n")


def on_one_line(text: str) -> str:
    r"""Return a text that is harmless as a name in a line: all that is not printable in letters."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def json_text(value: object, indent: int | None = None) -> str:
    """Return a value as JSON that is harmless in a terminal: JSON's own escapes keep the value."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    if escape_controls(text) == text:
        return text
    return json.dumps(value, indent=indent).replace("\x7f", "\\u007f")


class LlavaToolsError(Exception):
    """Base of all errors.

    Args:
        message: The fault and its cause, with the offending value.
        hint: The next step; appended to the message.
    """

    retryable = False

    def __init__(self, message: str, hint: str = "") -> None:
        self.message = _harmless(message)
        self.hint = _harmless(hint)
        super().__init__(f"{self.message} {self.hint}".strip())

    def __reduce__(self) -> tuple[type[LlavaToolsError], tuple[str, ...]]:
        return type(self), (self.message, self.hint)


def _harmless(text: str) -> str:
    """Return a part of a message on one line, of `MAX_MESSAGE` at most, without credentials."""
    text = _CREDENTIALS.sub("", text)
    return _cut(" ".join(escape_controls(_cut(text)).split()))


def _cut(text: str) -> str:
    """Return a text without its middle if it is long."""
    half = MAX_MESSAGE // 2 - 2
    return text if len(text) <= MAX_MESSAGE else f"{text[:half]} … {text[-half:]}"


class RequestError(LlavaToolsError, ValueError):
    """The request is invalid: an unknown option, a bad value, an impossible conversation."""


class ImageError(RequestError):
    """An image cannot be used: missing, unreadable, truncated, too large, or not allowed."""


class DocumentError(RequestError):
    """A document cannot be read: missing, broken, encrypted, empty, too large, or changed."""


class ContextOverflowError(RequestError):
    """The prompt and the requested tokens exceed the model's context."""


class SchemaError(RequestError):
    """A schema is not a valid JSON schema, or cannot be enforced."""


class ModelError(LlavaToolsError):
    """The model cannot be loaded: unknown name, not a LLaVA, wrong weights, too little memory."""


class ModelNotFoundError(ModelError):
    """No model has that name, folder or revision."""


class MissingExtraError(LlavaToolsError, ImportError):
    """An optional dependency is not installed; `extra` is empty if no extra installs it."""

    def __init__(self, package: str, extra: str) -> None:
        self.package = package
        self.extra = extra
        origin = f"It belongs to the extra {extra!r}. " if extra else ""
        super().__init__(
            f"{package} is not installed, and this needs it.",
            f"{origin}Run: {install_command(package, extra)}",
        )

    def __reduce__(self) -> tuple[type[MissingExtraError], tuple[str, str]]:
        return type(self), (self.package, self.extra)


class ImageStoreError(LlavaToolsError):
    """The directory of an image store cannot be used: missing, no permission, disk full."""


class IndexStoreError(LlavaToolsError):
    """An index cannot be opened or written: missing, another model's, in use, disk full."""


class ForeignIndexError(IndexStoreError):
    """An index of another program, or of another version: nothing in it is mended or removed."""

    def __init__(
        self,
        message: str,
        hint: str = "Index into another folder: llava-tools index PATHS --to FOLDER",
    ) -> None:
        super().__init__(message, hint)


class EngineError(LlavaToolsError):
    """The engine could not finish the request."""


class OutputError(EngineError):
    """The answer violates the constraint: cut off, or not of the schema.

    Args:
        message: As in `LlavaToolsError`.
        hint: As in `LlavaToolsError`.
        text: What the model had written, as far as it is known.
        tool_calls: The `ToolCall`s that were complete; their arguments may not be of the schema.
    """

    def __init__(
        self, message: str, hint: str = "", text: str = "", tool_calls: tuple[Any, ...] = ()
    ) -> None:
        self.text = text
        self.tool_calls = tool_calls
        super().__init__(message, hint)

    def __reduce__(self) -> tuple[type[OutputError], tuple[Any, ...]]:
        return type(self), (self.message, self.hint, self.text, self.tool_calls)


class EngineClosedError(EngineError):
    """The engine was closed before or during the request."""


class EngineCrashedError(EngineError):
    """A step of the model raised: the running requests fail; later ones start afresh."""

    retryable = True


class MemoryExhaustedError(EngineError):
    """Too little memory for this request; the others in the batch continue."""

    retryable = True


class AnswerTimeoutError(EngineError):
    """The answer took longer than its `timeout`."""

    retryable = True


class TrainingError(EngineError):
    """Training stopped early; the same command resumes from the last checkpoint."""


class ServerError(EngineError):
    """The server at `base_url` cannot be reached, failed, or broke the connection."""

    retryable = True


class QueueFullError(EngineError):
    """Too many requests are waiting."""

    retryable = True


def unknown_option(name: str, known: Iterable[str], where: str) -> RequestError:
    """Return the error for an unknown option of `where`, with the closest known name."""
    names = sorted(known)
    near = get_close_matches(name, names, n=1)
    hint = f"Did you mean {near[0]!r}? " if near else ""
    return RequestError(
        f"{where} takes no option {name!r}.", f"{hint}Known options: {', '.join(names)}."
    )


def refuse_unknown(names: Iterable[str], known: Collection[str], where: str) -> None:
    """Check that `where`, a function or class, knows all names of some options.

    Raises:
        RequestError: One is unknown; the message has the closest known name.
    """
    for name in names:
        if name not in known:
            raise unknown_option(name, known, where)


def check_count(name: str, value: object, minimum: int = 1) -> None:
    """Check that an argument is a whole number of at least `minimum`.

    Raises:
        RequestError: It is not.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < minimum:
        raise RequestError(
            f"{name}={value!r:.80} is not possible.", f"Use a whole number of at least {minimum}."
        )


def install_command(package: str, extra: str) -> str:
    """Return a command that installs a package and all others that an extra lacks.

    It names packages, not the extra: an extra of a source checkout cannot be installed by name.
    """
    from importlib.metadata import PackageNotFoundError, requires  # loads slowly

    try:
        requirements = requires("llava-tools") or []
    except PackageNotFoundError:
        requirements = []
    needed: list[str] = []
    for requirement in requirements:
        specifier, _, marker = requirement.partition(";")
        name = re.split(r"[^\w.-]", specifier.strip())[0]
        if re.search(f"extra == ['\"]{extra}['\"]", marker) and (
            name == package or not _is_installed(name)
        ):
            needed.append(specifier.strip())
    # Double quotes, since Windows' shell knows no others.
    return "python -m pip install " + " ".join(f'"{item}"' for item in needed or [package])


def _is_installed(distribution: str) -> bool:
    from importlib.metadata import PackageNotFoundError, version

    try:
        version(distribution)
    except PackageNotFoundError:
        return False
    return True


def require(*packages: str, extra: str) -> None:
    """Check that optional packages are installed.

    Raises:
        MissingExtraError: One is not; the message has the extra to install.
    """
    for package in packages:
        try:
            __import__(package)
        except ModuleNotFoundError as error:
            if error.name != package:
                raise
            raise MissingExtraError(package, extra) from None
