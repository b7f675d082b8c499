"""JSON schemas in few words: how tools and forms of answers are written for the model to read.

    get_weather(location: string, unit?: "c"|"f")

A type is written as in TypeScript: `string`, `integer[]`, `{a: number, b?: string}`, `"x"|"y"`.
Definitions that are referred to are written out once, behind the signature. It is a reading aid:
what the answer has to satisfy is the schema itself.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from llava_tools.chat import image_handles
from llava_tools.core import json_schema
from llava_tools.core.constraints import Schema, ToolSpec

_BOUNDS = (("minimum", "at least"), ("maximum", "at most"))


def of_tool(tool: ToolSpec) -> str:
    """Return a tool's lines: signature and description, then one line an argument that has any."""
    writer = _Writer(tool.parameters)
    told = f": {_line(tool.description)}" if tool.description.strip() else ""
    lines = [f"{tool.name}({writer.fields(tool.parameters)}){told}"]
    return "\n".join([*lines, *writer.notes(tool.parameters), *writer.definitions()])


def of_schema(schema: Schema) -> str:
    """Return the form of an answer, with the notes on its fields below it."""
    writer = _Writer(schema)
    lines = [writer.type(schema)]
    return "\n".join([*lines, *writer.notes(schema), *writer.definitions()])


class _Writer:
    """Writes types of one schema and remembers which definitions they refer to."""

    def __init__(self, root: Schema) -> None:
        self._root = root
        self._referred: dict[str, Schema] = {}

    def fields(self, schema: Schema) -> str:
        properties = _mapping(schema.get("properties"))
        required = schema.get("required") or ()
        parts = []
        for name, field in properties.items():
            optional = "" if name in required else "?"
            default = ""
            if isinstance(field, Mapping) and field.get("default") is not None:
                default = f" = {_json(field['default'])}"
            parts.append(f"{name}{optional}: {self.type(field)}{default}")
        return ", ".join(parts)

    def notes(self, schema: Schema) -> list[str]:
        """Return a line for every field that has a description."""
        properties = _mapping(json_schema.followed(schema, self._root).get("properties"))
        return [
            f"  {name}: {_line(field['description'])}"
            for name, field in properties.items()
            if isinstance(field, Mapping) and str(field.get("description") or "").strip()
        ]

    def definitions(self) -> list[str]:
        """Return a line for every definition that was referred to, those met on the way too."""
        lines: list[str] = []
        while len(lines) < len(self._referred):
            name, schema = list(self._referred.items())[len(lines)]
            lines.append(f"  {name} = {self.type(schema)}")
        return lines

    def type(self, schema: object) -> str:
        if not isinstance(schema, Mapping):
            return "any"
        if "const" in schema:
            return _json(schema["const"])
        if isinstance(schema.get("enum"), list):
            return "|".join(_json(value) for value in schema["enum"])
        if isinstance(schema.get("$ref"), str):
            return self._reference(schema["$ref"])
        for union in ("anyOf", "oneOf"):
            if isinstance(schema.get(union), list):
                return "|".join(dict.fromkeys(self.type(part) for part in schema[union]))
        if isinstance(schema.get("allOf"), list):
            return "&".join(self.type(part) for part in schema["allOf"])
        kind = schema.get("type")
        if isinstance(kind, list):
            return "|".join(self.type({**schema, "type": one}) for one in kind)
        if kind == "array" or (kind is None and "items" in schema):
            inner = self.type(schema.get("items"))
            return f"({inner})[]" if "|" in inner else f"{inner}[]"
        if kind == "object" or (kind is None and "properties" in schema):
            return self._object(schema)
        return self._scalar(schema) if isinstance(kind, str) else "any"

    def _object(self, schema: Schema) -> str:
        if not _mapping(schema.get("properties")) and schema.get("additionalProperties", True):
            return f"{{...: {self.type(schema.get('additionalProperties'))}}}"
        return f"{{{self.fields(schema)}}}"

    def _scalar(self, schema: Schema) -> str:
        if schema.get("pattern") == image_handles.PATTERN:
            return "picture"
        rules = [str(schema[key]) for key in ("format", "pattern") if key in schema]
        rules += [f"{word} {schema[key]}" for key, word in _BOUNDS if key in schema]
        return f"{schema['type']} ({', '.join(rules)})" if rules else str(schema["type"])

    def _reference(self, pointer: str) -> str:
        name = pointer.rsplit("/", 1)[-1]
        if name in ("", "#"):
            return "the whole"
        self._referred.setdefault(name, json_schema.followed({"$ref": pointer}, self._root))
        return name


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _line(text: object) -> str:
    return " ".join(str(text).split())
