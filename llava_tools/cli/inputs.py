"""The words of a command line that name images: paths, patterns, URLs, and `-` for stdin."""

from __future__ import annotations

import glob
import os
import shlex
import subprocess
import sys
from collections.abc import Iterable, Sequence

from llava_tools.errors import ImageError, RequestError
from llava_tools.images import ImageRef, open_image
from llava_tools.images.fetch import Fetcher, PrivateHostError
from llava_tools.images.opening import open_regular
from llava_tools.images.sources import read_path, shorten

#: The word for an image that is read from standard input.
STDIN = "-"

_EXAMPLE = "What is this?"
#: Characters of a suggested command, at most.
_MAX_COMMAND = 200


def command(*words: str) -> str:
    """Return a command of `llava-tools` that can be pasted into a shell."""
    line = ["llava-tools", *words]
    return subprocess.list2cmdline(line) if os.name == "nt" else shlex.join(line)


def _suggest(*words: str) -> str:
    """Return the end of a hint: a command, unless it is too long to be read."""
    line = command(*words)
    return f": {line}" if len(line) <= _MAX_COMMAND else "."


def expand_patterns(words: Iterable[str]) -> list[str]:
    """Replace patterns such as `*.png` by the files that match, as most shells do themselves.

    A word stays if it is a file, a URL, or a pattern without a match.
    """
    expanded: list[str] = []
    for word in words:
        pattern = glob.has_magic(word) and not _is_url(word) and not os.path.lexists(word)
        matches = sorted(glob.glob(os.path.expanduser(word), recursive=True)) if pattern else []
        expanded += matches or [word]
    return expanded


def split_question(words: Sequence[str]) -> tuple[list[str], str]:
    """Split the words of `ask` into the images and the question, the last word.

    Raises:
        RequestError: The last word names an image, or an earlier one does not.
    """
    *names, question = words
    if question == STDIN or names_file(question):
        raise _no_question_last(words)
    names = expand_patterns(names)
    for place, word in enumerate(names):
        if not (word == STDIN or names_file(word) or os.path.exists(word)):
            quoted = _suggest("ask", *names[:place], " ".join([*names[place:], question]))
            raise RequestError(
                f"There is no file {shorten(word)}.",
                f"{_near_file(word)} If it belongs to the question, quote that{quoted}",
            )
    return names, question


def names_file(word: str) -> bool:
    """Return whether a word is a file, or looks like the name or the URL of one."""
    if os.path.isfile(word):
        return True
    if len(word.split()) != 1:
        return False
    if _is_url(word):
        return True
    suffix = os.path.splitext(word)[1].lower()
    if not suffix:
        return False
    from llava_tools.retrieval.files import SUFFIXES

    return suffix in SUFFIXES


def _is_url(word: str) -> bool:
    return word.startswith(("http://", "https://", "data:"))


def _no_question_last(words: Sequence[str]) -> RequestError:
    """Return the error for words of which the last is no question."""
    last = words[-1]
    is_path = last != STDIN and not _is_url(last) and not glob.has_magic(last)
    if is_path and not os.path.exists(last):
        return RequestError(
            f"There is no file {shorten(last)}, and no question after it.",
            f"{_near_file(last)} The question comes last, in quotes.",
        )
    names = [word for word in words if word == STDIN or names_file(word)]
    question = " ".join(word for word in words if word not in names)
    fault = "The question has to come last" if question else "The question is missing"
    kind = "standard input" if last == STDIN else "a file"
    return RequestError(
        f"{fault}: the last word, {shorten(last)}, is {kind}.",
        f"Write it last, in quotes{_suggest('ask', *names, question or _EXAMPLE)}",
    )


def _near_file(name: str) -> str:
    """Return the hint for a file that does not exist: a similar name in its folder."""
    try:
        read_path(name)
    except ImageError as error:
        return error.hint
    return ""


def open_images(words: Iterable[str], allowed_hosts: Iterable[str]) -> list[ImageRef]:
    """Open the images that words name; `-` is standard input.

    Args:
        words: Paths and URLs, without patterns.
        allowed_hosts: Hosts in a private network that URLs may name.

    Raises:
        ImageError: One is missing, unreadable, or not allowed.
        RequestError: Standard input is a terminal, or is named twice.
    """
    words = list(words)
    if words.count(STDIN) > 1:
        raise RequestError("'-' is named twice, but standard input has one image.", "Name it once.")
    fetcher = Fetcher(allowed_hosts=frozenset(allowed_hosts))
    return [_open_stdin() if word == STDIN else _open(word, fetcher) for word in words]


def _open_stdin() -> ImageRef:
    if sys.stdin is None or sys.stdin.isatty():
        raise RequestError(
            "'-' reads an image from standard input, which is closed or a terminal.",
            f"Run: {command('ask', STDIN, _EXAMPLE)} < image.png",
        )
    return open_image(sys.stdin.buffer)


def _open(word: str, fetcher: Fetcher) -> ImageRef:
    try:
        return open_image(word, fetcher=fetcher)
    except PrivateHostError as error:
        raise ImageError(
            error.message, f"If you trust it, add --allow-host {error.host}"
        ) from error
    except ImageError as error:
        if not _is_pdf(word):
            raise
        folder = f"{os.path.splitext(os.path.basename(word))[0]}-index"
        raise ImageError(
            f"{shorten(word)} is a PDF, which is asked through an index.",
            f"Run: {command('index', word, '--to', folder)} and then: "
            f"{command('ask', '--index', folder, _EXAMPLE)}",
        ) from error


def _is_pdf(path: str) -> bool:
    try:
        with open_regular(path) as file:
            return b"%PDF" in (file.read(1024) or b"")  # None from a file that would wait
    except (OSError, ValueError):  # also what is no name of a file at all
        return False
