"""Reads the encoded bytes of an image from a path, an open file or a data URL.

At most `MAX_BYTES` are read. Whether they are an image is checked in validation.py.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import stat
from collections.abc import Iterable
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote_to_bytes

from llava_tools.errors import ImageError, on_one_line
from llava_tools.images.opening import open_regular, open_regular_within

#: The most encoded bytes that an image may have.
MAX_BYTES = 50_000_000

#: A URL, also as a path, in which two slashes became one: scheme, credentials, the rest, the query.
_URL_SECRETS = re.compile(
    r"^\s*([a-zA-Z][a-zA-Z0-9+.-]+:/+)(?:[^/?#]*@)?([^?]*)(?:\?.*)?", re.DOTALL
)

SMALLER = "Save it smaller: LLaVA looks at 336 x 336 pixels."


def shorten(value: object, *, quote: bool = True) -> str:
    """Return a value as text for messages: printable, on one line, about 80 characters at most.

    The user name, the password and the query of a URL, which may be secrets, are left out.
    """
    text = _URL_SECRETS.sub(r"\1\2", str(value), count=1)
    if len(text) > 80:
        text = f"{text[:40]}…{text[-39:]}"
    safe = on_one_line(text)
    return repr(safe) if quote else safe


def check_bytes(size: int, name: str) -> None:
    """Raise an error if there are more bytes than are read."""
    if size > MAX_BYTES:
        raise ImageError(
            f"{name} has {size:,} bytes, more than the {MAX_BYTES:,} that are read.", SMALLER
        )


def read_file(file: BinaryIO, name: str) -> bytes:
    """Read an open file to its end."""
    parts: list[bytes] = []
    left = MAX_BYTES + 1
    while left > 0:
        try:
            part = file.read(left)
        except (OSError, ValueError) as error:
            raise ImageError(f"{name} cannot be read: {error}.", "Open it again.") from error
        if part is None:  # of a kernel's log, say, which is a regular file
            raise ImageError(f"{name} has no data now.", "Open it and give its bytes.")
        if not isinstance(part, bytes):
            raise ImageError(
                f"{name} gives {type(part).__name__} instead of bytes.", "Open it with mode 'rb'."
            )
        if not part:
            return b"".join(parts)
        parts.append(part)
        left -= len(part)
    raise ImageError(f"{name} has more than the {MAX_BYTES:,} bytes that are read.", SMALLER)


def read_path(source: str | Path) -> bytes:
    """Read a regular file; the error for a missing one suggests a similar name."""
    with open_path(source) as file:
        return read_file(file, shorten(source, quote=False))


def open_path(source: str | Path, directories: Iterable[Path] | None = None) -> BinaryIO:
    """Open a regular file, in one of some directories if these are not None; see `opening`.

    Raises:
        ImageError: It is missing, too large, no regular file, or may not be read.
    """
    name = shorten(source)
    try:
        path = Path(source).expanduser()
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise ImageError(f"{name} is a folder, not an image.", "Name a file in it.")
        if not stat.S_ISREG(status.st_mode):
            raise ImageError(f"{name} is a device or a pipe.", "Open it and give its bytes.")
        check_bytes(status.st_size, name)
        if directories is None:
            return open_regular(path)
        return open_regular_within(path, directories)
    except ImageError:
        raise
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ImageError(f"There is no file {name}.", _nearest(path)) from error
    except PermissionError as error:
        raise ImageError(f"{name} may not be read.", "Check its permissions.") from error
    except (OSError, ValueError, RuntimeError) as error:
        hint = "Check the name."
        if len(str(source)) > 200:
            hint = "If this is base64, put 'data:image/png;base64,' before it."
        reason = getattr(error, "strerror", None) or error
        raise ImageError(f"{name} is not a usable path: {reason}.", hint) from error


def _nearest(path: Path) -> str:
    """Return the hint for a missing file: a similar name in its folder, if there is one."""
    try:
        with os.scandir(path.parent) as entries:
            names = [entry.name for entry in islice(entries, 2000)]
    except OSError:
        return f"Its folder {shorten(path.parent)} cannot be read either."
    lower = {name.lower(): name for name in names}
    near = get_close_matches(path.name.lower(), lower, n=1)
    return f"Did you mean {shorten(lower[near[0]])}?" if near else "Check the name."


_DATA_URL = re.compile(
    r"""data:
    (?P<type>[^;,"\s]*)
    (?P<parameters>(?:;\s*[^;,="\s]+=(?:"(?:[^"\\]|\\.)*"|[^;,"\s]*))*)
    (?P<base64>\s*;\s*base64)?
    ,""",
    re.IGNORECASE | re.VERBOSE,
)


def read_data_url(url: str) -> bytes:
    """Decode a base64 data URL (RFC 2397; white space is allowed, as in the URL standard)."""
    name = shorten(url[:60] + "…" if len(url) > 60 else url)
    example = "Write data:image/png;base64,…"
    header = _DATA_URL.match(url)
    if header is None:
        raise ImageError(f"{name} is not a well-formed data URL.", example)
    media_type = header["type"].lower()
    if media_type and not media_type.startswith(("image/", "application/octet-stream")):
        raise ImageError(f"{name} says that it holds {media_type}, not an image.", example)
    if not header["base64"]:
        raise ImageError(f"{name} does not say ';base64'.", example)
    check_bytes((len(url) - header.end()) // 4, "data URL")  # percent-encoding is at most 3 to 1
    try:
        body = unquote_to_bytes(url[header.end() :]).translate(None, b" \t\n\r\f\v")
        body = body.rstrip(b"=") if len(body) % 4 == 0 else body
        data = base64.b64decode(body + b"=" * (-len(body) % 4), validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:  # a lone surrogate has no bytes
        raise ImageError(f"{name} is not valid base64 ({error}).", "Encode it again.") from error
    check_bytes(len(data), "data URL")
    return data
