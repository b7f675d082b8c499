"""The attacks that `python -m tests.hardening` and the tests run."""

from __future__ import annotations

from tests.hardening import (
    documents,
    engine_faults,
    images,
    index_kills,
    indexes,
    isolation,
    servers,
    urls,
)

ATTACKS = (
    images.ATTACK,
    servers.ATTACK,
    urls.ATTACK,
    indexes.ATTACK,
    index_kills.ATTACK,
    documents.ATTACK,
    engine_faults.ATTACK,
    isolation.ATTACK,
)
