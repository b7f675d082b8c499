"""Grammars, prepared schemas, and signatures of schemas as the model reads them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from llava_tools.chat import image_handles, signatures
from llava_tools.core.constraints import Constraint, Schema, ToolSpec
from llava_tools.structured.grammar import schema_for_guidance, write_grammar
from tests.golden import inputs as i
from tests.golden.plain import constraint_as_dict
from tests.golden.prompts import CONSTRAINTS
from tests.golden.schemas import SCHEMAS


def grammar(constraint: Constraint) -> list[str]:
    """Return the lines of a constraint's grammar."""

    def ready(schema: Schema, name: str) -> Mapping[str, Any]:
        return schema_for_guidance(schema, strict=constraint.strict)

    return write_grammar(constraint, ready).split("\n")


def _names_of_schemas(constraint: Constraint) -> list[str]:
    """Return what each schema of a constraint is called in a refusal."""
    names: list[str] = []

    def ready(schema: Schema, name: str) -> Mapping[str, Any]:
        names.append(name)
        return schema

    write_grammar(constraint, ready)
    return names


def _schema(schema: dict[str, Any]) -> dict[str, Any]:
    found = {
        "grammar": grammar(Constraint(schema=schema)),
        "signature": signatures.of_schema(schema).split("\n"),
    }
    if schema.get("type", "object") != "object":
        return found
    tool = ToolSpec("do", "Do\n it.", schema)
    return {
        **found,
        "tool_grammar": grammar(Constraint((tool,), "do")),
        "tool_signature": signatures.of_tool(tool).split("\n"),
    }


def _constraint(constraint: Constraint) -> dict[str, Any]:
    return {"grammar": grammar(constraint), "schemas": _names_of_schemas(constraint)}


def _narrowed(*messages: Any, schema: Any) -> dict[str, Any]:
    constraint = Constraint((ToolSpec("see", "", schema), i.ADD))
    return constraint_as_dict(image_handles.narrow(constraint, messages))


_SEVERAL = i.fields(["images"], images={"type": "array", "items": i.IMAGE_ARGUMENT})
_NOTED = i.fields(image={**i.IMAGE_ARGUMENT, "description": "Which.", "title": "Image"})

CASES: dict[str, Callable[[], Any]] = {
    **{f"schema: {name}": partial(_schema, value) for name, value in SCHEMAS.items()},
    **{
        f"constraint: {name}": partial(_constraint, value)
        for name, value in CONSTRAINTS.items()
        if not value.unconstrained
    },
    "no image to narrow to": partial(_narrowed, i.user("What?"), schema=_SEVERAL),
    "narrowed to images": partial(_narrowed, i.user(i.RED, i.BLUE, "What?"), schema=_SEVERAL),
    "narrowed to handles in text": partial(
        _narrowed, i.user(f"What is {i.GREEN.handle}?"), i.user(i.RED), schema=_NOTED
    ),
}
