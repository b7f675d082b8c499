from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from llava_tools.engine.prefill_coalescer import PrefillCoalescer


def test_the_first_goes_ahead_and_the_others_follow_its_first_token() -> None:
    convoy: PrefillCoalescer[str] = PrefillCoalescer()
    assert convoy.join("cat", "a", "A")
    assert not convoy.join("cat", "b", "B")
    assert not convoy.join("cat", "c", "C")
    assert convoy.join("dog", "d", "D")
    assert convoy.begun("a") == ["B", "C"]
    assert convoy.join("cat", "e", "E"), "what was computed is not waited for again"
    assert convoy.begun("e") == []
    assert convoy.begun("d") == []
    assert len(convoy) == 0


def test_who_leaves_makes_room() -> None:
    convoy: PrefillCoalescer[str] = PrefillCoalescer()
    for name in "abc":
        convoy.join("cat", name, name.upper())
    assert convoy.left("b") == (False, [])
    assert convoy.left("a") == (True, ["C"])
    assert convoy.left("c") == (True, [])
    assert convoy.join("cat", "d", "D")


def test_who_waited_for_a_failure_fails_too() -> None:
    convoy: PrefillCoalescer[str] = PrefillCoalescer()
    for name in "abc":
        convoy.join("cat", name, name.upper())
    assert convoy.failed("a") == ["B", "C"]
    assert convoy.join("cat", "d", "D")


@given(st.lists(st.tuples(st.sampled_from("jblf"), st.integers(0, 9)), max_size=60))
def test_everybody_starts_or_fails_once_and_nobody_is_forgotten(
    steps: list[tuple[str, int]],
) -> None:
    convoy: PrefillCoalescer[str] = PrefillCoalescer()
    state: dict[str, str] = {}  # waiting, started, over
    for number, (step, pick) in enumerate(steps):
        started = [name for name, where in state.items() if where == "started"]
        present = [name for name, where in state.items() if where in ("started", "waiting")]
        if step == "j":
            name = f"r{number}"
            state[name] = "started" if convoy.join(pick % 2, name, name) else "waiting"
        elif step == "l" and present:
            name = present[pick % len(present)]
            was_started, next_ones = convoy.left(name)
            assert was_started == (state[name] == "started")
            state[name] = "over"
            for other in next_ones:
                assert state[other] == "waiting"
                state[other] = "started"
        elif step in "bf" and started:
            name = started[pick % len(started)]
            freed = convoy.begun(name) if step == "b" else convoy.failed(name)
            state[name] = "over"
            for other in freed:
                assert state[other] == "waiting"
                state[other] = "started" if step == "b" else "over"
    for name in [name for name, where in state.items() if where == "started"]:
        for other in convoy.begun(name):
            assert state[other] == "waiting"
            state[other] = "started"
    assert "waiting" not in state.values()
