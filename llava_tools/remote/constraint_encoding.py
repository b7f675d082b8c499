"""What a server enforces, found out by asking it for what no model would say by itself.

Servers were seen to accept fields for grammars and schemas and to ignore them. Each way is
therefore tried once, when it is first wanted. The best that works is used; where none does, the
answer is only checked, which `best_effort` tells.
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

#: Fields of a request that make its answer what it has to be, beside those of OpenAI's API.
Fields = dict[str, Any]
#: Asks the server something with the given fields; returns its words.
Ask = Callable[[Fields], Awaitable[str]]

_WORD = "zq7x"
_PROBE: Schema = {
    "type": "object",
    "properties": {"probe": {"type": "string", "enum": [_WORD]}},
    "required": ["probe"],
    "additionalProperties": False,
}
# xgrammar reads Lark and `%json` too, but knows no intersections and passes over what it does not
# know of a schema: only what llguidance alone obeys shows that nothing is left unenforced.
_GRAMMAR = "\n".join(
    [
        f"start: LEAD %json {json.dumps(_PROBE)}",
        "LEAD: /(probe|hello) / & ~/hello /",
    ]
)


@dataclass(frozen=True)
class ConstraintEncoding:
    """How a constraint is put to a server.

    Attributes:
        fields: To be sent with the request.
        wrapped: Whether the answer will be the JSON of a call without the tags around it.
        best_effort: Whether the answer may have to be refused when it is checked.
    """

    fields: Fields = field(default_factory=dict)
    wrapped: bool = False
    best_effort: bool = False


class ConstraintEncoder:
    """Chooses how constraints are put to one server.

    Args:
        ask: See `Ask`.
    """

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._found: dict[Callable[[Any], Fields], bool] = {}
        self._lock = asyncio.Lock()

    async def form(self, constraint: Constraint) -> ConstraintEncoding:
        """Return the best way that this server knows.

        Raises:
            EngineError: The server could not be asked.
        """
        if constraint.free:
            return ConstraintEncoding()
        if await self._obeys(by_grammar, _GRAMMAR):
            text = write_grammar(
                constraint, lambda schema, _: schema_for_guidance(schema, strict=constraint.strict)
            )
            return ConstraintEncoding(by_grammar(text), best_effort=not constraint.strict)
        schema = call_schema(constraint) if constraint.forced else constraint.schema
        if schema is None or (constraint.callable and not constraint.forced):
            return ConstraintEncoding(best_effort=True)  # words or calls: no schema says that
        for way in (by_response_format, by_json):
            if await self._obeys(way, _PROBE):
                return ConstraintEncoding(
                    way(prepare_schema(schema)), wrapped=constraint.forced, best_effort=True
                )
        return ConstraintEncoding(best_effort=True)

    async def _obeys(self, way: Callable[[Any], Fields], probe: Any) -> bool:
        async with self._lock:
            if way not in self._found:
                try:
                    said = await self._ask(way(probe))
                except RequestError:  # it says so
                    said = ""
                self._found[way] = _is_probe(said)
            return self._found[way]


def by_grammar(grammar: str) -> Fields:
    """Ask a vLLM whose structured outputs are llguidance's."""
    return {"extra_body": {"structured_outputs": {"grammar": grammar}}}


def by_response_format(schema: Schema) -> Fields:
    """Ask in the way of OpenAI's API."""
    told = {"name": "answer", "schema": schema, "strict": True}
    return {"response_format": {"type": "json_schema", "json_schema": told}}


def by_json(schema: Schema) -> Fields:
    """Ask a vLLM that does not heed `response_format`."""
    return {"extra_body": {"structured_outputs": {"json": schema}}}


def call_schema(constraint: Constraint) -> Schema:
    """Return the schema of one call of a tool, as it stands between the tags.

    Definitions of the arguments' schemas move to the top, where their references look for them.
    """
    calls = []
    definitions: dict[str, Any] = {}
    for number, tool in enumerate(constraint.callable):
        text = json.dumps(tool.parameters, default=dict)
        for key in ("$defs", "definitions"):
            text = text.replace(f'"#/{key}/', f'"#/$defs/{number}.')
        parameters = json.loads(text)
        for key in ("$defs", "definitions"):
            found = parameters.pop(key, {})
            definitions |= {f"{number}.{name}": part for name, part in found.items()}
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


def _is_probe(said: str) -> bool:
    try:
        return bool(json.loads(said.strip().removeprefix("probe ")) == {"probe": _WORD})
    except ValueError:
        return False
