"""What several tests of the chat model share: scripted answers, waiting, adding chunks up."""

from __future__ import annotations

import asyncio
from typing import Any

from langchain_core.messages import (
    AIMessageChunk,
)

from llava_tools.core.requests import Request
from llava_tools.testing import ScriptedBackend

WORDS = ScriptedBackend(["one two three"])


class Named(ScriptedBackend):
    """A model of a name, which says hello."""

    def __init__(self, name: str) -> None:
        super().__init__(["hello"])
        self.model_name = name


def echo(request: Request) -> str:
    return "you said " + request.messages[-1].text


async def until(happened: Any) -> None:
    """Let the loop run until `happened()`."""
    async with asyncio.timeout(10):
        while not happened():
            await asyncio.sleep(0)


def total(chunks: list[AIMessageChunk]) -> AIMessageChunk:
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole = whole + chunk
    return whole
