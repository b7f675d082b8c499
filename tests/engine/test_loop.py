"""The loop: chunks, sharing, preemption, memory recovery, cancellation, crashes, closing."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace

import pytest
import torch

from llava_tools.core.requests import SamplingParams
from llava_tools.engine import loop
from llava_tools.engine.blocks import BLOCK_SIZE, BlockManager
from llava_tools.engine.loop import EngineLoop
from llava_tools.engine.request_state import PromptImage, RequestState, StepOutput
from llava_tools.engine.step import Share
from llava_tools.errors import (
    EngineClosedError,
    EngineCrashedError,
    EngineError,
    MemoryExhaustedError,
)
from tests.engine.fake_runner import END, FakeRunner, answer, next_token

#: Seconds after which a wait counts as a hang.
LONG = 60


class Harness:
    """A loop over the stand-in."""

    def __init__(self, blocks: int = 64, step_tokens: int = 1024, *, caching: bool = True) -> None:
        self.runner = FakeRunner()
        self.blocks = BlockManager(blocks, prefix_caching=caching)
        self.loop = EngineLoop(self.runner, self.blocks, [END], step_tokens, lambda: None)
        self._number = 0

    def submit(self, prompt: Sequence[int], length: int, **fields: object) -> RequestState:
        self._number += 1
        state = RequestState(f"r{self._number}", SamplingParams(), 0.0)
        state.prompt_ids, state.max_tokens = list(prompt), length
        for name, value in fields.items():
            setattr(state, name, value)
        self.loop.submit(state)
        return state

    @property
    def free(self) -> bool:
        """Whether no block is in use."""
        return self.blocks.available == self.blocks.count


@pytest.fixture
def harness() -> Iterator[Callable[..., Harness]]:
    made: list[Harness] = []

    def make(*args: int, **kwargs: bool) -> Harness:
        made.append(Harness(*args, **kwargs))
        return made[-1]

    yield make
    for item in made:
        item.runner.gate.set()
        item.loop.close()


def read(state: RequestState) -> list[int]:
    """Wait for the end of an answer and return its tokens; raise its error."""
    tokens: list[int] = []
    while True:
        output = state.outputs.get(timeout=LONG)
        if isinstance(output, EngineError):
            raise output
        tokens += output.tokens
        if output.finished:
            return tokens


def image(begin: int, tokens: int) -> PromptImage:
    return PromptImage(begin, torch.zeros(tokens, 1))


@pytest.mark.parametrize("step_tokens", [3, 40, 1024])
@pytest.mark.parametrize("caching", [True, False])
def test_answers_do_not_depend_on_the_batch(
    harness: Callable[..., Harness], step_tokens: int, caching: bool
) -> None:
    item = harness(64, step_tokens, caching=caching)
    common = list(range(2, 40)) * 3
    prompts = [[*common[: 11 * n], n + 2] for n in range(10)]
    states = [item.submit(prompt, 5 + n) for n, prompt in enumerate(prompts)]
    for n, (state, prompt) in enumerate(zip(states, prompts, strict=True)):
        assert read(state) == answer(prompt, 5 + n)
    assert item.loop.idle
    assert item.free


def test_the_duration_of_a_step_is_divided_between_its_requests_by_tokens(
    harness: Callable[..., Harness], monkeypatch: pytest.MonkeyPatch
) -> None:
    item, clock = harness(), SimpleNamespace(now=0.0)

    def compute(shares: Sequence[Share]) -> None:
        clock.now += sum(share.rows for share in shares)

    item.runner.before_step = compute
    monkeypatch.setattr(loop, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    item.runner.gate.clear()
    item.submit([5], 1)  # its step waits while the others are submitted
    long, short = item.submit([*range(2, 32)], 1), item.submit([*range(40, 46)], 2)
    item.runner.gate.set()
    read(long)
    read(short)
    assert (long.step_seconds, short.step_seconds) == pytest.approx((30, 7))


def test_a_long_prompt_is_computed_in_chunks_and_answers_go_on(
    harness: Callable[..., Harness],
) -> None:
    item = harness(64, 40)
    item.runner.gate.clear()
    item.submit([5], 30)
    second = item.submit(list(range(2, 48)) * 3, 1)
    item.runner.gate.set()
    read(second)
    shared = [step for step in item.runner.steps if len(step) == 2]
    assert [step[1][2] for step in shared[:4]] == [39, 39, 39, 21]
    assert all(step[0] == ("r1", step[0][1], 1) for step in shared)


def test_a_follow_up_computes_only_what_is_new(harness: Callable[..., Harness]) -> None:
    item = harness()
    prompt = list(range(2, 48)) * 3
    read(item.submit(prompt, 4))
    state = item.submit([*prompt, 3, 4], 2)
    assert read(state) == answer([*prompt, 3, 4], 2)
    assert state.cached_tokens == len(prompt) // BLOCK_SIZE * BLOCK_SIZE
    assert item.runner.steps[-2] == [("r2", state.cached_tokens, 140 - state.cached_tokens)]


def test_questions_about_one_image_wait_for_the_first(harness: Callable[..., Harness]) -> None:
    item = harness()
    item.runner.gate.clear()
    image_ids = [1000 + i for i in range(3 * BLOCK_SIZE)]
    prompts = [[*image_ids, n, n + 1] for n in range(2, 7)]
    images = [image(0, len(image_ids))]
    states = [item.submit(prompt, 3, images=images) for prompt in prompts]
    item.runner.gate.set()
    for state, prompt in zip(states, prompts, strict=True):
        assert read(state) == answer(prompt, 3)
    rows = [rows for step in item.runner.steps for _, first, rows in step if first == 0]
    assert rows == [len(prompts[0])], "the image was computed more than once"
    assert [state.cached_tokens for state in states] == [0, 96, 96, 96, 96]


def test_a_waiting_question_starts_when_the_first_is_cancelled(
    harness: Callable[..., Harness],
) -> None:
    item = harness(64, BLOCK_SIZE)
    item.runner.gate.clear()
    ids = [1000 + i for i in range(4 * BLOCK_SIZE)]
    states = [item.submit([*ids, n], 2, images=[image(0, len(ids))]) for n in (2, 3)]
    item.loop.cancel(states[0])
    item.runner.gate.set()
    assert read(states[1]) == answer([*ids, 3], 2)


def test_the_newest_gives_way_when_blocks_run_out_and_is_computed_again(
    harness: Callable[..., Harness],
) -> None:
    item = harness(5, 1024)
    prompts = [[n] * (BLOCK_SIZE - 2) for n in (2, 3, 4)]
    states = [item.submit(prompt, 60) for prompt in prompts]
    for state, prompt in zip(states, prompts, strict=True):
        assert read(state) == answer(prompt, 60)
    restarts = [first for step in item.runner.steps for id_, first, _ in step if id_ == "r3"]
    assert sorted(restarts) != restarts, "the newest was never preempted"
    assert item.free


def test_labels_are_scored_in_one_step_after_the_prompt(harness: Callable[..., Harness]) -> None:
    item = harness(64, 1024)
    prompt = list(range(2, 48))
    best = answer(prompt, 3)
    state = item.submit(prompt, 0, label=best)
    assert state.outputs.get(timeout=LONG)
    assert len(state.logprobs) == 3
    assert all(-0.5 < entry.logprob < 0 for entry in state.logprobs)
    other = item.submit(prompt, 0, label=[best[0], 49, 49])
    other.outputs.get(timeout=LONG)
    assert [entry.logprob > -0.5 for entry in other.logprobs] == [True, False, False]
    assert [len(step) for step in item.runner.steps] == [1, 1]
    chunked = harness(64, 7).submit(prompt, 0, label=best)
    chunked.outputs.get(timeout=LONG)
    assert [entry.logprob for entry in chunked.logprobs] == [e.logprob for e in state.logprobs]


class Forcing:
    """A constraint that allows everything, and forces the tokens 7, 8, 9 after each token."""

    error = ""

    def __init__(self) -> None:
        self.accepted: list[int] = []

    def allowed_bits(self) -> bytes:
        return b"\xff" * 7

    def accept(self, token: int) -> None:
        self.accepted.append(token)

    def forced_tokens(self, limit: int) -> list[int]:
        self.accepted += (tokens := [7, 8, 9][:limit])
        return tokens


def test_forced_tokens_are_computed_with_the_next_free_one(harness: Callable[..., Harness]) -> None:
    item = harness()
    state = item.submit([5, 6], 9, constraint=Forcing())
    first = state.outputs.get(timeout=LONG)
    assert isinstance(first, StepOutput)
    assert first.tokens[:3] == [7, 8, 9]
    assert first.tokens[4:] == [7, 8, 9]
    rest = read(state)
    assert len(first.tokens) + len(rest) == 9
    assert [step[0][2] for step in item.runner.steps] == [5, 4]
    assert item.free


@pytest.mark.parametrize(("blocks", "step_tokens"), [(64, 1024), (64, 2), (5, 1024), (5, 7)])
@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 8, 9, 60])
def test_forced_tokens_survive_chunks_preemption_and_short_limits(
    harness: Callable[..., Harness], blocks: int, step_tokens: int, length: int
) -> None:
    def forced_answer(prompt: list[int]) -> list[int]:
        tokens = [*prompt, *[7, 8, 9][: length - 1]]
        while len(tokens) < len(prompt) + length:
            tokens += [next_token(tokens), 7, 8, 9]
        return tokens[len(prompt) :][:length]

    item = harness(blocks, step_tokens)
    prompts = [[n] * (BLOCK_SIZE - 2) for n in (2, 3, 4)]
    constraints = [Forcing() for _ in prompts]
    states = [
        item.submit(prompt, length, constraint=constraint)
        for prompt, constraint in zip(prompts, constraints, strict=True)
    ]
    for state, prompt, constraint in zip(states, prompts, constraints, strict=True):
        tokens = read(state)
        assert tokens == forced_answer(prompt)
        assert constraint.accepted == tokens, "the grammar is elsewhere than the answer"
    assert item.free


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("CUDA error: out of memory")])
def test_a_step_without_memory_fails_its_largest_request_alone(
    harness: Callable[..., Harness], error: Exception
) -> None:
    item = harness()
    item.runner.gate.clear()

    def fail(shares: Sequence[Share]) -> None:
        if any(share.rows > 20 for share in shares):
            raise error

    item.runner.before_step = fail
    states = [item.submit([n + 2] * (30 if n == 1 else 5), 4) for n in range(3)]
    item.runner.gate.set()
    with pytest.raises(MemoryExhaustedError):
        read(states[1])
    assert read(states[0]) == answer([2] * 5, 4)
    assert read(states[2]) == answer([4] * 5, 4)
    assert item.loop.idle
    assert item.free


def test_a_crash_fails_all_and_the_next_request_starts_afresh(
    harness: Callable[..., Harness],
) -> None:
    item = harness()

    def fail(shares: Sequence[Share]) -> None:
        raise ValueError("out of order")

    item.runner.before_step = fail
    states = [item.submit([n + 2] * 5, 4) for n in range(3)]
    for state in states:
        with pytest.raises(EngineCrashedError, match="out of order"):
            read(state)
    item.runner.before_step = lambda shares: None
    assert read(item.submit([7] * 5, 4)) == answer([7] * 5, 4)
    assert item.free


def test_after_an_illegal_access_no_request_is_taken(harness: Callable[..., Harness]) -> None:
    item = harness()

    def fail(shares: Sequence[Share]) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    item.runner.before_step = fail
    with pytest.raises(EngineCrashedError) as caught:
        read(item.submit([2], 4))
    assert "Restart the process" in caught.value.hint
    with pytest.raises(EngineCrashedError, match="illegal memory access"):
        item.submit([2], 4)


def test_a_thread_that_dies_fails_its_requests(
    harness: Callable[..., Harness], monkeypatch: pytest.MonkeyPatch
) -> None:
    item = harness()
    monkeypatch.setattr(threading, "excepthook", lambda args: None)

    def fail(shares: Sequence[Share]) -> None:
        raise SystemExit

    item.runner.before_step = fail
    with pytest.raises(EngineCrashedError):
        read(item.submit([2], 4))
    item.runner.before_step = lambda shares: None
    assert read(item.submit([7] * 5, 4)) == answer([7] * 5, 4)


def test_closing_fails_the_requests_in_flight(harness: Callable[..., Harness]) -> None:
    item = harness()
    states = [item.submit([n + 2], 100_000) for n in range(2)]
    states[0].outputs.get(timeout=LONG)
    item.loop.close()
    for state in states:
        with pytest.raises(EngineClosedError):
            read(state)
    with pytest.raises(EngineClosedError):
        item.submit([2], 1)
    item.loop.close()


@pytest.mark.parametrize("seed", range(20))
def test_cancellations_and_faults_at_random_leave_nothing_behind(
    harness: Callable[..., Harness], seed: int
) -> None:
    """1,000 requests in all seeds together; a step of each run fails."""
    chance = random.Random(seed)
    item = harness(24, 48)
    fault_at, faults = chance.randrange(5, 40), [MemoryError(), ValueError("broken")]
    fault = faults[seed % 2]

    def fail(shares: Sequence[Share]) -> None:
        if len(item.runner.steps) == fault_at and not failed:
            failed.append(True)
            raise fault

    failed: list[bool] = []
    item.runner.before_step = fail
    prefixes = [[1000 * p + i for i in range(chance.randrange(70))] for p in range(2, 5)]
    requests: list[tuple[RequestState, list[int], int, bool]] = []
    for _ in range(50):
        prefix = chance.choice(prefixes)
        prompt = [*prefix, *(chance.randrange(2, 40) for _ in range(chance.randrange(1, 60)))]
        length = chance.randrange(1, 30)
        images = [image(0, len(prefix))] if prefix and chance.random() < 0.5 else []
        state = item.submit(prompt, length, images=images)
        requests.append((state, prompt, length, chance.random() < 0.3))
        if requests[-1][3]:
            if chance.random() < 0.5:
                state.outputs.get(timeout=LONG)
            item.loop.cancel(state)
    finished = 0
    for state, prompt, length, cancelled in requests:
        if cancelled:
            continue
        try:
            assert read(state) == answer(prompt, length)
            finished += 1
        except (EngineCrashedError, MemoryExhaustedError):
            pass
    assert finished
    assert item.loop.idle
    assert read(item.submit([2, 3], 2)) == answer([2, 3], 2)
    assert item.free
