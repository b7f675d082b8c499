"""Patterns with look-around: the same matches as Python's `re`, in bounded time."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llava_tools.core import lookaround
from llava_tools.errors import OutputError

#: Patterns of pydantic's `Decimal`, plain and with limits.
DECIMALS = (
    r"^(?!^[-+.]*$)[+-]?0*\d*\.?\d*$",
    r"^(?!^[-+.]*$)[+-]?0*\d*\.?\d{0,2}0*$",
    r"^(?!^[-+.]*$)[+-]?0*(?:\d{0,3}|(?=[\d.]{1,6}0*$)\d{0,3}\.\d{0,2}0*$)",
)

_atoms = st.sampled_from(["a", "b", ".", "[ab]", "[^a]", r"\w", r"\.", "^", "$", r"\b", "é"])
_quantifiers = st.sampled_from(["", "", "*", "+", "?", "{2}", "{1,2}", "{1,}", "*?"])


def _extend(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    groups = st.sampled_from(["(", "(?:", "(?=", "(?!", "(?P<n>"])
    return st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map("|".join),
        st.tuples(groups, inner).map(lambda parts: f"{parts[0]}{parts[1]})"),
    )


_patterns = st.recursive(st.tuples(_atoms, _quantifiers).map("".join), _extend, max_leaves=6)


@given(_patterns, st.text("ab.é", max_size=6))
def test_matches_are_those_of_re(pattern: str, text: str) -> None:
    try:
        expected = re.search(pattern, text, re.ASCII) is not None
    except re.error:  # a group's name twice, or a repeated assertion
        return
    matches = lookaround.compiled(pattern)
    assert matches is not None
    assert matches(text) is expected


@pytest.mark.parametrize("pattern", DECIMALS)
@given(st.text("019.+-e", max_size=8))
def test_decimals_of_pydantic(pattern: str, text: str) -> None:
    matches = lookaround.compiled(pattern)
    assert matches is not None
    assert matches(text) is bool(re.search(pattern, text))


@pytest.mark.parametrize(
    "pattern", ["(?<=a)b", "(?<!a)b$", "(?<!^)b", "(?<=(?=b)b)$", "(?!(?<=a)b)."]
)
@pytest.mark.parametrize("text", ["ab", "cb", "b", "", "ba"])
def test_look_behind(pattern: str, text: str) -> None:
    matches = lookaround.compiled(pattern)
    assert matches is not None
    assert matches(text) is bool(re.search(pattern, text))


@pytest.mark.parametrize(
    "pattern",
    [r"(?=a)\1", "(?i)(?=a)", "(?>a)(?=b)", "a++(?=b)", r"(?=\p{L})", "(?=a", "a)", "[a&&b]", "*"],
)
def test_other_syntax_is_not_supported(pattern: str) -> None:
    assert lookaround.compiled(pattern) is None


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("^(?=(a+)+$)(a+)+$", "a" * 20_000 + "!"),
        ("(?=.*b)^.{3,}$", "a" * 20_000),
        ("(?:(?=.*b).)+$", "a" * 20_000),
        ("(?<!a)b", "a" * 20_000),
    ],
)
def test_check_takes_linear_time(pattern: str, text: str) -> None:
    matches = lookaround.compiled(pattern)
    assert matches is not None
    assert not matches(text)


def test_steps_are_bounded() -> None:
    matches = lookaround.compiled("(?=a{100000})b")
    assert matches is not None
    with pytest.raises(OutputError, match="takes too long"):
        matches("a" * 100_000)


@pytest.mark.parametrize(
    "pattern", ["^(?:(?=a)){1000000}$", "^(?:a|){1000000}(?=b)", f"(?={'|' * 30_000})"]
)
def test_parts_that_take_no_text_count_as_steps(pattern: str) -> None:
    matcher = lookaround.compiled(pattern)
    assert matcher is not None
    with pytest.raises(OutputError, match="takes too long"):
        matcher("a" * 10_000)
