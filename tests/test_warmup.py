"""Warming up: what is asked, what is told, and that failures are not hidden."""

from __future__ import annotations

import pytest

from llava_tools import Llava
from llava_tools.errors import EngineClosedError
from llava_tools.testing import ScriptedBackend
from llava_tools.warmup import MANY


def test_every_kind_of_question_is_asked_about_one_image() -> None:
    backend = ScriptedBackend()
    Llava(backend=backend).warm_up()
    assert len(backend.requests) == 2 + MANY
    asked = [request.messages[0] for request in backend.requests]
    assert all(len(message.images) == 1 for message in asked)
    assert len({message.images[0].handle for message in asked}) == 1
    assert len({message.text for message in asked}) == 2 + MANY
    assert backend.closed_early == 0


def test_progress_grows_and_ends_ready() -> None:
    told: list[tuple[str, float]] = []
    Llava(backend=ScriptedBackend()).warm_up(lambda doing, share: told.append((doing, share)))
    shares = [share for _, share in told]
    assert told[0] == ("loading the model", 0.0)
    assert told[-1] == ("ready", 1.0)
    assert shares == sorted(set(shares))


def test_what_fails_is_told() -> None:
    backend = ScriptedBackend()
    backend.close()
    told: list[str] = []
    with pytest.raises(EngineClosedError):
        Llava(backend=backend).warm_up(lambda doing, share: told.append(doing))
    assert "ready" not in told
