"""What agent loops need so that a weak planner finishes; for the adapters of the frameworks.

A weak planner makes the same call again and again, or writes a call that `max_tokens` cuts off.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from llava_tools.chat.tool_calls import write_json
from llava_tools.errors import OutputError, RequestError

#: Number of equal results of the same call after which a tool is withdrawn.
REPEAT_LIMIT = 2

#: Characters of a refused answer that go back to the model.
_LONGEST_ATTEMPT = 1000


@dataclass(frozen=True)
class CompletedCall:
    """A tool call of the present run, with a text that is equal for equal results."""

    name: str
    arguments: Mapping[str, Any]
    result: str


def exhausted_tools(calls: Iterable[CompletedCall], limit: int) -> frozenset[str]:
    """Return the tools to withdraw: those whose calls have brought nothing new.

    A tool is withdrawn when the same call has had the same result `limit` times, and offered again
    after any call that brings something new. So a planner that edits a file may run the same tests
    after each edit, and a loop of several tools ends as well.

    Args:
        calls: The calls since the user's last message, in order.
        limit: At least 1.
    """
    counts: Counter[tuple[str, str, str]] = Counter()
    exhausted: set[str] = set()
    for call in calls:
        key = (call.name, write_json(dict(sorted(call.arguments.items()))), call.result)
        counts[key] += 1
        if counts[key] == 1:
            exhausted.clear()
        if counts[key] >= limit:
            exhausted.add(call.name)
    return frozenset(exhausted)


def check_repeat_limit(limit: int) -> int:
    """Return a limit of equal results.

    Raises:
        RequestError: It is less than 1.
    """
    if not isinstance(limit, int) or limit < 1:
        raise RequestError(
            f"A limit of {limit!r} equal results is not possible.",
            "Use a whole number of at least 1.",
        )
    return limit


def attempt_and_hint(error: OutputError) -> tuple[str, str]:
    """Return what the model had written, and the user's message that asks it to try again."""
    return error.text[:_LONGEST_ATTEMPT], f"Error: {error.message} Try again, more briefly."
