"""Validators of `jsonschema` that check patterns by `patterns` and never fetch a reference."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from contextvars import ContextVar
from fractions import Fraction
from functools import cache
from typing import TYPE_CHECKING, Any, cast

from llava_tools.core import patterns
from llava_tools.core.constraints import Schema

if TYPE_CHECKING:
    from jsonschema import FormatChecker
    from jsonschema.exceptions import ValidationError
    from jsonschema.protocols import Validator
    from referencing import Specification

_Errors = Iterator["ValidationError"]
_Keyword = Callable[..., Any]

#: Keywords that are checked against parts of one value, at most: parts of a schema may refer to
#: each other so often that there is no end of them.
MAX_STEPS = 200_000

_steps: ContextVar[int] = ContextVar("steps of the validation at hand", default=0)


class TooManyStepsError(Exception):
    """A value takes more steps to check than `MAX_STEPS`."""


def errors(schema: Schema, value: Any) -> _Errors:
    """Yield what is wrong with a value.

    Raises:
        TooManyStepsError: It takes too long.
        RecursionError: It is nested too deeply.
    """
    _steps.set(0)
    try:
        yield from validator(schema).iter_errors(value)
    except BaseException as error:
        # rpds, which jsonschema's references are kept in, panics where Python's stack ends.
        if type(error).__name__ == "PanicException":
            raise RecursionError from None
        raise


def validator(schema: Schema) -> Validator:
    """Return a validator of the draft that the schema names."""
    from referencing import Registry

    draft = _draft(schema)
    # A schema that names its draft would lead validators back to the unchanged keywords.
    unnamed = {key: value for key, value in schema.items() if key != "$schema"}
    return _extended(draft)(unnamed, registry=Registry(), format_checker=_format_checker(draft))


def metaschema_validator(schema: Schema) -> Validator:
    """Return a validator of schemas of the draft that the schema names."""
    return _metaschema_validator(_draft(schema))


def keywords(schema: Schema) -> Collection[str]:
    """Return the keywords that the draft knows which the schema names."""
    return _draft(schema).VALIDATORS.keys()


def specification(schema: Schema) -> Specification[Any]:
    """Return the specification of the draft that the schema names."""
    from referencing.jsonschema import specification_with

    metaschema = cast(Mapping[str, Any], _draft(schema).META_SCHEMA)
    return specification_with(metaschema.get("$id") or metaschema["id"])


def _draft(schema: Schema) -> type[Validator]:
    from jsonschema.validators import Draft202012Validator, validator_for

    return validator_for(schema, default=Draft202012Validator)


@cache
def _format_checker(draft: type[Validator]) -> FormatChecker:
    from jsonschema import FormatChecker

    checker = FormatChecker(())
    checker.checkers = {**draft.FORMAT_CHECKER.checkers, "regex": (_is_regex, ())}
    return checker


def _is_regex(value: object) -> bool:
    """`format: regex`; jsonschema's own lets through what else `re.compile` raises."""
    try:
        re.compile(value) if isinstance(value, str) else None
    except (re.error, OverflowError, RecursionError):
        return False
    return True


@cache
def _metaschema_validator(draft: type[Validator]) -> Validator:
    return _draft(cast(Schema, draft.META_SCHEMA))(draft.META_SCHEMA)


@cache
def _extended(draft: type[Validator]) -> type[Validator]:
    from jsonschema.validators import extend

    additional_properties = draft.VALIDATORS["additionalProperties"]

    def unmatched_properties(
        validator: Validator, allowed: Any, value: Any, schema: Schema
    ) -> _Errors:
        """`additionalProperties`, applied to the properties that no pattern names."""
        own = schema.get("patternProperties")
        if own and isinstance(value, dict):
            value = {
                name: part
                for name, part in value.items()
                if not any(patterns.matches(pattern, name) for pattern in own)
            }
            schema = {key: part for key, part in schema.items() if key != "patternProperties"}
        yield from additional_properties(validator, allowed, value, schema) or ()

    keywords = {
        "pattern": _pattern,
        "patternProperties": _pattern_properties,
        "additionalProperties": unmatched_properties,
    }
    if "uniqueItems" in draft.VALIDATORS:
        keywords["uniqueItems"] = _unique_items
    if "multipleOf" in draft.VALIDATORS:
        keywords["multipleOf"] = _multiple_of
    counted = {name: _counted(check) for name, check in {**draft.VALIDATORS, **keywords}.items()}
    return cast("type[Validator]", cast(Any, extend)(draft, counted))


def _counted(check: _Keyword) -> _Keyword:
    """Return a keyword's check that counts as a step."""

    def count_and_check(validator: Validator, value: Any, instance: Any, schema: Schema) -> Any:
        steps = _steps.get() + 1
        _steps.set(steps)
        if steps > MAX_STEPS:
            raise TooManyStepsError
        return check(validator, value, instance, schema)

    return count_and_check


def _pattern(validator: Validator, pattern: str, value: Any, schema: Schema) -> _Errors:
    from jsonschema.exceptions import ValidationError

    if isinstance(value, str) and not patterns.matches(pattern, value):
        yield ValidationError(f"{value!r} does not match {pattern!r}")


def _pattern_properties(
    validator: Validator, properties: Mapping[str, Any], value: Any, schema: Schema
) -> _Errors:
    if not isinstance(value, dict):
        return
    for pattern, part in properties.items():
        for name in value:
            if patterns.matches(pattern, name):
                yield from cast(Any, validator).descend(
                    value[name], part, path=name, schema_path=pattern
                )


def _multiple_of(validator: Validator, divisor: float, value: Any, schema: Schema) -> _Errors:
    """`multipleOf` for the numbers as they are written: 0.07 is a multiple of 0.01."""
    from jsonschema.exceptions import ValidationError

    if isinstance(value, bool) or not isinstance(value, int | float):
        return
    if not math.isfinite(value) or (_exact(value) / _exact(divisor)).denominator != 1:
        yield ValidationError(f"{value!r} is not a multiple of {divisor}")


def _unique_items(validator: Validator, unique: bool, value: Any, schema: Schema) -> _Errors:
    """`uniqueItems` in time linear in the value."""
    from jsonschema.exceptions import ValidationError

    if unique and isinstance(value, list):
        texts = {json.dumps(_comparable(item), sort_keys=True) for item in value}
        if len(texts) < len(value):
            yield ValidationError(f"{value!r} has non-unique elements")


def _comparable(value: Any) -> Any:
    """Return a value whose JSON is the same as that of all values equal to it: 1.0 equals 1."""
    if isinstance(value, dict):
        return {name: _comparable(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_comparable(part) for part in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _exact(number: float) -> Fraction:
    return Fraction(number) if isinstance(number, int) else Fraction(repr(number))
