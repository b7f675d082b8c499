"""Collecting answers in an event loop."""

from __future__ import annotations

from llava_tools.core.backend import Backend
from llava_tools.core.requests import Message, Request
from llava_tools.core.streaming import aanswer
from llava_tools.errors import EngineClosedError
from llava_tools.testing import ScriptedBackend


async def test_model_may_be_closed_before_its_answer_is_collected() -> None:
    backends: list[Backend] = [ScriptedBackend(["one two"])]

    def load() -> Backend:
        if not backends:
            raise EngineClosedError("closed")
        return backends.pop()

    answer = await aanswer(load, Request((Message("user", ("x",)),)))
    assert (answer.text, answer.model) == ("one two", "scripted")
