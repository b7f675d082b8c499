"""Many requests of all kinds at once, cancelled at random, with faults at random steps."""

from __future__ import annotations

import gc
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from PIL import Image

from llava_tools import Llava, Message, Request, SamplingParams, open_image
from llava_tools.core.constraints import Constraint, ToolSpec
from llava_tools.core.outputs import collect
from llava_tools.engine import kv_cache, vision_tower
from llava_tools.engine.engine import LlavaEngine
from llava_tools.engine.kv_cache import MemoryBudget
from llava_tools.engine.request_state import RequestState
from llava_tools.engine.step import Share, StepLogits
from llava_tools.errors import EngineCrashedError, MemoryExhaustedError, OutputError

#: Seconds after which waiting counts as a hang.
LONG = 300
REQUESTS, THREADS = 200, 8
LABELS = ["yes", "no", "Two dogs.", "A red circle and a blue square."]
FORM = Constraint(
    schema={
        "type": "object",
        "properties": {
            "colour": {"enum": ["red", "green", "blue"]},
            "count": {"type": "integer", "minimum": 0, "maximum": 9},
            "wide": {"type": "boolean"},
        },
        "required": ["colour", "count", "wide"],
    }
)
PICK = ToolSpec(
    "pick",
    "",
    {
        "type": "object",
        "properties": {"side": {"enum": ["left", "right"]}, "inner": {"type": "boolean"}},
        "required": ["side", "inner"],
    },
)
CALL = Constraint((PICK,), "pick")
FAULTS: dict[str, Callable[[], BaseException]] = {
    "memory": MemoryError,
    "device memory": lambda: RuntimeError("CUDA error: out of memory"),
    "crash": lambda: ValueError("out of order"),
}
#: What becomes of a request that a fault concerns.
ERRORS = (EngineCrashedError, MemoryExhaustedError)


@dataclass(frozen=True)
class Case:
    """A request whose answer is known: labels to score, or none to generate."""

    request: Request
    labels: Sequence[str] = ()

    def result(self, engine: LlavaEngine) -> object:
        """Return what the engine answers, without what depends on time."""
        if self.labels:
            return engine.score(self.request, self.labels)
        try:
            answer = collect(engine.stream(self.request), "m")
        except OutputError as error:
            return str(error)
        calls = [(call.name, dict(call.arguments)) for call in answer.tool_calls]
        return answer.text, calls, answer.token_ids, answer.finish_reason


@dataclass
class Faults:
    """Raises an error at one step, and one in the vision tower."""

    step: int
    image: int
    kind: str
    steps: int = 0
    images: int = 0
    raised: list[str] = field(default_factory=list)

    def before_step(self) -> None:
        self.steps += 1
        if self.steps == self.step:
            self.raised.append("step")
            raise FAULTS[self.kind]()

    def before_image(self) -> None:
        self.images += 1
        if self.images == self.image:
            self.raised.append("image")
            raise MemoryError


def cases(images: list[Image.Image], chance: random.Random) -> Iterator[Case]:
    """Yield requests with any number of images, constraints, seeds, penalties and labels."""
    opened = [open_image(image) for image in images]
    for number in range(32):
        images = chance.sample(opened, chance.choice([0, 1, 1, 1, 2, 3]))
        message = Message("user", (*images, f"What is number {number % 5}?"))
        kind = chance.choice(["text", "text", "seeded", "stopped", "form", "call", "labels"])
        sampling = SamplingParams(
            max_tokens=chance.randrange(1, 40) if kind in ("text", "seeded", "stopped") else 90,
            temperature=0.8 if kind == "seeded" else 0.0,
            seed=number,
            stop=("e",) if kind == "stopped" else (),
            logprobs=kind == "text" and number % 3 == 0,
            repetition_penalty=1.3 if number % 4 == 1 else 1.0,
        )
        constraint = {"form": FORM, "call": CALL}.get(kind, Constraint())
        labels = chance.sample(LABELS, chance.randrange(1, 5)) if kind == "labels" else ()
        yield Case(Request((message,), sampling, constraint), labels)


