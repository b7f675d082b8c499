"""A tool in every form that LangChain accepts, and calls of it."""

from __future__ import annotations

from typing import Annotated, Any, TypedDict

from pydantic import BaseModel, Field
from pydantic.v1 import BaseModel as BaseModelV1

from llava_tools.chat.tool_calls import write_call
from llava_tools.core.constraints import ToolCall


class Look(BaseModel):
    """Look at a place."""

    place: str = Field(description="Where to look")
    times: int = 1


class LookV1(BaseModelV1):
    """Look at a place."""

    place: str


class LookDict(TypedDict):
    """Look at a place."""

    place: Annotated[str, ..., "Where to look"]


PLACE = {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]}
OPENAI = {"type": "function", "function": {"name": "look", "parameters": PLACE}}
ANTHROPIC = {"name": "look", "input_schema": PLACE}


def call(name: str = "look", **arguments: Any) -> str:
    return write_call(ToolCall("", name, arguments))
