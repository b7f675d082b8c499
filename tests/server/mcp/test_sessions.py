"""Which images belong to which client."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from llava_tools.images.access import ImageResolver
from llava_tools.images.store import ImageStore
from llava_tools.server.mcp.sessions import Session, Sessions


def _make() -> Session:
    store = ImageStore()
    return Session(store, ImageResolver(store))


def _context(version: str, user: str = "", session: str = "") -> Any:
    scope = {"user": SimpleNamespace(username=user)}
    headers = {"mcp-session-id": session} if session else {}
    return SimpleNamespace(
        protocol_version=version, request=SimpleNamespace(scope=scope, headers=headers)
    )


def test_a_session_over_http_is_found_by_its_id() -> None:
    sessions = Sessions(_make)
    one = sessions.find(_context("2025-11-25", session="one"))
    assert sessions.find(_context("2025-06-18", session="one")) is one
    assert sessions.find(_context("2025-11-25", session="two")) is not one


def test_an_id_that_a_client_without_sessions_sends_counts_for_nothing() -> None:
    sessions = Sessions(_make)
    victim = sessions.find(_context("2025-11-25", session="one"))
    other = sessions.find(_context("2026-07-28", user="b", session="one"))
    assert other is not victim
    assert sessions.find(_context("2026-07-28", user="b")) is other
    assert sessions.find(_context("2026-07-28", user="c")) is not other


def test_a_key_and_a_session_never_have_the_same_name() -> None:
    sessions = Sessions(_make)
    of_key = sessions.find(_context("2026-07-28", user="x"))
    assert sessions.find(_context("2025-11-25", session="x")) is not of_key
    assert sessions.find(_context("2025-11-25", session="key x")) is not of_key


def test_a_client_over_stdio_has_the_process() -> None:
    sessions = Sessions(_make)
    old = SimpleNamespace(protocol_version="2025-11-25", request=None)
    new = SimpleNamespace(protocol_version="2026-07-28", request=None)
    assert sessions.find(old) is sessions.find(new)


def test_the_least_recently_used_session_is_forgotten_first() -> None:
    sessions = Sessions(_make, most=2)
    one, two, three = (_context("2025-11-25", session=name) for name in ("one", "two", "three"))
    first, second = sessions.find(one), sessions.find(two)
    assert sessions.find(one) is first
    sessions.find(three)
    assert len(sessions) == 2
    assert sessions.find(one) is first
    assert sessions.find(two) is not second


def test_an_ended_session_is_forgotten() -> None:
    sessions = Sessions(_make)
    first = sessions.find(_context("2025-11-25", session="one"))
    sessions.end("one")
    sessions.end("unknown")
    assert len(sessions) == 0
    assert sessions.find(_context("2025-11-25", session="one")) is not first
