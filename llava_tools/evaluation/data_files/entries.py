"""`Entry`: one object of a data set's file, which names its place in errors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llava_tools.errors import RequestError
from llava_tools.evaluation.data_files.files import number_json_lines, read_json
from llava_tools.evaluation.task import read_error


@dataclass(frozen=True)
class Entry:
    """An object of a file.

    Attributes:
        values: Its fields.
        path: The file.
        place: Where it stands in the file, such as `line 17`.
    """

    values: Mapping[str, Any]
    path: Path
    place: str

    def text(self, name: str) -> str:
        """Return a field that is a text.

        Raises:
            RequestError: There is none, or it is no text.
        """
        value = self._field(name)
        if not isinstance(value, str):
            raise self.error(f"{name!r} is no text")
        return value

    def identifier(self, name: str) -> int | str:
        """Return a field that is a name: a number or a text that is not empty.

        Raises:
            RequestError: There is none, or it is neither.
        """
        value = self._field(name)
        if isinstance(value, bool) or not isinstance(value, int | str) or value == "":
            raise self.error(f"{name!r} is neither a number nor a name")
        return value

    def number(self, name: str) -> int:
        """Return a field that is a whole number >= 0.

        Raises:
            RequestError: There is none, or it is something else.
        """
        value = self._field(name)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise self.error(f"{name!r} is no number")
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        """Return a field that is a list of texts.

        Raises:
            RequestError: There is none, or it is something else.
        """
        value = self._field(name)
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.error(f"{name!r} is no list of texts")
        return tuple(value)

    def annotators(self) -> tuple[str, ...]:
        """Return what each annotator answered: `answer` of each object of `answers`; >= 1.

        Raises:
            RequestError: The entry has no such answers.
        """
        value = self._field("answers")
        items = value if isinstance(value, list) else []
        answers = [item.get("answer") for item in items if isinstance(item, dict)]
        texts = tuple(answer for answer in answers if isinstance(answer, str))
        if not texts or len(texts) < len(items):
            raise self.error("'answers' is no list of objects with an 'answer' each")
        return texts

    def error(self, what: str) -> RequestError:
        """Return the error for this entry."""
        return read_error(self.path, f"{self.place}: {what}")

    def _field(self, name: str) -> Any:
        if name not in self.values:
            raise self.error(f"there is no {name!r}, but {', '.join(map(repr, self.values))}")
        return self.values[name]


def read_lines(path: Path) -> list[Entry]:
    """Return the objects of a JSON Lines file, at least one.

    Raises:
        RequestError: The file is missing, has no object, or a line is no JSON object.
    """
    entries = [Entry(value, path, f"line {n}") for n, value in number_json_lines(path)]
    if not entries:
        raise read_error(path, "it is empty")
    return entries


def read_list(path: Path, name: str | None = None) -> list[Entry]:
    """Return the objects of a JSON file that is a list, or has one under a name; at least one.

    Args:
        path: The file.
        name: The field of the file's object that has the list; None if the file is the list.

    Raises:
        RequestError: The file is missing, or is something else.
    """
    value = read_json(path)
    if name is not None:
        value = value.get(name) if isinstance(value, dict) else None
    where = "the file" if name is None else repr(name)
    if not isinstance(value, list) or not value:
        raise read_error(path, f"{where} is no list of objects")
    entries = []
    for number, item in enumerate(value):
        place = f"{name or ''}[{number}]"
        if not isinstance(item, dict):
            raise read_error(path, f"{place} is no object")
        entries.append(Entry(item, path, place))
    return entries


def by_identifier(entries: Iterable[Entry], name: str) -> dict[int | str, Entry]:
    """Return entries by a field that identifies them.

    Raises:
        RequestError: Two have the same, or one has none.
    """
    table: dict[int | str, Entry] = {}
    places: dict[str, str] = {}  # by texts, since 1 and "1" are one sample
    for entry in entries:
        key = entry.identifier(name)
        if (text := str(key)) in places:
            raise entry.error(f"{name} {key!r} stands also in {places[text]}")
        table[key], places[text] = entry, entry.place
    return table
