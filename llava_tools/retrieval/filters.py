"""Filters of a search: conditions on a page and on its document.

    Condition("document", "below", "manuals/")
    Condition("modified", ">=", "2026-11-01")
    Condition("metadata.team", "==", "pumps")
    Conditions((Condition("page", "<=", 3), Condition("width", ">", 500)), "or")

The store applies a filter before it ranks, so a search returns `k` pages that match if there are so
many.
"""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

from llava_tools.errors import RequestError
from llava_tools.retrieval.schema import DocumentRow, is_one_of, quoted

Operator = Literal["==", "!=", ">", ">=", "<", "<=", "in", "not in", "contains", "below"]
Join = Literal["and", "or", "none"]

#: What conditions may name, with the type of its values; and `metadata.NAME`, of any type.
FIELDS: Mapping[str, type] = {
    "document": str,
    "type": str,
    "modified": str,
    "handle": str,
    "page": int,
    "width": int,
    "height": int,
}
_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
    "contains": lambda value, part: part in value,
    "below": lambda path, folder: (path + os.sep).startswith(os.path.join(folder, "")),
}
#: Begins the names of what `update` was given about documents.
_METADATA = "metadata."
#: Fields of documents; the others are columns of `pages`.
_DOCUMENT_FIELDS = ("document", "type", "modified")


@dataclass(frozen=True)
class Condition:
    """A condition on one field of a page.

    Attributes:
        field: Of the file: `document` (its path), `type` (such as "pdf"), `modified` (when it was
            last changed, UTC, such as "2026-11-28T17:03:59"), `metadata.NAME` (see
            `PageIndex.update`). Of the page: `handle`, `page`, `width` or `height` (of its image).
        operator: `in` and `not in` take several values; `contains` looks for a part of a text;
            `below` takes a folder (or a file) that the document must be in.
        value: A value of the field's type, or a tuple of them. Dates are compared as far as the
            value goes: `modified <= "2026-11"` includes all of November.

    Raises:
        RequestError: An unknown field or operator, or a value that does not fit them.
    """

    field: str
    operator: Operator
    value: str | int | float | tuple[str | int | float, ...]

    def __post_init__(self) -> None:
        of_metadata = self.field.startswith(_METADATA) and self.field != _METADATA
        if self.field not in FIELDS and not of_metadata:
            names = ", ".join((*FIELDS, f"{_METADATA}NAME"))
            raise RequestError(f"Pages cannot be filtered by {self.field!r}.", f"Use {names}.")
        if self.operator not in get_args(Operator):
            names = ", ".join(get_args(Operator))
            raise RequestError(f"operator={self.operator!r} is not possible.", f"Use {names}.")
        values = self.value if isinstance(self.value, tuple) else (self.value,)
        is_text = all(isinstance(value, str) for value in values)
        if not of_metadata:
            is_text = FIELDS[self.field] is str
        fits = isinstance(self.value, tuple) == (self.operator in ("in", "not in"))
        fits &= is_text or self.operator != "contains"
        fits &= self.field == "document" or self.operator != "below"
        for value in values:
            fits &= isinstance(value, str) if is_text else _is_number(value) or of_metadata
        if not fits:
            raise RequestError(
                f"{self.field} {self.operator} {self.value!r:.60} is no condition.",
                f"{self.field} is a {'text' if is_text else 'number'}.",
            )

    def matches(self, document: DocumentRow) -> bool:
        """Return whether a file matches; the condition must be on a field of files."""
        value, wanted = self._value(document), self.value
        negative = self.operator in ("!=", "not in")
        if self.operator == "below":
            wanted = os.path.abspath(str(wanted))
        if value is None:
            return negative
        if isinstance(wanted, tuple):
            return (value in wanted) is not negative
        if isinstance(value, str) != isinstance(wanted, str):
            return negative
        if self.field == "modified":
            value = str(value)[: len(str(wanted))]
        return _COMPARE[self.operator](value, wanted)

    def _value(self, document: DocumentRow) -> str | int | float | None:
        if self.field.startswith(_METADATA):
            return document.fields.get(self.field.removeprefix(_METADATA))
        if self.field == "type":
            return os.path.splitext(document.document)[1].lower().removeprefix(".")
        return document.modified if self.field == "modified" else document.document

    def sql(self, documents: Iterable[DocumentRow]) -> str:
        """Return it as a condition of LanceDB; `documents` are the index's files."""
        if self.field in _DOCUMENT_FIELDS or self.field.startswith(_METADATA):
            return is_one_of("digest", {row.digest for row in documents if self.matches(row)})
        # LanceDB compares integers with no float, not even with 2.0.
        column = self.field if FIELDS[self.field] is str else f"CAST({self.field} AS DOUBLE)"
        if isinstance(self.value, tuple):
            listed = is_one_of(column, self.value)
            return listed if self.operator == "in" else f"NOT ({listed})"
        if self.operator == "contains":
            return f"contains({column}, {quoted(self.value)})"
        sign = "=" if self.operator == "==" else self.operator
        return f"{column} {sign} {quoted(self.value)}"


@dataclass(frozen=True)
class Conditions:
    """Several conditions: a page must match all (`and`), some (`or`) or none of them."""

    parts: tuple[Condition | Conditions, ...]
    join: Join = "and"

    def matches(self, document: DocumentRow) -> bool:
        """Return whether a file matches; all conditions must be on fields of files."""
        results = [part.matches(document) for part in self.parts]
        return all(results) if self.join == "and" else any(results) is (self.join == "or")

    def sql(self, documents: Iterable[DocumentRow]) -> str:
        """Return them as a condition of LanceDB; `documents` are the index's files."""
        rows = list(documents)
        parts = [f"({part.sql(rows)})" for part in self.parts]
        if self.join == "and":
            return " AND ".join(parts) or "true"
        either = " OR ".join(parts) or "false"
        return either if self.join == "or" else f"NOT ({either})"


PageFilter: TypeAlias = Condition | Conditions


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value)
