"""Functions of visual tools, with the signatures that frameworks make schemas of.

LlamaIndex's tools carry their schema, but MCP servers and others read `inspect.signature` and
annotations. The functions take keywords only, and check them themselves.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import Field
from pydantic.fields import FieldInfo

from llava_tools.tools import VisualTool

#: Keys of a JSON schema that come from the parameter itself.
_FIELD_KEYS = ("title", "description", "default")


def add_signature(
    function: Callable[..., Any], tool: VisualTool[Any, Any], returns: Any
) -> Callable[..., Any]:
    """Give a function a tool's name, description and parameters, and return it."""
    schemas = tool.arguments.model_json_schema()["properties"]
    parameters = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=_default(field),
            annotation=_annotation(field, schemas[name]),
        )
        for name, field in tool.arguments.model_fields.items()
    ]
    annotations = {parameter.name: parameter.annotation for parameter in parameters}
    function.__name__ = function.__qualname__ = tool.name
    function.__doc__ = tool.description
    function.__annotations__ = {**annotations, "return": returns}
    signature = inspect.Signature(parameters, return_annotation=returns)
    function.__signature__ = signature  # type: ignore[attr-defined]
    return function


def _default(field: FieldInfo) -> Any:
    if field.is_required():
        return inspect.Parameter.empty
    return field.get_default(call_default_factory=True)


def _annotation(field: FieldInfo, schema: dict[str, Any]) -> Any:
    """Return a field's type with its description and its JSON schema.

    LlamaIndex reads nothing else of an annotation: bounds would be lost.
    """
    kept = {key: value for key, value in schema.items() if key not in _FIELD_KEYS}
    return Annotated[field.annotation, Field(description=field.description, json_schema_extra=kept)]
