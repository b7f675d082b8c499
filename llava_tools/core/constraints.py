"""Constraints of an answer: free text, tool calls, or JSON of a schema. Part of a `Request`.

The values are checked when they are created. Whether a schema can be enforced is checked by the
backend before it generates anything.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, Literal

from llava_tools.errors import RequestError, SchemaError

Schema = Mapping[str, Any]
ToolChoice = Literal["auto", "any", "none"]

#: Maximum number of characters of a schema's JSON; the model reads all of them.
MAX_SCHEMA_LENGTH = 65_536

#: Modes of `tool_choice` here and in OpenAI's API; no tool may have such a name.
TOOL_CHOICE_MODES = frozenset({"auto", "any", "none", "required"})

#: Maximum nesting of a schema's objects and arrays; a level of properties takes two.
MAX_SCHEMA_DEPTH = 64

_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_NAME = re.compile(r"[\w.-]{1,128}", re.ASCII)
_NO_ARGUMENTS: Schema = {"type": "object", "properties": {}, "additionalProperties": False}


@dataclass(frozen=True)
class ToolSpec:
    """A tool as described to the model.

    Attributes:
        name: Letters, digits, `_`, `.` and `-`; at most 128. Not one of `TOOL_CHOICE_MODES`.
        description: One or two sentences on its purpose.
        parameters: JSON schema of its arguments, of type object.

    Raises:
        RequestError: The name or the schema is invalid.
    """

    name: str
    description: str = ""
    parameters: Schema = field(default_factory=lambda: _NO_ARGUMENTS)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise RequestError(
                f"{self.name!r} is not a valid tool name.",
                "Use 1 to 128 letters, digits, '_', '.' or '-'.",
            )
        if self.name in TOOL_CHOICE_MODES:
            raise RequestError(
                f"No tool may be named {self.name!r}: as a tool_choice that is a mode.",
                "Rename it.",
            )
        check_schema(self.parameters, f"the schema of the tool {self.name}")
        if self.parameters.get("type", "object") != "object":
            raise RequestError(
                f"The parameters of the tool {self.name} are of type {self.parameters['type']!r}.",
                "Describe them as an object with one property for each argument.",
            )


@dataclass(frozen=True)
class ToolCall:
    """A tool call in an answer or in an earlier message.

    Attributes:
        id: Identifies the call; the tool's result refers to it.
        name: Name of the tool.
        arguments: JSON values by argument name.
    """

    id: str
    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True)
class Constraint:
    """The form of an answer.

    Attributes:
        tools: The tools of the conversation.
        tool_choice: `auto`: text (or `schema`) or calls. `any`: one or more calls. `none`: no call.
            Or the name of a tool, which is then called once.
        parallel_tool_calls: Whether one answer may contain several calls.
        schema: JSON schema of an answer without calls; None for free text.
        describe: Whether the prompt describes the schema to the model. False if the question
            already asks for that form in words that the model was trained on.
        strict: Refuse a schema that cannot be enforced in full. False enforces the rest; the
            finished answer is validated, and marked `best_effort`.

    Raises:
        RequestError: Two tools share a name, `tool_choice` names no tool, or a schema is invalid.
    """

    tools: tuple[ToolSpec, ...] = ()
    tool_choice: str = "auto"
    parallel_tool_calls: bool = True
    schema: Schema | None = None
    describe: bool = True
    strict: bool = True

    def __post_init__(self) -> None:
        names = [tool.name for tool in self.tools]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise RequestError(f"Two tools are named {repeated[0]!r}.", "Rename one of them.")
        if self.tool_choice not in ("auto", "any", "none", *names):
            raise RequestError(
                f"tool_choice={self.tool_choice!r} is neither a mode nor a tool.",
                f"Use 'auto', 'any', 'none' or one of: {', '.join(names) or 'no tool is bound'}.",
            )
        if self.tool_choice not in ("auto", "none") and not self.tools:
            raise RequestError(
                f"tool_choice={self.tool_choice!r}, but there is no tool.", "Bind one, or drop it."
            )
        if self.schema is not None:
            check_schema(self.schema, "the schema of the answer")

    @property
    def callable_tools(self) -> tuple[ToolSpec, ...]:
        """The tools that the answer may call."""
        if self.tool_choice in ("auto", "any"):
            return self.tools
        return tuple(tool for tool in self.tools if tool.name == self.tool_choice)

    @property
    def requires_call(self) -> bool:
        """Whether the answer has to be a tool call."""
        return bool(self.callable_tools) and self.tool_choice != "auto"

    @property
    def unconstrained(self) -> bool:
        """Whether any text is a valid answer."""
        return not self.callable_tools and self.schema is None


UNCONSTRAINED = Constraint()


def check_schema(schema: object, name: str) -> None:
    """Check the type and the size of a schema; `json_schema` validates its content.

    Raises:
        RequestError: Not a mapping, not JSON in UTF-8, or longer than `MAX_SCHEMA_LENGTH`.
        SchemaError: Nested more deeply than `MAX_SCHEMA_DEPTH`.
    """
    subject = name[0].upper() + name[1:]
    if not isinstance(schema, Mapping):
        raise RequestError(
            f"{subject} is a {type(schema).__name__}, not a JSON schema.",
            "Pass a dict such as {'type': 'object', 'properties': {...}}.",
        )
    try:
        text = json.dumps(schema, default=dict, ensure_ascii=False, allow_nan=False)
        text.encode()  # fails for lone surrogates
    except (TypeError, ValueError, RecursionError) as error:
        raise RequestError(
            f"{subject} cannot be written as JSON: {error}.",
            "Use plain dicts, lists, strings, numbers, booleans and None.",
        ) from None
    if len(text) > MAX_SCHEMA_LENGTH:
        raise RequestError(
            f"{subject} has {len(text):,} characters; the limit is {MAX_SCHEMA_LENGTH:,}.",
            "Shorten it: the model reads all of it.",
        )
    if _depth(text) > MAX_SCHEMA_DEPTH:
        raise SchemaError(
            f"{subject} is nested more than {MAX_SCHEMA_DEPTH} levels deep.",
            "Move inner parts to '$defs', and refer to them by '$ref'.",
        )


def _depth(text: str) -> int:
    """Return how deeply the arrays and objects of a JSON text are nested."""
    brackets = re.findall(r"[\[{\]}]", _STRING.sub("", text))
    return max(accumulate(1 if bracket in "[{" else -1 for bracket in brackets), default=0)
