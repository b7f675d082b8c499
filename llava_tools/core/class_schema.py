"""JSON schemas of Python classes, by pydantic."""

from __future__ import annotations

from typing import Any, cast

from pydantic import TypeAdapter
from pydantic.errors import PydanticUserError
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from llava_tools.errors import SchemaError

#: Most decimal places of which llguidance can enforce multiples.
_MOST_PLACES = 9


class _JsonSchemas(GenerateJsonSchema):
    """pydantic's schemas, with decimals as numbers.

    pydantic also accepts strings for them, by patterns that cannot be enforced (2.12, 2.13) or by
    none at all.
    """

    def decimal_schema(self, schema: core_schema.DecimalSchema) -> JsonSchemaValue:
        options = super().decimal_schema(schema).get("anyOf", ())
        number: JsonSchemaValue = next(
            (option for option in options if option.get("type") == "number"), {"type": "number"}
        )
        places, digits = schema.get("decimal_places"), schema.get("max_digits")
        unit = 10.0 ** -min(places or 0, _MOST_PLACES)
        if places is not None and places <= _MOST_PLACES:
            number.setdefault("multipleOf", unit)
        if digits is not None and digits - (places or 0) < 15:
            limit = round(10.0 ** (digits - (places or 0)) - unit, _MOST_PLACES)
            if not {"minimum", "exclusiveMinimum"} & number.keys():
                number["minimum"] = -limit
            if not {"maximum", "exclusiveMaximum"} & number.keys():
                number["maximum"] = limit
        return number


def of_class(cls: Any) -> dict[str, Any]:
    """Return the JSON schema of a pydantic model, of version 2 or 1, or of a TypedDict.

    Raises:
        SchemaError: It has a field that JSON cannot hold, or that pydantic cannot read.
    """
    try:
        if hasattr(cls, "model_json_schema"):
            return cast(dict[str, Any], cls.model_json_schema(schema_generator=_JsonSchemas))
        if hasattr(cls, "__fields__") and hasattr(cls, "schema"):
            return cast(dict[str, Any], cls.schema())
        return TypeAdapter(cls).json_schema(schema_generator=_JsonSchemas)
    except (PydanticUserError, RecursionError) as error:
        reason = error.message if isinstance(error, PydanticUserError) else str(error)
        raise SchemaError(
            f"{getattr(cls, '__name__', cls)} has no JSON schema: {reason.rstrip('.')}.",
            "Give every field a type that JSON can hold.",
        ) from error
