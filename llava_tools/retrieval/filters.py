"""Filters of a search: conditions on a page and on its document.

    Condition("document", "contains", "manuals/")
    Conditions((Condition("page", "<=", 3), Condition("width", ">", 500)), "or")

The store applies a filter before it ranks, so a search returns `k` pages that match if there are so
many.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

from llava_tools.errors import RequestError
from llava_tools.retrieval.schema import DocumentRow, is_one_of, quoted

Operator = Literal["==", "!=", ">", ">=", "<", "<=", "in", "not in", "contains"]
Join = Literal["and", "or", "none"]

#: What conditions may name, with the type of its values.
FIELDS: Mapping[str, type] = {
    "document": str,
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
    "in": lambda value, values: value in values,
    "not in": lambda value, values: value not in values,
    "contains": lambda value, part: part in value,
}


@dataclass(frozen=True)
class Condition:
    """A condition on one field of a page.

    Attributes:
        field: `document` (the file's path), `handle`, `page`, `width` or `height` (of its image).
        operator: `in` and `not in` take several values; `contains` looks for a part of a text.
        value: A value of the field's type, or a tuple of them.

    Raises:
        RequestError: An unknown field or operator, or a value that does not fit them.
    """

    field: str
    operator: Operator
    value: str | int | float | tuple[str | int | float, ...]

    def __post_init__(self) -> None:
        if self.field not in FIELDS:
            names = ", ".join(FIELDS)
            raise RequestError(f"Pages cannot be filtered by {self.field!r}.", f"Use {names}.")
        if self.operator not in get_args(Operator):
            names = ", ".join(get_args(Operator))
            raise RequestError(f"operator={self.operator!r} is not possible.", f"Use {names}.")
        is_text = FIELDS[self.field] is str
        several = self.operator in ("in", "not in")
        fits = isinstance(self.value, tuple) == several and (is_text or self.operator != "contains")
        for value in self.value if isinstance(self.value, tuple) else (self.value,):
            fits &= isinstance(value, str) if is_text else _is_number(value)
        if not fits:
            raise RequestError(
                f"{self.field} {self.operator} {self.value!r:.60} is no condition.",
                f"{self.field} is a {'text' if is_text else 'number'}.",
            )

    def sql(self, documents: Iterable[DocumentRow]) -> str:
        """Return it as a condition of LanceDB; `documents` are the index's files."""
        if self.field == "document":
            matches = _COMPARE[self.operator]
            return is_one_of(
                "digest", {row.digest for row in documents if matches(row.document, self.value)}
            )
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
