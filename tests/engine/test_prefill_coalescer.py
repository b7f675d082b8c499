"""Requests with a common prefix: one starts, the others follow, fail or take its place."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from llava_tools.engine.prefill_coalescer import PrefillCoalescer


def test_the_first_starts_and_the_others_follow_its_first_token() -> None:
    coalescer: PrefillCoalescer[str] = PrefillCoalescer()
    assert coalescer.admit("cat", "a")
    assert not coalescer.admit("cat", "b")
    assert not coalescer.admit("cat", "c")
    assert coalescer.admit("dog", "d")
    assert coalescer.prefilled("a") == ["b", "c"]
    assert coalescer.admit("cat", "e"), "a computed prefix is not waited for again"
    assert coalescer.prefilled("e") == []
    assert coalescer.prefilled("d") == []
    assert len(coalescer) == 0


def test_the_next_takes_the_place_of_a_cancelled_request() -> None:
    coalescer: PrefillCoalescer[str] = PrefillCoalescer()
    for name in "abc":
        coalescer.admit("cat", name)
    assert coalescer.cancelled("b") == (False, [])
    assert coalescer.cancelled("a") == (True, ["c"])
    assert coalescer.cancelled("c") == (True, [])
    assert coalescer.admit("cat", "d")


def test_requests_that_waited_for_a_failed_one_are_returned() -> None:
    coalescer: PrefillCoalescer[str] = PrefillCoalescer()
    for name in "abc":
        coalescer.admit("cat", name)
    assert coalescer.failed("a") == ["b", "c"]
    assert coalescer.admit("cat", "d")


@given(st.lists(st.tuples(st.sampled_from("apcf"), st.integers(0, 9)), max_size=60))
def test_every_request_starts_or_fails_exactly_once(
    steps: list[tuple[str, int]],
) -> None:
    coalescer: PrefillCoalescer[str] = PrefillCoalescer()
    states: dict[str, str] = {}  # waiting, started, over
    for number, (step, choice) in enumerate(steps):
        started = [name for name, state in states.items() if state == "started"]
        present = [name for name, state in states.items() if state in ("started", "waiting")]
        if step == "a":
            name = f"r{number}"
            states[name] = "started" if coalescer.admit(choice % 2, name) else "waiting"
        elif step == "c" and present:
            name = present[choice % len(present)]
            was_started, next_names = coalescer.cancelled(name)
            assert was_started == (states[name] == "started")
            states[name] = "over"
            for other in next_names:
                assert states[other] == "waiting"
                states[other] = "started"
        elif step in "pf" and started:
            name = started[choice % len(started)]
            freed = coalescer.prefilled(name) if step == "p" else coalescer.failed(name)
            states[name] = "over"
            for other in freed:
                assert states[other] == "waiting"
                states[other] = "started" if step == "p" else "over"
    for name in [name for name, state in states.items() if state == "started"]:
        for other in coalescer.prefilled(name):
            assert states[other] == "waiting"
            states[other] = "started"
    assert "waiting" not in states.values()
