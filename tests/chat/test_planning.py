"""When a tool is withdrawn from a planner without progress, and what a refused answer says."""

from __future__ import annotations

import pytest

from llava_tools.chat import planning
from llava_tools.chat.planning import CompletedCall
from llava_tools.errors import OutputError, RequestError

A = CompletedCall("a", {"x": 1, "y": 2}, "same")
A_REORDERED = CompletedCall("a", {"y": 2, "x": 1}, "same")
A_OTHER_RESULT = CompletedCall("a", {"x": 1, "y": 2}, "other")
A_OTHER_ARGUMENTS = CompletedCall("a", {"x": 2, "y": 2}, "same")
B = CompletedCall("b", {}, "same")
B_NEW = CompletedCall("b", {"edit": "new"}, "same")


@pytest.mark.parametrize(
    ("calls", "exhausted"),
    [
        ([], ""),
        ([A], ""),
        ([A, A], "a"),
        ([A, A_REORDERED], "a"),
        ([A, A_OTHER_RESULT], ""),
        ([A, A_OTHER_ARGUMENTS], ""),
        ([A, B, A], "a"),
        ([A, B, A, B], "ab"),
        ([A, A, B_NEW], ""),  # something new: the tests may run again
        ([A, B, A, B_NEW, A], "a"),
    ],
)
def test_a_tool_is_withdrawn_while_its_calls_bring_nothing_new(
    calls: list[CompletedCall], exhausted: str
) -> None:
    assert planning.exhausted_tools(calls, 2) == set(exhausted)


@pytest.mark.parametrize("limit", [1, 3, 5])
def test_the_limit_is_the_number_of_equal_results(limit: int) -> None:
    assert not planning.exhausted_tools([A] * (limit - 1), limit)
    assert planning.exhausted_tools([A] * limit, limit) == {"a"}


def test_an_impossible_limit_raises() -> None:
    with pytest.raises(RequestError, match="0 equal results"):
        planning.check_repeat_limit(0)
    with pytest.raises(RequestError, match="'2' equal results"):
        planning.check_repeat_limit("2")


def test_the_model_reads_its_own_words_shortened() -> None:
    error = OutputError("A tool call was cut off by max_tokens.", "Allow more.", "x" * 5000)
    attempt, hint = planning.attempt_and_hint(error)
    assert attempt == "x" * 1000
    assert hint == "Error: A tool call was cut off by max_tokens. Try again, more briefly."
