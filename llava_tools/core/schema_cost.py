"""What a schema costs to enforce, before anything computes it.

llguidance bounds its own work, apart from three kinds: texts that several patterns describe at
once, whose states multiply; `multipleOf`, which has as many states as its divisor has units; and
patterns with many characters or Unicode classes once their repetitions are written out.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from llava_tools.core import references, validators
from llava_tools.core.constraints import Schema

#: Objects and booleans of a schema that may be schemas; each takes a quarter of a millisecond.
MAX_PARTS = 2_048
#: Patterns and formats that one text may have to satisfy at once.
MAX_PATTERNS_AT_ONCE = 8
#: Sum of the divisors of a schema, in units of their last digit, with `_DIVISOR_UNITS` for each.
MAX_DIVISORS = 200_000
#: Sum of `pattern_units` of the different patterns of a schema; they take about a second.
MAX_PATTERN_UNITS = 600_000

# What takes as long as many units: any divisor, the tables of a Unicode class, a copy of those.
_DIVISOR_UNITS = 250
_CLASS_UNITS = 1_000
_CLASS_COPY_UNITS = 250
_PATTERN_TOKEN = re.compile(
    r"\\[pPxuU]\{[^{}]*\}|\\.|\[(?:\\.|[^\[\]\\])*\]|\{\d+(?:,\d*)?\}|.", re.DOTALL
)
_UNICODE_CLASS = re.compile(r"\\[pP]")
# Classes of most characters, each of up to four bytes.
_WIDE_CLASS = re.compile(r"\.|\\[DWSs]|\[\^.*", re.DOTALL)
_WIDE_UNITS = 8

_LISTS_OF_VALUES = ("enum", "examples")
_TEXT_RULES = ("pattern", "format")
_UNIONS = ("anyOf", "oneOf")
_MAPS = ("properties", "patternProperties")
_PARTS = ("items", "additionalProperties")
_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")


@dataclass
class _Load:
    """The patterns that describe a value at once, and those of each part of it, by its place."""

    own: int = 0
    places: Counter[str] = field(default_factory=Counter)  # how many schemas describe a part
    below: Counter[str] = field(default_factory=Counter)  # the patterns in all of these

    def add(self, other: _Load) -> None:
        self.own += other.own
        self.places.update(other.places)
        self.below.update(other.below)

    @property
    def most(self) -> int:
        """The most patterns that describe one text, at most."""
        shared = (self.below[place] for place, count in self.places.items() if count > 1)
        return max(self.own, *shared, 0)


class PatternLoads:
    """Counts how many patterns and formats may describe one text in the values of a schema.

    Parts of `allOf` and references add theirs, of the branches of a union one does. Where several
    parts name the same property, all patterns below it count. So the counts are upper bounds.
    """

    def __init__(self, root: Schema) -> None:
        self._root = root
        self._loads: dict[int, _Load] = {}
        self._below = _rules_below(root)

    def most(self, schema: Schema) -> int:
        """Return the most patterns and formats that describe one text.

        Raises:
            RecursionError: References lead too deep.
        """
        return self._load(schema).most

    def _load(self, schema: Any) -> _Load:
        if not isinstance(schema, Mapping):
            return _Load()
        if (known := self._loads.get(id(schema))) is not None:
            return known
        load = self._loads[id(schema)] = _Load()  # what refers to itself adds nothing
        found = _Load(_rules(schema))
        for place, part in _children(schema):
            found.places[place] += 1
            found.below[place] += self._below[id(part)]
        for part in schema.get("allOf") or ():
            found.add(self._load(part))
        if isinstance(pointer := schema.get("$ref"), str):
            found.add(self._load(references.target(pointer, self._root)))
        for union in _UNIONS:
            found.add(_largest(self._load(branch) for branch in schema.get(union) or ()))
        load.add(found)
        return load


def _rules_below(root: Schema) -> Counter[int]:
    """Return how many patterns each part has with all that it leads to, each once, by `id`.

    Those over the limit are not counted exactly, so it takes time linear in the references.
    """
    specification = validators.specification(root)
    parts: dict[int, Schema] = {}
    referrers: defaultdict[int, list[int]] = defaultdict(list)
    waiting = [root]
    while waiting:
        part = waiting.pop()
        if id(part) in parts:
            continue
        parts[id(part)] = part
        leads_to = [*specification.subresources_of(part)]
        if isinstance(pointer := part.get("$ref"), str):
            leads_to.append(references.target(pointer, root))
        for other in leads_to:
            if isinstance(other, Mapping) and other:
                referrers[id(other)].append(id(part))
                waiting.append(other)
    below: Counter[int] = Counter()
    for key, part in parts.items():
        if count := _rules(part):
            reached = {key}
            back = [key]
            while back:
                current = back.pop()
                if below[current] <= MAX_PATTERNS_AT_ONCE:
                    below[current] += count
                    new = set(referrers[current]) - reached
                    reached |= new
                    back += new
    return below


def count_parts(value: Any) -> int:
    """Return how many objects and booleans there are in what may be a schema, without `enum`s."""
    count, waiting = 0, [value]
    while waiting:
        part = waiting.pop()
        if isinstance(part, list):
            waiting += part
        elif isinstance(part, Mapping):
            count += 1
            waiting += (
                item
                for key, item in part.items()
                if not (key in _LISTS_OF_VALUES and isinstance(item, list))
            )
        else:
            count += isinstance(part, bool)
    return count


def _rules(schema: Schema) -> int:
    return sum(isinstance(schema.get(name), str) for name in _TEXT_RULES)


def _largest(loads: Iterable[_Load]) -> _Load:
    """Return the load of a union, of whose branches a value takes one."""
    largest = _Load()
    for load in loads:
        largest.own = max(largest.own, load.own)
        largest.places |= load.places
        largest.below |= load.below
    return largest


def _children(schema: Schema) -> Iterator[tuple[str, Any]]:
    """Yield the schemas of the parts of a schema's values, by their place."""
    for keyword in _MAPS:
        for name, part in (schema.get(keyword) or {}).items():
            yield f"{keyword}.{name}", part
    for keyword in _PARTS:
        if isinstance(schema.get(keyword), Mapping):
            yield keyword, schema[keyword]


