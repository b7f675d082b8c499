"""JSON schemas of classes: decimals, recursion, fields without a schema."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from decimal import Decimal

import pytest
from llguidance import LLMatcher
from pydantic import BaseModel, Field
from pydantic import v1 as pydantic_v1
from typing_extensions import TypedDict

from llava_tools.core import class_schema, json_schema
from llava_tools.core.constraints import Constraint
from llava_tools.errors import OutputError, SchemaError
from llava_tools.structured.grammar import schema_for_guidance
from tests.structured.test_patterns import BYTES


class Prices(BaseModel):
    plain: Decimal
    cents: Decimal = Field(max_digits=5, decimal_places=2, ge=0)
    places: Decimal | None = Field(None, decimal_places=3)
    digits: Decimal = Field(Decimal(1), max_digits=4, decimal_places=0)
    bounded: Decimal = Field(Decimal(1), gt=Decimal("0.5"), lt=10)


class Tree(TypedDict):
    """A tree."""

    name: str
    sons: list[Tree]


class HoldsFunction(BaseModel):
    run: Callable[[int], int]


class HoldsClass(BaseModel):
    run: type


class Other(BaseModel):
    """Nothing special."""

    a: int = 3
    b: list[str] = []
    me: Other | None = None


class First(pydantic_v1.BaseModel):
    a: int


def test_decimals_are_numbers() -> None:
    fields = class_schema.of_class(Prices)["properties"]
    assert fields["plain"] == {"title": "Plain", "type": "number"}
    cents = {"type": "number", "minimum": 0.0, "maximum": 999.99, "multipleOf": 0.01}
    assert fields["cents"] == {"title": "Cents", **cents}
    assert {"type": "number", "multipleOf": 0.001} in fields["places"]["anyOf"]
    assert (fields["digits"]["multipleOf"], fields["digits"]["maximum"]) == (1, 9999)
    assert fields["bounded"]["exclusiveMinimum"] == 0.5
    assert "string" not in json.dumps(fields)


def test_generated_decimals_are_read_by_the_class() -> None:
    schema = class_schema.of_class(Prices)
    json_schema.check_constraint(Constraint(schema=schema))
    grammar = LLMatcher.grammar_from_json_schema(json.dumps(schema_for_guidance(schema)))
    start = LLMatcher(BYTES, grammar, log_level=0)
    assert not start.is_error(), start.get_error()
    chooser, answers = random.Random(1), 0
    for _ in range(60):
        matcher, text = start.deep_copy(), bytearray()
        while len(text) < 400 and not matcher.is_stopped():
            bits = matcher.compute_bitmask()
            allowed = [n for n in range(256) if bits[n // 8] >> n % 8 & 1]
            ends = [n for n in allowed if n in b",}"]
            text.append(chooser.choice(ends if ends and chooser.random() < 0.6 else allowed))
            matcher.consume_token(text[-1])
        if matcher.is_accepting():
            answers += 1
            json_schema.validate(json.loads(text), schema, "The answer")
            Prices.model_validate_json(text.decode())
            Prices.model_validate(json.loads(text))
    assert answers > 20


@pytest.mark.parametrize(
    "pattern",
    [
        r"^(?!^[-+.]*$)[+-]?0*\d*\.?\d*$",
        r"^(?!^[-+.]*$)[+-]?0*(?:\d{0,3}|(?=[\d.]{1,6}0*$)\d{0,3}\.\d{0,2}0*$)",
    ],
)
def test_decimals_of_pydantic_2_12_are_enforced_without_the_pattern(pattern: str) -> None:
    """A schema that comes as a dict has the patterns of the pydantic that wrote it."""
    number = {"anyOf": [{"type": "number"}, {"type": "string", "pattern": pattern}]}
    with pytest.raises(SchemaError, match="strict=False"):
        json_schema.check_constraint(Constraint(schema=number))
    json_schema.check_constraint(Constraint(schema=number, strict=False))
    prepared = schema_for_guidance(number, strict=False)
    assert prepared["anyOf"][1] == {"type": "string"}
    grammar = LLMatcher.grammar_from_json_schema(json.dumps(prepared))
    matcher = LLMatcher(BYTES, grammar, log_level=0)
    assert not matcher.is_error(), matcher.get_error()
    for value in (12.5, "12.5", "+0"):
        json_schema.validate(value, number, "The answer")
    with pytest.raises(OutputError, match="not of its schema"):
        json_schema.validate("-", number, "The answer")


def test_recursive_typed_dict_keeps_its_references() -> None:
    schema = class_schema.of_class(Tree)
    assert schema["$ref"] == "#/$defs/Tree"
    json_schema.check_constraint(Constraint(schema=schema))
    json_schema.validate({"name": "a", "sons": [{"name": "b", "sons": []}]}, schema, "The answer")


def test_other_classes_have_the_schema_of_pydantic() -> None:
    assert class_schema.of_class(Other) == Other.model_json_schema()
    assert class_schema.of_class(First) == First.schema()


@pytest.mark.parametrize("cls", [HoldsFunction, HoldsClass])
def test_class_without_a_schema_raises(cls: type) -> None:
    with pytest.raises(SchemaError, match=f"{cls.__name__} has no JSON schema"):
        class_schema.of_class(cls)
