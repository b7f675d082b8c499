"""Constraints as request fields, in the best form that the server enforces.

Some servers accept fields for grammars and schemas but ignore them. Each form is therefore probed
once, at its first use, with a request whose answer no model would give without the constraint. If
no form is enforced, the answer is only checked and marked `best_effort`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from llava_tools.core.constraints import Constraint, Schema
from llava_tools.errors import RequestError
from llava_tools.structured.grammar import prepare_schema, schema_for_guidance, write_grammar

#: Fields of a request.
Fields = dict[str, Any]
#: Sends a short request with these fields and returns the answer's text.
Probe = Callable[[Fields], Awaitable[str]]

_PROBE_WORD = "zq7x"
_PROBE_SCHEMA: Schema = {
    "type": "object",
    "properties": {"probe": {"type": "string", "enum": [_PROBE_WORD]}},
    "required": ["probe"],
    "additionalProperties": False,
}
# xgrammar reads Lark and `%json` too, but has no intersections and ignores schema keywords that it
# does not support. Only llguidance accepts this grammar, and it enforces schemas in full.
_PROBE_GRAMMAR = f"""start: LEAD %json {json.dumps(_PROBE_SCHEMA)}
LEAD: /(probe|hello) / & ~/hello /"""


@dataclass(frozen=True)
class ConstraintEncoding:
    """A constraint as fields to send with a request.

    If `untagged_call`, the answer is the JSON of a tool call without the tags around it. If
    `best_effort`, the answer may violate the constraint.
    """

    fields: Fields = field(default_factory=dict)
    untagged_call: bool = False
    best_effort: bool = False


class ConstraintEncoder:
    """Encodes constraints for one server."""

    def __init__(self, probe: Probe) -> None:
        self._probe = probe
        self._enforced: dict[Callable[[Any], Fields], bool] = {}
        self._lock = asyncio.Lock()

    async def encode(self, constraint: Constraint) -> ConstraintEncoding:
        """Return the best encoding that the server enforces; not for an empty constraint.

        Raises:
            EngineError: The probe failed.
        """
        if await self._is_enforced(grammar_fields, _PROBE_GRAMMAR):
            text = write_grammar(
                constraint, lambda schema, _: schema_for_guidance(schema, strict=constraint.strict)
            )
            return ConstraintEncoding(grammar_fields(text), best_effort=not constraint.strict)
        schema = call_schema(constraint) if constraint.requires_call else constraint.schema
        if schema is None or (constraint.callable_tools and not constraint.requires_call):
            return ConstraintEncoding(best_effort=True)  # no schema can express text or calls
        for to_fields in (response_format_fields, json_fields):
            if await self._is_enforced(to_fields, _PROBE_SCHEMA):
                fields = to_fields(prepare_schema(schema, strict=constraint.strict))
                return ConstraintEncoding(fields, constraint.requires_call, best_effort=True)
        return ConstraintEncoding(best_effort=True)

    async def _is_enforced(self, to_fields: Callable[[Any], Fields], probe: Any) -> bool:
        async with self._lock:
            if to_fields not in self._enforced:
                try:
                    text = (await self._probe(to_fields(probe))).strip().removeprefix("probe ")
                    enforced = bool(json.loads(text) == {"probe": _PROBE_WORD})
                except (RequestError, ValueError):  # the server rejects the field, or ignores it
                    enforced = False
                self._enforced[to_fields] = enforced
            return self._enforced[to_fields]


def grammar_fields(grammar: str) -> Fields:
    """Return the fields of a Lark grammar, for a vLLM with llguidance."""
    return {"structured_outputs": {"grammar": grammar}}


def response_format_fields(schema: Schema) -> Fields:
    """Return the fields of a schema as in OpenAI's API."""
    json_schema = {"name": "answer", "schema": schema, "strict": True}
    return {"response_format": {"type": "json_schema", "json_schema": json_schema}}


def json_fields(schema: Schema) -> Fields:
    """Return the fields of a schema for a vLLM that ignores `response_format`."""
    return {"structured_outputs": {"json": schema}}


def call_schema(constraint: Constraint) -> Schema:
    """Return the schema of one tool call, without its tags.

    Definitions inside the arguments' schemas move to the root, and references are renamed to match.
    """
    calls = []
    definitions: dict[str, Any] = {}
    for number, tool in enumerate(constraint.callable_tools):
        text = json.dumps(tool.parameters, default=dict)
        for key in ("$defs", "definitions"):
            text = text.replace(f'"#/{key}/', f'"#/$defs/{number}.')
        parameters = json.loads(text)
        for key in ("$defs", "definitions"):
            for name, definition in parameters.pop(key, {}).items():
                definitions[f"{number}.{name}"] = definition
        calls.append(
            {
                "type": "object",
                "properties": {
                    "name": {"type": "string", "enum": [tool.name]},
                    "arguments": parameters,
                },
                "required": ["name", "arguments"],
                "additionalProperties": False,
            }
        )
    schema = calls[0] if len(calls) == 1 else {"anyOf": calls}
    return {**schema, "$defs": definitions} if definitions else schema
