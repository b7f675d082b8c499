"""The dialect of patterns, and checks of texts against them."""

from __future__ import annotations

import time

import pytest

from llava_tools.core import patterns


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        (r"^\p{L}{2,4}$", "éa", True),
        (r"^\p{L}{2,4}$", "é1", False),
        (r"^\p{L}+\x{41}+$", "éA", True),
        ("^(?<y>a)b$", "ab", True),
        ("^(?P<y>a)b$", "ab", True),
        ("^(?i)abc$", "aBC", True),
        ("(?i:a)b", "AB", False),
        ("^[[:alpha:]]+$", "abc", True),
        ("^[[:^digit:]]$", "1", False),
        (r"^\d$", "3", True),
        (r"^\d$", "٣", False),
        (r"^\D$", "٣", True),
        (r"^\w+$", "a_9", True),
        (r"^\w$", "é", False),
        (r"^[^\w]$", "é", True),
        (r"^[\w-]+$", "a-b", True),
        (r"^\\d$", "\\d", True),
        (r"^\[\d\]$", "[3]", True),
        (r"^\s$", "\u00a0", True),
        ("^a$", "a\n", False),
        ("^a|b$", "axx", True),
        ("b", "abc", True),
        ("^.$", "\n", False),
        ("(?s)^.$", "\n", True),
        (r"\Aa\z", "a", True),
        (r"^\x41\u0042$", "AB", True),
        ("^a{2}?b*?$", "aab", True),
        ("^[]a]$", "]", True),
        (r"^[\[&]$", "[", True),
        ("", "x", True),
    ],
)
def test_pattern_of_the_dialect(pattern: str, text: str, found: bool) -> None:
    assert not patterns.fault(pattern)
    assert patterns.matches(pattern, text) is found


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("(", "unclosed group"),
        (r"(a)\1", "backreferences"),
        ("(?P<a>x)(?P=a)", "unrecognized"),
        ("(?>a)", "unrecognized flag"),
        ("(?(1)a|b)", "unrecognized flag"),
        ("(?#c)a", "unrecognized flag"),
        ("(?a)b", "unrecognized flag"),
        ("(?m)^a$", "the flags '(?m)'"),
        ("(?x) a", "the flags '(?x)'"),
        ("(?U)a+", "the flags '(?U)'"),
        ("a++", "possessive"),
        ("a{2}+", "possessive"),
        ("[a&&b]", "several meanings"),
        ("[a--b]", "several meanings"),
        ("[a~~b]", "several meanings"),
        ("[a[b]]", "several meanings"),
        ("a{,3}", "repetition"),
        ("{a", "repetition"),
        (r"\cA", "escape"),
        (r"\e", "escape"),
        (r"\p{Foo}", "property"),
        (r"[a-\d]", "range"),
        (r"\p{L}{1,5000}", "size limit"),
        ("(" * 300 + "a" + ")" * 300, "nested"),
    ],
)
def test_pattern_that_is_not_supported(pattern: str, reason: str) -> None:
    assert reason in patterns.fault(pattern)
    assert reason in patterns.check_fault(pattern)


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("a(?=b)", "look-around '(?='"),
        ("^(?!a)b", "look-around '(?!'"),
        ("(?<=a)b", "look-around '(?<='"),
        ("(?<!a)b", "look-around '(?<!'"),
        (r"\bfoo\b", r"word boundary '\\b'"),
        (r"a\Bb", r"word boundary '\\B'"),
        (r"a\Z", "escape"),
        (r"[\b]", "escape"),
    ],
)
def test_pattern_that_can_only_be_checked(pattern: str, reason: str) -> None:
    assert reason in patterns.fault(pattern)
    assert not patterns.check_fault(pattern)


def test_check_takes_linear_time() -> None:
    assert not patterns.matches("^(a+)+$", "a" * 100_000 + "!")


@pytest.mark.parametrize("pattern", ["a{" + "1" * 60_000, "(?=a)b{" + "1" * 9_000 + "}"])
def test_counts_without_end_are_refused_in_linear_time(pattern: str) -> None:
    assert patterns.check_fault(pattern)


def test_classes_without_end_are_read_in_linear_time() -> None:
    start = time.thread_time()
    assert patterns.fault(r"\p{" * 60_000)
    assert time.thread_time() - start < 1  # quadratic time took 6 s
