"""Short signatures of tools and JSON schemas, for the model to read.

    get_weather(location: string, unit?: "c"|"f")

Types are written as in TypeScript: `string`, `integer[]`, `{a: number, b?: string}`, `"x"|"y"`.
Each referenced definition is written once, after the signature. A signature may leave out details
of the schema; answers are validated against the schema itself. Nothing in a schema can begin a line
of its own: texts become one line, and names with other characters than usual are quoted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from llava_tools.chat import image_handles
from llava_tools.core import references
from llava_tools.core.constraints import Schema, ToolSpec

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_SYNTAX = re.compile(r"""["\\(){}\[\]:;,|&?=<>]""")
_BOUNDS = (("minimum", "at least"), ("maximum", "at most"))


def one_line(text: object) -> str:
    """Return a text with its line breaks and other white space as single spaces."""
    return " ".join(str(text).split())


def of_tool(tool: ToolSpec) -> str:
    """Return a tool's signature and description, then the descriptions of its arguments."""
    writer = _SignatureWriter(tool.parameters)
    description = f": {one_line(tool.description)}" if tool.description.strip() else ""
    return writer.with_notes(f"{tool.name}({writer.fields(tool.parameters)}){description}")


def of_schema(schema: Schema) -> str:
    """Return the type of an answer, then the descriptions of its fields."""
    writer = _SignatureWriter(schema)
    return writer.with_notes(writer.type(schema))


class _SignatureWriter:
    """Writes the types of one schema and collects the definitions that they refer to."""

    def __init__(self, root: Schema) -> None:
        self._root = root
        self._definitions: dict[str, Schema] = {}

    def with_notes(self, signature: str) -> str:
        """Return a signature with a line for each described field and each definition."""
        lines = [signature]
        properties = _mapping(
            references.resolve_reference(self._root, self._root).get("properties")
        )
        for name, field in properties.items():
            if isinstance(field, Mapping) and str(field.get("description") or "").strip():
                lines.append(f"  {_name(name)}: {one_line(field['description'])}")
        written = 0
        while written < len(self._definitions):  # a definition may add others
            name, schema = list(self._definitions.items())[written]
            lines.append(f"  {name} = {self.type(schema)}")
            written += 1
        return "\n".join(lines)

    def fields(self, schema: Schema) -> str:
        properties = _mapping(schema.get("properties"))
        required = schema.get("required") or ()
        parts = []
        for name, field in properties.items():
            optional = "" if name in required else "?"
            default = ""
            if isinstance(field, Mapping) and field.get("default") is not None:
                default = f" = {_json(field['default'])}"
            parts.append(f"{_name(name)}{optional}: {self.type(field)}{default}")
        return ", ".join(parts)

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
        name = schema.get("type")
        if isinstance(name, list):
            return "|".join(self.type({**schema, "type": option}) for option in name)
        if name == "array" or (name is None and "items" in schema):
            item = self.type(schema.get("items"))
            return f"({item})[]" if "|" in item else f"{item}[]"
        if name == "object" or (name is None and "properties" in schema):
            return self._object(schema)
        return self._scalar(schema) if isinstance(name, str) else "any"

    def _object(self, schema: Schema) -> str:
        if not _mapping(schema.get("properties")) and schema.get("additionalProperties", True):
            return f"{{...: {self.type(schema.get('additionalProperties'))}}}"
        return f"{{{self.fields(schema)}}}"

    def _scalar(self, schema: Schema) -> str:
        if schema.get("pattern") == image_handles.PATTERN:
            return "picture"
        rules = [_escaped(str(schema[key])) for key in ("format", "pattern") if key in schema]
        rules += [f"{word} {schema[key]}" for key, word in _BOUNDS if key in schema]
        return f"{schema['type']} ({', '.join(rules)})" if rules else str(schema["type"])

    def _reference(self, pointer: str) -> str:
        name = pointer.rsplit("/", 1)[-1]
        if name in ("", "#"):
            return "the whole"
        definition = references.resolve_reference({"$ref": pointer}, self._root)
        self._definitions.setdefault(_name(name), definition)
        return _name(name)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _json(value: object) -> str:
    return _escaped(json.dumps(value, ensure_ascii=False))


def _name(name: str) -> str:
    """Return the name of a property or definition, quoted if it could be read as more than that."""
    return _json(name) if _SYNTAX.search(name) or _CONTROL.search(name) else name


def _escaped(text: str) -> str:
    """Return a text with its line breaks and control characters escaped."""
    return _CONTROL.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
