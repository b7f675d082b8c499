"""The attacks that `python -m tests.hardening` and the tests run."""

from __future__ import annotations

from tests.hardening import (
    conversations,
    documents,
    engine_faults,
    forgery,
    images,
    index_kills,
    indexes,
    interrupts,
    isolation,
    paths,
    schemas,
    servers,
    swaps,
    terminals,
    urls,
)

ATTACKS = (
    images.ATTACK,
    servers.ATTACK,
    terminals.ATTACK,
    interrupts.ATTACK,
    urls.ATTACK,
    paths.ATTACK,
    swaps.ATTACK,
    indexes.ATTACK,
    index_kills.ATTACK,
    documents.ATTACK,
    engine_faults.ATTACK,
    isolation.ATTACK,
    forgery.ATTACK,
    conversations.ATTACK,
    schemas.ATTACK,
)
