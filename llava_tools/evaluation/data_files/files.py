"""Reads the files of data sets, which must be as their benchmark's authors publish them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llava_tools.core.unicode import well_formed
from llava_tools.errors import RequestError
from llava_tools.evaluation.task import read_error

#: The escape of one half of a character beyond U+FFFF.
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def read_text(path: Path) -> str:
    """Return a text file, without the mark that some editors put first.

    Raises:
        RequestError: The file is missing, or not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise read_error(path, reason.lower()) from error
    except UnicodeDecodeError as error:
        raise read_error(path, "it is no UTF-8 text") from error


def read_json(path: Path) -> Any:
    """Return the value of a JSON file.

    Raises:
        RequestError: The file is missing, or no JSON.
    """
    return _parse(read_text(path), path, "it")


def number_json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the objects of a JSON Lines file and their line numbers, from 1; no blank lines.

    Raises:
        RequestError: The file is missing, or a line is no JSON object.
    """
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        value = _parse(line, path, f"line {number}")
        if not isinstance(value, dict):
            raise read_error(path, f"line {number} is no JSON object")
        yield number, value


def image_path(folder: Path, name: object) -> Path:
    """Return the path of an image that a data set names.

    Links are followed, since data sets are often links to where their images are.

    Raises:
        RequestError: It is missing, or the name leads out of the folder.
    """
    if not isinstance(name, str) or not name or well_formed(name) != name:
        raise read_error(folder, f"{name!r} is no image's name")
    path = folder / name
    if Path(name).is_absolute() or ".." in path.relative_to(folder).parts:
        raise RequestError(f"The image {name!r} is not in {folder}.", "Check the data set.")
    try:
        if path.is_file():
            return path
    except OSError as error:  # such as a name that is too long
        raise read_error(path, (error.strerror or type(error).__name__).lower()) from error
    raise read_error(path, "there is no such image")


def _parse(text: str, path: Path, place: str) -> Any:
    """Return the value of JSON text, whose place in a file is for errors."""
    try:
        value = json.loads(text)
        if _SURROGATE.search(text):  # alone it is no character, and cannot be written
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise read_error(path, f"{place} is no JSON ({error})") from error
    return value
