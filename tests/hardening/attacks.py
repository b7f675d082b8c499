"""The attacks that `python -m tests.hardening` and the tests run."""

from __future__ import annotations

from tests.hardening import images

ATTACKS = (images.ATTACK,)
