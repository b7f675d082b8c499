"""A surface: a place where somebody else's text names an image."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from llava_tools.core.requests import Request
from llava_tools.errors import ImageError
from llava_tools.images import ImageRef
from llava_tools.testing import ScriptedBackend

#: Whose names may lead where: nowhere, to what is allowed, to all.
Reach = Literal["none", "allowed", "all"]
#: Seconds within which a case must have ended, on a busy machine.
SECONDS = 20.0
#: Characters of an error's text, at most.
LENGTH = 500


class RefusalError(Exception):
    """A surface refused a name with one error of the right class; the text is what it shows."""


class FrameworkRefusalError(RefusalError):
    """The framework's own class refused the name, before it reached this project."""


@dataclass(frozen=True)
class Access:
    """What the developer allows.

    Attributes:
        directories: Folders whose files may be named.
        hosts: Hosts that may be named.
        urls: Whether a server fetches public URLs.
    """

    directories: tuple[Path, ...] = ()
    hosts: tuple[str, ...] = ()
    urls: bool = False


@dataclass(frozen=True)
class Surface:
    """A place where an image is named.

    Attributes:
        name: For findings.
        send: Sends a name and returns what the model answers, the colours of the images that it
            saw; raises `RefusalError`.
        paths: What paths may lead to.
        urls: What URLs may lead to.
        browser_urls: Whether the framework's class reads URLs as browsers do, before this project.
    """

    name: str
    send: Callable[[str], str]
    paths: Reach
    urls: Reach
    browser_urls: bool = False


def colour(image: ImageRef) -> str:
    """Return the colour of an image's first pixel, like `#0a0b0c`."""
    with image.decoded() as pixels:
        red, green, blue = pixels.getpixel((0, 0))
    return f"#{red:02x}{green:02x}{blue:02x}"


def _respond(request: Request) -> str:
    seen = [image for message in request.messages for image in message.images]
    return " ".join(map(colour, seen)) or "nothing"


def make_backend() -> ScriptedBackend:
    """Return a model that answers with the colours of the images that it sees."""
    return ScriptedBackend(_respond)


@contextmanager
def refusals(*classes: type[Exception]) -> Iterator[None]:
    """Raise `RefusalError` for an error of all these classes, by default an `ImageError`."""
    classes = classes or (ImageError,)
    try:
        yield
    except classes as error:
        if not all(isinstance(error, item) for item in classes):
            raise
        raise RefusalError(str(error)) from error


def check_text(text: str) -> None:
    """Raise an AssertionError unless the text of an error is one short, printable line."""
    if not text.strip() or len(text.splitlines()) != 1 or len(text) > LENGTH:
        raise AssertionError(f"{len(text)} characters in {len(text.splitlines())} lines: {text!r}")
    if not text.isprintable():
        raise AssertionError(f"control characters: {text!r}")


def in_time(run: Callable[[], str]) -> str:
    """Return the result of a function, or raise what it raises.

    Raises:
        AssertionError: It took more than `SECONDS`; its thread is left alone.
    """
    results: list[str] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            results.append(run())
        except BaseException as error:  # noqa: BLE001 - raised again below
            errors.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(SECONDS)
    if thread.is_alive():
        raise AssertionError(f"it took more than {SECONDS:g} s")
    if errors:
        # Tallies catch exceptions only, and the guard raises something else.
        if not isinstance(errors[0], Exception):
            raise AssertionError(repr(errors[0])) from errors[0]
        raise errors[0]
    return results[0]
