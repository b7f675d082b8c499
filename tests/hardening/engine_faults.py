"""Faults inside the engine: each request ends in one error, others answer as alone, nothing stays.

A round sends some requests at once, with a fault in one part of the engine. Then all slots and
blocks of the KV are free again, and the engine answers as before.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from contextlib import contextmanager
from functools import partial
from typing import Any
from unittest import mock

from llava_tools.core.outputs import collect
from llava_tools.core.time_limit import TimeLimitedStream
from llava_tools.engine import vision_tower
from llava_tools.engine.engine import LlavaEngine
from llava_tools.engine.grammar_masks import Matcher
from llava_tools.engine.sampler import Sampler
from llava_tools.engine.tokenizer import IncrementalDecoder, Tokenizer
from llava_tools.errors import (
    AnswerTimeoutError,
    EngineClosedError,
    EngineCrashedError,
    EngineError,
    MemoryExhaustedError,
)
from tests.hardening.attack import Attack, Tally
from tests.hardening.engine_fixture import HANG, answer, check_idle, load, requests, send

#: Errors that a fault may raise.
KINDS: dict[str, Callable[[], BaseException]] = {
    "a fault": lambda: ValueError("out of order"),
    "no memory": MemoryError,
    "no memory of a device": lambda: RuntimeError("CUDA error: out of memory"),
    "the thread's end": SystemExit,
}
#: Where a fault may be: the object, its method, and whether it runs on the engine's thread, where
#: it concerns all requests in flight; else it concerns one.
PLACES: dict[str, tuple[Any, str, bool]] = {
    "sampler": (Sampler, "sample", True),
    "grammar": (Matcher, "accept", True),
    "tower": (vision_tower, "features", False),
    "tokenizer": (Tokenizer, "tokenize", False),
    "detokenizer": (IncrementalDecoder, "step", False),
}
ERRORS = (EngineCrashedError, MemoryExhaustedError)


def fail_once(original: Callable[..., Any], error: Callable[[], BaseException], after: int) -> Any:
    """Return a function that raises an error once, after so many calls."""
    lock, calls = threading.Lock(), [0]

    def faulty(*arguments: Any, **options: Any) -> Any:
        with lock:
            calls[0] += 1
            fails = calls[0] == after
        if fails:
            raise error()
        return original(*arguments, **options)

    return faulty


@contextmanager
def fault(engine: LlavaEngine, place: str, error: Callable[[], BaseException], after: int) -> Any:
    """Let one part of the engine fail once."""
    holder, name = (engine.loop.runner, "run") if place == "step" else PLACES[place][:2]
    with mock.patch.object(holder, name, fail_once(getattr(holder, name), error, after)):
        yield


class Rounds:
    """Rounds on one engine, which is loaded again after those that close it."""

    def __init__(self) -> None:
        self.engine = load()
        self.known = requests()
        self.right = [answer(self.engine, request) for request in self.known]

    def fault(self, place: str, kind: str, after: int) -> str:
        """Let one part of the engine fail while requests are in flight."""
        engine, error = self.engine, KINDS[kind]
        with fault(engine, place, error, after):
            results = send(engine, self.known, lambda n: answer(engine, self.known[n]))
        on_engine_thread = place == "step" or PLACES[place][2]
        failed = [
            result for result, right in zip(results, self.right, strict=True) if result != right
        ]
        for result in failed:
            if not isinstance(result, BaseException):
                raise AssertionError(f"another answer: {result!r}")
            raw = kind in ("a fault", "the thread's end") and type(result) is type(error())
            if not isinstance(result, ERRORS) and (on_engine_thread or not raw):
                raise AssertionError(f"{result!r}")
            if isinstance(result, EngineError) and not result.retryable:
                raise AssertionError(f"not retryable: {result!r}")
        # A step without memory is repeated without its largest request.
        alone = not on_engine_thread or (place == "step" and "memory" in kind)
        if alone and len(failed) > 1:
            raise AssertionError(f"{len(failed)} requests failed")
        check_idle(engine, self.known[1], self.right[1])
        return "one failed" if len(failed) == 1 else "all in flight failed" if failed else "right"

    def give_up(self, way: str, chunks: int) -> str:
        """Close or drop a stream after so many chunks, or read no more of it for a while."""
        engine, first = self.engine, self.known[0]
        stream = engine.stream(first)
        for _ in zip(range(chunks), stream, strict=False):
            pass
        if way == "closed":
            stream.close()
        elif way == "closed by another thread":
            reader = threading.Thread(target=lambda: list(stream))
            reader.start()
            stream.close()
            reader.join(HANG)
            if reader.is_alive():
                raise AssertionError("the reader waits for ever")
        elif way == "dropped":
            del stream
        results = send(engine, self.known, lambda n: answer(engine, self.known[n]))
        if results != self.right:
            raise AssertionError(f"others: {results}")
        if way == "not read":
            rest = collect(stream, "m")
            if chunks == 0 and (rest.text, rest.token_ids) != self.right[0][:2]:  # type: ignore[index]
                raise AssertionError(f"{rest}")
            del stream
        check_idle(engine, self.known[1], self.right[1])
        return "given up"

    def time_out(self, seconds: float) -> str:
        """Send requests with a time limit that some of them exceed."""
        engine = self.engine

        def work(number: int) -> object:
            request = self.known[number]
            if number % 2:
                return answer(engine, request)
            limited = TimeLimitedStream(lambda: engine.stream(request), seconds)
            return collect(limited, "m").text

        results = send(engine, self.known, work)
        for number, result in enumerate(results):
            if number % 2 and result != self.right[number]:
                raise AssertionError(f"another answer: {result!r}")
            if isinstance(result, BaseException) and not isinstance(result, AnswerTimeoutError):
                raise AssertionError(repr(result))
        check_idle(engine, self.known[1], self.right[1])
        return "out of time"

    def close(self, chunks: int) -> str:
        """Close the engine while it answers, and load another one."""
        engine = self.engine

        def work(number: int) -> object:
            if number:
                return answer(engine, self.known[number])
            for _ in zip(range(chunks), engine.stream(self.known[2]), strict=False):
                pass
            engine.close()
            return self.right[0]

        results = send(engine, self.known, work)
        for result, right in zip(results, self.right, strict=True):
            if result != right and not isinstance(result, EngineClosedError):
                raise AssertionError(repr(result))
        try:
            answer(engine, self.known[1])
        except EngineClosedError:
            self.engine = load()
            return "closed"
        raise AssertionError("a closed engine answers")


def draw(rounds: Rounds, rng: random.Random) -> tuple[Callable[[], str], str]:
    """Return a round, and what it is in words."""
    match rng.choices(("fault", "give up", "time out", "close"), (60, 30, 10, 3))[0]:
        case "fault":
            place, kind = rng.choice(["step", *PLACES]), rng.choice(sorted(KINDS))
            after = rng.randrange(1, 9 if place in ("step", "sampler", "detokenizer") else 4)
            return partial(rounds.fault, place, kind, after), f"{place}: {kind} at call {after}"
        case "give up":
            way = rng.choice(["closed", "closed by another thread", "dropped", "not read"])
            chunks = rng.randrange(12)
            return partial(rounds.give_up, way, chunks), f"{way} after {chunks} chunks"
        case "time out":
            seconds = rng.uniform(0.001, 0.1)
            return partial(rounds.time_out, seconds), f"timeout={seconds:.4f}"
        case _:
            chunks = rng.randrange(6)
            return partial(rounds.close, chunks), f"closed after {chunks} chunks"


def attack(count: int, seed: int) -> Tally:
    """Let parts of an engine fail, and give requests up, at drawn moments."""
    rng, tally = random.Random(seed), Tally()
    hook = threading.excepthook
    threading.excepthook = lambda arguments: None  # threads that end are part of it
    rounds = Rounds()
    try:
        for _ in range(count):
            run, what = draw(rounds, rng)
            tally.add(run, what)
    finally:
        threading.excepthook = hook
        rounds.engine.close()
    return tally


ATTACK = Attack(
    "engine_faults", "faults in parts of the engine, requests given up", attack, 600, 12
)
