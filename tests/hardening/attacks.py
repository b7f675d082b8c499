"""The attacks that `python -m tests.hardening` and the tests run."""

from __future__ import annotations

from tests.hardening import images, servers, urls

ATTACKS = (
    images.ATTACK,
    servers.ATTACK,
    urls.ATTACK,
)
