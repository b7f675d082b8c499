"""`prefetch`: order, errors, how far ahead it runs, and closing."""

from __future__ import annotations

import threading
from collections.abc import Generator

import pytest

from llava_tools.retrieval.pipeline import prefetch


def test_items_come_in_order_and_errors_after_them() -> None:
    def items() -> Generator[int]:
        yield from range(5)
        raise RuntimeError("broken")

    consumer = prefetch(items(), 2)
    assert [next(consumer) for _ in range(5)] == list(range(5))
    with pytest.raises(RuntimeError, match="broken"):
        next(consumer)


def test_it_runs_a_bounded_number_of_items_ahead_and_stops_when_closed() -> None:
    produced: list[int] = []
    third, closed = threading.Event(), threading.Event()

    def items() -> Generator[int]:
        try:
            for number in range(100):
                produced.append(number)
                if number == 2:
                    third.set()
                yield number
        finally:
            closed.set()

    consumer = prefetch(items(), 2)
    assert next(consumer) == 0
    assert third.wait(5)
    consumer.close()
    assert closed.is_set()
    assert produced == [0, 1, 2]