def divisor_units(schemas: Collection[Schema]) -> int:
    """Return what the `multipleOf` of all parts of a schema take, in units of their last digits.

    The zeros that end a whole number are units, too, where anything has bounds: a range of 10^15
    has a million multiples of 10^9.
    """
    has_bounds = any(bound in schema for schema in schemas for bound in _BOUNDS)
    units = 0
    for schema in schemas:
        divisor = schema.get("multipleOf")
        if isinstance(divisor, bool) or not isinstance(divisor, int | float):
            continue
        exact = Decimal(repr(divisor)).normalize()
        exponent = int(exact.as_tuple().exponent)
        digits = exact.scaleb(-min(0, exponent) if has_bounds else -exponent)
        units += _DIVISOR_UNITS + abs(int(digits))
    return units


def pattern_units(pattern: str) -> int:
    """Return about how many characters a pattern has if its counted repetitions are written out."""
    sums, last, classes = [0], 0, 0
    for token in _PATTERN_TOKEN.findall(pattern):
        if token == "(":
            sums.append(0)
        elif token == ")" and len(sums) > 1:
            last = sums.pop()
            sums[-1] += last
        elif token[0] == "{" and len(token) > 1:
            # A count of more than nine digits is refused anyway.
            counts = (digits.lstrip("0")[:9] for digits in re.findall(r"\d+", token))
            times = max(1, *(int(digits or "0") for digits in counts))
            sums[-1] += last * (times - 1)
            last *= times
        elif token not in ("*", "+", "?", "|"):
            unicode_classes = len(_UNICODE_CLASS.findall(token))
            classes += unicode_classes
            last = len(token) + unicode_classes * _CLASS_COPY_UNITS
            last += _WIDE_UNITS if _WIDE_CLASS.fullmatch(token) else 0
            sums[-1] += last
    return sum(sums) + classes * _CLASS_UNITS
