r"""Regular expressions of JSON schemas: one dialect for generating and for checking.

It is that of Rust's `regex`: llguidance generates by it, and pydantic checks by it, in time linear
in the text. `\d` and `\w` are ASCII, as in JSON Schema's ECMA 262. Syntax that other engines read
differently is outside of the dialect. Look-around is checked, but cannot be enforced.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from llava_tools.core import lookaround

if TYPE_CHECKING:
    from pydantic_core import SchemaValidator

_ASCII_CLASSES = {"d": "[0-9]", "D": "[^0-9]", "w": "[0-9A-Za-z_]", "W": "[^0-9A-Za-z_]"}
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_TOKEN = re.compile(
    r"\\[pPxuU]\{[^{}]*\}|\\.|\[:\^?\w+:\]|&&|--|~~|\(\?[\w-]*[:)]|[*+?}]\+|.", re.DOTALL
)
_LOOKAROUND = re.compile(r"\(\?<?[=!]")


def fault(pattern: str) -> str:
    """Return why a pattern is outside of the dialect, or an empty string."""
    return _syntax_fault(pattern) or _compilation_fault(pattern)


def check_fault(pattern: str) -> str:
    """Return why texts cannot be checked against a pattern either, or an empty string."""
    return "" if lookaround.compiled(pattern) is not None else fault(pattern)


def matches(pattern: str, text: str) -> bool:
    """Return whether a text contains a match of a pattern without `check_fault`.

    Raises:
        OutputError: The pattern has look-around, and the text takes too many steps.
    """
    if not fault(pattern):
        return bool(_compiled(normalize(pattern)).isinstance_python(text))
    matcher = lookaround.compiled(pattern)
    return matcher is not None and matcher(text)


def normalize(pattern: str) -> str:
    """Return a pattern of the dialect with its ASCII classes written out."""
    return _ESCAPE.sub(lambda match: _ASCII_CLASSES.get(match[1], match[0]), pattern)


@lru_cache(maxsize=256)
def _syntax_fault(pattern: str) -> str:
    """Return the first syntax that Rust's `regex` reads otherwise than others, or llguidance."""
    in_class = class_begins = False
    for token in _TOKEN.findall(pattern):
        if in_class:
            if token in ("&&", "--", "~~") or token == "[":
                return f"{token!r} in a class, which has several meanings; escape it"
            if token == "]" and not class_begins:
                in_class = False
            class_begins = class_begins and token == "^"
        elif token == "[":
            in_class = class_begins = True
        elif token in ("\\b", "\\B", "\\<", "\\>"):
            return f"the word boundary {token!r}"
        elif token[1:] == "+":
            return f"the possessive quantifier {token!r}"
        elif token.startswith("(?") and set(token.partition("-")[0]) & set("mxRU"):
            return f"the flags {token!r}"
    return ""


@lru_cache(maxsize=256)
def _compilation_fault(pattern: str) -> str:
    from pydantic_core import SchemaError

    try:
        _compiled(normalize(pattern))
    except SchemaError as error:
        if lookaround := _LOOKAROUND.search(pattern):
            return f"the look-around {lookaround[0]!r}"
        reason = str(error).rpartition("rror: ")[2]
        return " ".join(reason.split()).rstrip(".")
    return ""


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> SchemaValidator:
    from pydantic_core import SchemaValidator, core_schema

    return SchemaValidator(core_schema.str_schema(pattern=pattern, regex_engine="rust-regex"))
