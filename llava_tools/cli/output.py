"""Prints results on stdout, and notes and errors on stderr."""

from __future__ import annotations

import errno
import io
import json
import os
import sys
from contextlib import closing, suppress

from llava_tools.core.backend import Stream
from llava_tools.core.outputs import Chunk
from llava_tools.errors import escape_controls, escape_line, json_text

#: Exit code if some files were left out.
SOME_SKIPPED = 3


class WriteError(Exception):
    """Standard output takes no more: a full disk, or a stream that is closed."""


class _Quiet:
    """Whether notes are left out (`--quiet`)."""

    enabled = False


def set_quiet(quiet: bool) -> None:
    """Leave out the notes on stderr, or print them."""
    _Quiet.enabled = quiet


def is_quiet() -> bool:
    """Return whether notes are left out."""
    return _Quiet.enabled


def replace_unencodable() -> None:
    """Replace characters that the encoding of a standard stream lacks, instead of an error."""
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            with suppress(io.UnsupportedOperation):  # stdin, once it has been read
                stream.reconfigure(errors="backslashreplace" if stream is sys.stderr else "replace")


def write(text: str, end: str = "\n") -> None:
    """Print a text; control characters, which documents and models may write, become letters.

    Raises:
        BrokenPipeError: The reader of a pipe has stopped.
        WriteError: Standard output takes no more.
    """
    try:
        if sys.stdout is None:
            raise WriteError("standard output is closed")
        print(escape_controls(text), end=end, flush=True)  # noqa: T201
    except BrokenPipeError:
        raise
    except (OSError, ValueError) as error:  # a closed stream raises ValueError
        if sys.platform == "win32" and getattr(error, "errno", None) == errno.EINVAL:
            raise BrokenPipeError(
                errno.EPIPE, "The reader has stopped"
            ) from error  # as it is there
        raise WriteError(getattr(error, "strerror", None) or error) from error


def write_json(value: object) -> None:
    """Print a value as JSON, in ASCII if standard output cannot encode it otherwise."""
    text = json_text(value, indent=2)
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "ascii")
    except UnicodeEncodeError:
        text = json.dumps(value, indent=2)
    write(text)


def write_stream(stream: Stream, chunks: list[Chunk]) -> None:
    """Print an answer while it is generated, close its stream, and append its chunks to a list."""
    with closing(stream):
        for chunk in stream:
            chunks.append(chunk)
            write(chunk.text, end="")
    write("")


def write_error(text: str) -> None:
    """Print a line on stderr; foreign text in it cannot begin another."""
    write_line(f"llava-tools: {text}")


def write_line(text: str) -> None:
    """Print a line on stderr, without the name of the program."""
    if sys.stderr is not None:
        with suppress(OSError, ValueError):  # nothing is left to report it on
            sys.stderr.write(f"{escape_line(text)}\n")
            sys.stderr.flush()


def write_note(text: str) -> None:
    """Print a line on stderr, unless notes are left out."""
    if not is_quiet():
        write_error(f"note: {text}")


def write_progress(line: str, *, is_last: bool) -> None:
    """Replace the line of progress on stderr, if that is a terminal and notes are not left out."""
    if sys.stderr.isatty() and not is_quiet():
        sys.stderr.write(f"\r{escape_line(line)}" + ("\n" if is_last else ""))
        sys.stderr.flush()


def discard_output() -> None:
    """Send the rest of stdout nowhere, so that flushing it at exit cannot fail."""
    with suppress(AttributeError, OSError, ValueError):  # no file, or a closed one
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
