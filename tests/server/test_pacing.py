"""While several users are active, the requests of one take turns, with rests between."""

from __future__ import annotations

import asyncio

import pytest
from starlette.types import Message, Receive, Scope, Send

from llava_tools.errors import QueueFullError
from llava_tools.server.options import ServerOptions
from llava_tools.server.pacing import LONGEST_REST, PacingMiddleware, add_wait, end_turn
from llava_tools.server.users import User, Users

Events = list[tuple[str, float]]


class Bench:
    """A server whose requests take set seconds of a clock that only moves with them."""

    def __init__(self) -> None:
        self.now = 100.0
        self.users = Users(ServerOptions(api_keys=("a" * 16, "b" * 16)))
        self.one, self.other = self.users
        self.events: Events = []
        self.app = self.paced()

    def paced(self) -> PacingMiddleware:
        return PacingMiddleware(self.answer, self.users, 2, lambda: self.now, self.sleep)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)
        self.now += seconds

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read the body, work for its seconds, and answer, maybe in chunks for some more."""
        await receive()
        name, seconds, waited = scope["name"], scope["seconds"], scope["waited"]
        self.events.append((f"{name} begins", self.now))
        await asyncio.sleep(0)
        self.now += seconds
        if scope["streams"]:
            end_turn(waited)
            self.events.append((f"{name} has its first chunk", self.now))
            await asyncio.sleep(0)
            self.now += 50
        else:
            add_wait(waited)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await asyncio.sleep(0)

    async def request(
        self,
        user: User,
        name: str,
        seconds: float,
        *,
        streams: bool = False,
        waited: float = 0.0,
    ) -> None:
        scope: Scope = {"type": "http", "state": {"user": user}, "name": name}
        scope.update(seconds=seconds, streams=streams, waited=waited)

        async def receive() -> Message:
            return {"type": "http.request", "body": b"{}", "more_body": False}

        async def send(message: Message) -> None:
            self.events.append((f"{name} is answered", self.now))

        await self.app(scope, receive, send)


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_a_user_alone_is_not_paced(bench: Bench) -> None:
    await asyncio.gather(*(bench.request(bench.one, name, 1) for name in "xy"))
    assert [name for name, _ in bench.events[:2]] == ["x begins", "y begins"]
    await bench.request(bench.one, "z", 1)
    assert bench.events[-2] == ("z begins", 102.0)


async def test_beside_others_a_user_s_requests_begin_one_by_one_with_rests(bench: Bench) -> None:
    bench.other.pending = 1
    await asyncio.gather(*(bench.request(bench.one, name, 0.5) for name in "xy"))
    assert [name for name, _ in bench.events] == [
        "x begins", "x is answered", "y begins", "y is answered",
    ]  # fmt: skip
    times = dict(bench.events)
    assert times["y begins"] == pytest.approx(times["x is answered"] + 1.0, abs=1e-6)


async def test_a_turn_ends_with_the_first_chunk(bench: Bench) -> None:
    bench.other.pending = 1
    await bench.request(bench.one, "x", 0.5, streams=True)
    assert not bench.one.turn.locked()
    assert bench.one.rests_until == pytest.approx(101.5, abs=1e-6)
    await bench.request(bench.one, "y", 0.5)  # 50 seconds later
    assert dict(bench.events)["y begins"] == 150.5


@pytest.mark.parametrize("streams", [True, False])
async def test_a_request_that_waited_for_others_has_no_rest_for_that(
    bench: Bench, streams: bool
) -> None:
    bench.other.pending = 1
    await bench.request(bench.one, "x", 0.5, streams=streams, waited=0.4)
    assert bench.one.rests_until == pytest.approx(100.7, abs=1e-6)


async def test_more_requests_wait_for_their_turn_than_allowed(bench: Bench) -> None:
    bench.other.pending = 1
    await bench.one.turn.acquire()
    waiting = [asyncio.ensure_future(bench.request(bench.one, name, 0.5)) for name in "xy"]
    await asyncio.sleep(0)
    with pytest.raises(QueueFullError, match="2 requests of this API key wait for their turn"):
        await bench.request(bench.one, "z", 0.5)
    bench.one.turn.release()
    await asyncio.gather(*waiting)
    assert (bench.one.queued, bench.one.turn.locked()) == (0, False)


async def test_a_user_whose_requests_wait_for_their_turn_is_active(bench: Bench) -> None:
    bench.other.queued = 1
    await bench.request(bench.one, "x", 0.5)
    assert bench.one.rests_until > bench.now


async def test_the_other_user_does_not_wait(bench: Bench) -> None:
    await bench.request(bench.other, "o", 0)
    await bench.request(bench.one, "x", 0.9)
    await bench.request(bench.other, "p", 0)
    assert dict(bench.events)["p begins"] == dict(bench.events)["x is answered"]


async def test_a_rest_is_bounded(bench: Bench) -> None:
    bench.other.pending = 1
    await bench.request(bench.one, "x", 60)
    assert bench.one.rests_until == bench.now + LONGEST_REST


async def test_a_user_who_was_there_a_while_ago_is_not_active(bench: Bench) -> None:
    await bench.request(bench.other, "o", 0)
    bench.now += 10
    await bench.request(bench.one, "x", 0.5)
    assert bench.one.rests_until < 0


@pytest.mark.parametrize("fails", ["app", "sleep"])
async def test_a_turn_that_breaks_off_is_over(bench: Bench, fails: str) -> None:
    bench.other.pending = 1
    await bench.request(bench.one, "x", 0.5)

    async def fail(*_: object) -> None:
        raise asyncio.CancelledError

    setattr(bench, "answer" if fails == "app" else "sleep", fail)
    bench.app = bench.paced()
    with pytest.raises(asyncio.CancelledError):
        await bench.request(bench.one, "y", 0.5)
    assert not bench.one.turn.locked()
