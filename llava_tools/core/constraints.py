"""What an answer has to be: free text, calls of tools, JSON of a schema. Part of a `Request`.

Plain values, checked when they are made. That a schema can be enforced at all is the engine's to
say, before it generates anything.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from llava_tools.errors import RequestError

Schema = Mapping[str, Any]
ToolChoice = Literal["auto", "any", "none"]

#: Characters of JSON that a tool's or an answer's schema may have. The model reads all of it.
LARGEST_SCHEMA = 65_536

_NAME = re.compile(r"[\w.-]{1,128}", re.ASCII)
_NO_ARGUMENTS: Schema = {"type": "object", "properties": {}, "additionalProperties": False}


@dataclass(frozen=True)
class ToolSpec:
    """A tool as the model is told of it.

    Attributes:
        name: Letters, digits, `_`, `.` and `-`; at most 128.
        description: What it does, in a sentence or two.
        parameters: JSON schema of its arguments, of type object.

    Raises:
        RequestError: A name or schema that is not possible.
    """

    name: str
    description: str = ""
    parameters: Schema = field(default_factory=lambda: _NO_ARGUMENTS)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise RequestError(
                f"{self.name!r} is not a name that a tool can have.",
                "Use 1 to 128 letters, digits, '_', '.' or '-'.",
            )
        check_schema(self.parameters, f"the schema of the tool {self.name}")
        if self.parameters.get("type", "object") != "object":
            raise RequestError(
                f"The parameters of the tool {self.name} are of type {self.parameters['type']!r}.",
                "Describe them as an object with one property for each argument.",
            )


@dataclass(frozen=True)
class ToolCall:
    """A call that the model made, or made earlier in the conversation.

    Attributes:
        id: Names the call; the tool's result refers to it.
        name: Name of the tool.
        arguments: By name, as JSON values.
    """

    id: str
    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True)
class Constraint:
    """What an answer may be.

    Attributes:
        tools: Tools that the model may call.
        tool_choice: `auto`: words (or `schema`) or calls. `any`: one or more calls. `none`: no call.
            Or the name of a tool, which is then called once.
        parallel_tool_calls: Whether one answer may hold several calls.
        schema: JSON schema of the answer where it is not calls; None for free text.
        describe: Whether the prompt describes the schema to the model. False where the question
            asks for that form already, in words that the model was trained on.
        strict: Refuse a schema that cannot be enforced in full. False enforces what can be; the
            finished answer is checked, and marked `best_effort`.

    Raises:
        RequestError: Two tools of one name, a choice that names no tool, a bad schema.
    """

    tools: tuple[ToolSpec, ...] = ()
    tool_choice: str = "auto"
    parallel_tool_calls: bool = True
    schema: Schema | None = None
    describe: bool = True
    strict: bool = True

    def __post_init__(self) -> None:
        names = [tool.name for tool in self.tools]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise RequestError(
                f"Two tools are named {twice[0]!r}.", "Give every tool a name of its own."
            )
        if self.tool_choice not in ("auto", "any", "none", *names):
            raise RequestError(
                f"tool_choice={self.tool_choice!r} is neither a choice nor a tool.",
                f"Use 'auto', 'any', 'none' or one of: {', '.join(names) or 'no tool is bound'}.",
            )
        if self.tool_choice not in ("auto", "none") and not self.tools:
            raise RequestError(
                f"tool_choice={self.tool_choice!r}, but there is no tool.", "Bind one, or drop it."
            )
        if self.schema is not None:
            check_schema(self.schema, "the schema of the answer")

    @property
    def callable(self) -> tuple[ToolSpec, ...]:
        """The tools that the next answer may call."""
        if self.tool_choice in ("auto", "any"):
            return self.tools
        return tuple(tool for tool in self.tools if tool.name == self.tool_choice)

    @property
    def forced(self) -> bool:
        """Whether the answer has to be a call."""
        return bool(self.callable) and self.tool_choice != "auto"

    @property
    def free(self) -> bool:
        """Whether any text will do."""
        return not self.callable and self.schema is None


FREE = Constraint()


def check_schema(schema: object, what: str) -> None:
    """Refuse what is no JSON schema, without needing a validator.

    Raises:
        RequestError: Not a mapping, not JSON, or larger than `LARGEST_SCHEMA`.
    """
    if not isinstance(schema, Mapping):
        raise RequestError(
            f"{what[0].upper()}{what[1:]} is a {type(schema).__name__}, not a JSON schema.",
            "Pass a dict such as {'type': 'object', 'properties': {...}}.",
        )
    try:
        size = len(json.dumps(schema, default=dict))
    except (TypeError, ValueError, RecursionError) as error:
        raise RequestError(
            f"{what[0].upper()}{what[1:]} cannot be written as JSON: {error}",
            "Use plain dicts, lists, strings, numbers, booleans and None.",
        ) from None
    if size > LARGEST_SCHEMA:
        raise RequestError(
            f"{what[0].upper()}{what[1:]} has {size:,} characters; {LARGEST_SCHEMA:,} are the "
            "most that are taken.",
            "Describe less: the model reads every character of it.",
        )
