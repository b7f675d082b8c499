"""Helpers of the chat model's tests: scripted backends, waiting, the sum of chunks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from langchain_core.messages import AIMessageChunk

from llava_tools.core.requests import Request
from llava_tools.testing import ScriptedBackend

BACKEND = ScriptedBackend(["one two three"])


class NamedBackend(ScriptedBackend):
    """Answers `hello` under a model's name."""

    def __init__(self, name: str) -> None:
        super().__init__(["hello"])
        self.model_name = name


def echo(request: Request) -> str:
    return "you said " + request.messages[-1].text


async def until(condition: Callable[[], object]) -> None:
    """Run the event loop until `condition()` is true."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0)


def total(chunks: list[AIMessageChunk]) -> AIMessageChunk:
    result = chunks[0]
    for chunk in chunks[1:]:
        result += chunk
    return result
