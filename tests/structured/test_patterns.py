"""What a pattern's grammar generates passes the pattern's check; other patterns are refused."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llguidance import LLMatcher, LLTokenizer

from llava_tools.core import json_schema, patterns
from llava_tools.core.constraints import Constraint
from llava_tools.errors import SchemaError
from llava_tools.structured.grammar import schema_for_guidance

BYTES = LLTokenizer("byte")

_in_class = st.sampled_from(
    [
        "a-z",
        "0-9",
        "_",
        r"\d",
        r"\D",
        r"\w",
        r"\W",
        r"\s",
        r"\S",
        "é",
        "-",
        r"\-",
        "&",
        "[:alpha:]",
        "[:^digit:]",
        r"\p{L}",
        r"\P{N}",
        r"\]",
        r"\x41",
        "[",
        "&&",
        "--",
        r"\b",
        "^",
        ".",
    ]
)
_classes = st.tuples(st.sampled_from(["[", "[^"]), st.lists(_in_class, min_size=1, max_size=3)).map(
    lambda parts: parts[0] + "".join(parts[1]) + "]"
)
_atoms = st.one_of(
    st.sampled_from(
        [
            "a",
            "K",
            "é",
            "猫",
            "😀",
            '"',
            "/",
            " ",
            "\n",
            "\x01",
            ".",
            "^",
            "$",
            "{",
            "]",
            r"\d",
            r"\D",
            r"\w",
            r"\W",
            r"\s",
            r"\S",
            r"\b",
            r"\B",
            r"\A",
            r"\z",
            r"\Z",
            r"\p{Lu}",
            r"\pN",
            r"\.",
            r"\\",
            r"\/",
            r"\-",
            r"\<",
            r"\n",
            r"\x41",
            r"\u0041",
            r"\cA",
            r"\0",
            r"\1",
            "(?i)",
            "(?s)",
            "(?m)",
            "(?x)",
            "(?a)",
            "(?u)",
            "(?#c)",
        ]
    ),
    _classes,
)
_quantifiers = st.sampled_from(
    ["", "", "", "*", "+", "?", "{2}", "{1,3}", "{2,}", "{,2}", "+?", "*?", "++", "*+"]
)
_groups = st.sampled_from(
    ["(", "(?:", "(?P<n>", "(?<m>", "(?i:", "(?s-i:", "(?=", "(?!", "(?<=", "(?<!", "(?>"]
)


def _extend(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map("|".join),
        st.tuples(_groups, inner, st.just(")"), _quantifiers).map("".join),
        inner.map(lambda pattern: f"^{pattern}$"),
    )


patterns_of_any_dialect = st.recursive(
    st.tuples(_atoms, _quantifiers).map("".join), _extend, max_leaves=6
)


def generated(pattern: str, chooser: random.Random) -> list[str]:
    """Return answers that the grammar of a pattern allows; none if it cannot be enforced."""
    schema = schema_for_guidance({"type": "string", "pattern": pattern})
    grammar = LLMatcher.grammar_from_json_schema(json.dumps(schema))
    start = LLMatcher(BYTES, grammar, log_level=0)
    texts: list[str] = []
    for _ in range(0 if start.is_error() else 4):
        matcher, text = start.deep_copy(), bytearray()
        while len(text) < 80 and not matcher.is_stopped():
            bits = matcher.compute_bitmask()
            allowed = [n for n in range(256) if bits[n // 8] >> n % 8 & 1]
            if not allowed:
                break
            closes = ord('"') in allowed and text and chooser.random() < 0.5
            text.append(ord('"') if closes else chooser.choice(allowed))
            matcher.consume_token(text[-1])
        if matcher.is_accepting():
            texts.append(text.decode())
    return texts


@settings(max_examples=300, deadline=None)
@given(patterns_of_any_dialect, st.randoms(use_true_random=False))
def test_accepted_patterns_pass_their_check_and_others_are_refused(
    pattern: str, chooser: random.Random
) -> None:
    schema = {"type": "string", "pattern": pattern}
    for strict in (True, False):
        try:
            json_schema.check_constraint(Constraint(schema=schema, strict=strict))
        except SchemaError:
            assert patterns.fault(pattern)
            assert strict or patterns.check_fault(pattern)
        else:
            assert not (patterns.fault if strict else patterns.check_fault)(pattern)
            patterns.matches(pattern, "a")
    if not patterns.fault(pattern):
        for text in generated(pattern, chooser):
            json_schema.validate(json.loads(text), schema, "The answer")


@pytest.mark.parametrize(
    "pattern",
    [
        r"^\p{L}{2,4}$",
        "^(?<y>a)b$",
        "^(?i)abc$",
        "^[[:alpha:]]{2}$",
        r"^\d\D\w\W\s\S$",
        "^[^a]$",
        "^a|b$",
        "b",
        "^.{3}$",
        "(?i)^k$",
        r"^[\w-]{3}$",
        r"^[^\d\s]{2}$",
        "(?s)^.$",
        "",
        "a",
    ],
)
def test_pattern_is_generated(pattern: str) -> None:
    chooser = random.Random(0)
    texts = [text for _ in range(8) for text in generated(pattern, chooser)]
    assert texts
    for text in texts:
        assert patterns.matches(pattern, json.loads(text))
