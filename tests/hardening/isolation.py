"""Two users at once: what one gets is what one gets alone, and nothing of the other's is in it.

Each user has words and colours that nobody else has, and the model repeats all that it sees. What
both do is drawn, and the order too; then each does the same alone. A few share the real engine,
with its caches of images and prefixes; alone, they have one without.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from llava_tools.core.backend import Backend
from llava_tools.testing import ScriptedBackend
from tests.hardening.attack import Attack, Tally
from tests.hardening.neighbours.mcp import Sessions
from tests.hardening.neighbours.server import Server
from tests.hardening.neighbours.user import Operation, User, describe
from tests.hardening.neighbours.wrappers import Wrappers

#: What users share, and how often among 20.
SURFACES: dict[str, tuple[Callable[[Backend], Any], int]] = {
    "wrappers": (Wrappers, 10),
    "server": (Server, 8),
    "MCP": (Sessions, 2),
}
#: One interleaving of so many is tried on the real engine, the last one of them.
ENGINE_EVERY = 25
_Turn = tuple[int, Operation]


def scripted() -> Iterator[tuple[Backend, Backend]]:
    """Yield a model for both users, and one for each alone: they repeat what they see."""
    while True:
        yield tuple(ScriptedBackend(describe, image_tokens=4) for _ in range(2))


@contextmanager
def engines() -> Iterator[tuple[Backend, Backend]]:
    """Yield an engine for both users, and one without caches for each alone."""
    from tests.hardening.engine_fixture import load  # torch, which short runs do without

    shared, alone = load(), load(prefix_caching=False)
    try:
        yield shared, alone
    finally:
        shared.close()
        alone.close()


def run_in_turns(surface: Any, turns: Sequence[_Turn]) -> list[list[object]]:
    """Return what each user got."""
    results: list[list[object]] = [[], []]
    for user, operation in turns:
        results[user].append(surface.run(user, operation))
    return results


def run_at_once(surface: Any, turns: Sequence[_Turn]) -> list[list[object]]:
    """Return what each user got in a thread of their own."""
    results: list[list[object]] = [[], []]

    def work(user: int) -> None:
        results[user] = [surface.run(user, item) for number, item in turns if number == user]

    threads = [threading.Thread(target=work, args=[user]) for user in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def alone(surface: Any, turns: Sequence[_Turn], user: int) -> list[object]:
    """Return what a user gets if nobody else is there."""
    try:
        return run_in_turns(surface, [turn for turn in turns if turn[0] == user])[user]
    finally:
        surface.close()


def interleave(
    name: str, make: Callable[[Backend], Any], backends: tuple[Backend, Backend], rng: random.Random
) -> str:
    """Draw what both users do; raise `AssertionError` if one notices the other."""
    shared, plain = backends
    users = [User(number, rng) for number in (0, 1)]
    turns = [
        (user.number, operation)
        for user in users
        for operation in user.draw(users[1 - user.number], rng, rng.randrange(3, 8))
    ]
    rng.shuffle(turns)
    at_once = name != "MCP" and rng.random() < 0.3
    surface = make(shared)
    try:
        results = (run_at_once if at_once else run_in_turns)(surface, turns)
        shown = surface.shown()
    finally:
        surface.close()
    for user in users:
        mine = [operation for number, operation in turns if number == user.number]
        expected = alone(make(plain), turns, user.number)
        for operation, result, right in zip(mine, results[user.number], expected, strict=True):
            if result != right:
                raise AssertionError(f"{operation.kind}: {result!r:.200} and not {right!r:.200}")
            check_canaries(operation, result, users[1 - user.number])
        for canary in user.canaries:
            if canary in shown:
                raise AssertionError(f"{canary} is shown in {shown!r:.200}")
    return f"{name}{', at once' if at_once else ''}: as alone"


def check_canaries(operation: Operation, result: object, other: User) -> None:
    """Check that a result has nothing of the other's, but what the user has named."""
    text = repr(result).replace(operation.image.handle, "")
    for canary in other.canaries:
        if canary in text:
            raise AssertionError(f"{operation.kind}: {canary} in {text:.200}")


def attack(count: int, seed: int) -> Tally:
    """Try drawn interleavings on everything that users share."""
    tally, rng = Tally(), random.Random(seed)
    weights = [weight for _, weight in SURFACES.values()]
    models = scripted()

    def work(number: int, name: str, make: Callable[[Backend], Any], backends: Any) -> None:
        what = f"{seed}-{number}"
        run = partial(interleave, name, make, backends, random.Random(what))
        tally.add(run, f"{name} {what}")

    others = [number for number in range(count) if number % ENGINE_EVERY != ENGINE_EVERY - 1]
    for number in others:
        (name,) = rng.choices(list(SURFACES), weights)
        work(number, name, SURFACES[name][0], next(models))
    if len(others) < count:
        with engines() as loaded:
            for number in range(ENGINE_EVERY - 1, count, ENGINE_EVERY):
                work(number, "engine", partial(Wrappers, max_tokens=6), loaded)
    return tally


ATTACK = Attack("isolation", "two users of one process, server or MCP server", attack, 1_000, 20)