def engine_of(model: Llava) -> LlavaEngine:
    assert isinstance(model.backend, LlavaEngine)
    return model.backend


def alive() -> set[int]:
    """Return the requests that something holds, of closed engines too."""
    return {id(item) for item in gc.get_objects() if type(item) is RequestState}


def run(engine: LlavaEngine, case: Case, way: str, count: int) -> object:
    """Answer a request to its end, or give it up on one of three ways after `count` chunks."""
    if way == "read" or case.labels:
        return case.result(engine)
    stream = engine.stream(case.request)
    if way != "unread":
        for _, _ in zip(range(count), stream, strict=False):
            pass
    if way == "closed":
        stream.close()
    return None  # else the stream is dropped


@pytest.mark.slow
@pytest.mark.parametrize("kind", FAULTS)
@pytest.mark.parametrize("seed", range(5))
def test_requests_cancelled_at_random_and_faults_leave_nothing_behind(
    fresh: Callable[..., Llava],
    images: list[Image.Image],
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    seed: int,
) -> None:
    chance = random.Random(f"{kind} {seed}")
    known = list(cases(images, chance))
    plain = engine_of(fresh(prefix_caching=False))
    expected = [case.result(plain) for case in known]
    plain.close()
    before = alive()
    # Blocks for little more than one context, so that requests wait and give way.
    monkeypatch.setattr(
        kv_cache, "CPU_BUDGET", MemoryBudget(step_tokens=96, kv_tokens=0, kv_share=1e-9)
    )
    caching = bool(seed % 3)
    engine = engine_of(fresh(prefix_caching=caching, max_concurrent_requests=THREADS + 40))
    faults = Faults(chance.randrange(20, 150), chance.randrange(1, 7), kind)
    compute, features = engine.loop.runner.run, vision_tower.features

    def faulty_step(shares: Sequence[Share]) -> StepLogits:
        faults.before_step()
        return compute(shares)

    def faulty_features(*arguments: Any) -> torch.Tensor:
        faults.before_image()
        return features(*arguments)

    monkeypatch.setattr(engine.loop.runner, "run", faulty_step)
    monkeypatch.setattr(vision_tower, "features", faulty_features)

    def work(number: int) -> str:
        index, way, count = plan[number]
        try:
            result = run(engine, known[index], way, count)
        except ERRORS as error:
            return type(error).__name__
        if result is None:
            return way
        if known[index].labels:
            assert result == pytest.approx(expected[index], rel=1e-4)
        else:
            assert result == expected[index]
        return "right"

    ways = ["read"] * 5 + ["closed", "dropped", "unread"]
    plan = [
        (chance.randrange(len(known)), chance.choice(ways), chance.randrange(1, 5))
        for _ in range(REQUESTS)
    ]
    with ThreadPoolExecutor(THREADS) as pool:
        futures = [pool.submit(work, number) for number in range(REQUESTS)]
        if wait(futures, LONG).not_done:
            engine.close()  # ends those that wait
            pytest.fail("requests hang")
    outcomes = Counter(future.result() for future in futures)
    assert faults.raised.count("step") == 1, f"only {faults.steps} steps"
    assert faults.raised.count("image") == 1
    failed = sum(outcomes[error.__name__] for error in ERRORS)
    assert 1 <= failed <= THREADS + 1 if kind == "crash" else failed <= 2
    assert outcomes["right"] > REQUESTS / 2

    last = Request((Message("user", ("Still there?",)),), SamplingParams(max_tokens=3))
    assert Case(last).result(engine)  # its steps remove what was cancelled
    assert engine.idle
    blocks = engine.loop._blocks
    assert blocks.available == blocks.count
    assert engine._free_slots._value == THREADS + 40
    deadline = time.monotonic() + LONG
    while not alive() <= before:  # the engine thread may not have left the last step
        assert time.monotonic() < deadline, "requests and their images' features are still held"
        gc.collect()
