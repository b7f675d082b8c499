"""Validation of schemas and values; disjoint branches."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from llava_tools.chat import signatures
from llava_tools.core import json_schema, schema_cost, validators
from llava_tools.core.constraints import Constraint, ToolSpec
from llava_tools.errors import OutputError, RequestError, SchemaError
from llava_tools.structured.grammar import schema_for_guidance

NODE: dict[str, Any] = {
    "type": "object",
    "properties": {"next": {"$ref": "#/$defs/Node"}},
    "required": ["next"],
}


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"type": "strin"}, "not a valid JSON schema: 'strin'"),
        ({"properties": {"a": {"minimum": "low"}}}, r"\$.properties.a.minimum"),
        ({"$ref": "#"}, "without end"),
        ({**NODE, "$defs": {"Node": NODE}}, "without end"),
        ({"anyOf": [{"$ref": "#"}, {"allOf": [{"$ref": "#"}]}]}, "without end"),
        ({"type": "array", "minItems": 1, "items": {"$ref": "#"}}, "without end"),
    ],
)
def test_invalid_and_endless_schemas_raise(schema: dict[str, Any], message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        json_schema.check_constraint(Constraint(schema=schema))
    if "type" in schema and schema["type"] == "object":
        with pytest.raises(SchemaError, match="the tool f"):
            json_schema.check_constraint(Constraint((ToolSpec("f", "", schema),)))


@pytest.mark.parametrize(
    "schema",
    [
        {**NODE, "$defs": {"Node": {"anyOf": [NODE, {"type": "null"}]}}},
        {**NODE, "$defs": {"Node": {**NODE, "required": []}}},
        {"type": "array", "items": {"$ref": "#"}},
        {"$ref": "#/$defs/A", "$defs": {"A": {"$ref": "#/$defs/B"}, "B": {"const": 1}}},
        {"type": "object", "properties": {"$ref": {"type": "string"}}, "required": ["$ref"]},
    ],
)
def test_recursive_schema_with_finite_values_is_valid(schema: dict[str, Any]) -> None:
    json_schema.check_constraint(Constraint(schema=schema))


def test_unresolved_reference_raises() -> None:
    for pointer in ("#/$defs/Lost", "http://127.0.0.1:9/schema.json"):
        with pytest.raises(SchemaError, match="which it does not contain"):
            json_schema.validate({}, {"$ref": pointer}, "The answer")


def test_validation_checks_formats() -> None:
    schema = {"properties": {"day": {"format": "date"}}}
    json_schema.validate({"day": "2026-02-28"}, schema, "The answer")
    with pytest.raises(OutputError, match=r"\$.day: '2026-02-31' is not a 'date'"):
        json_schema.validate({"day": "2026-02-31"}, schema, "The answer")


@pytest.mark.parametrize(
    ("branches", "disjoint"),
    [
        ([{"type": "string"}, {"type": "integer"}], True),
        ([{"type": "number"}, {"type": "integer"}], False),
        ([{"type": "string"}, {"type": "string"}], False),
        ([{"$ref": "#/$defs/cat"}, {"$ref": "#/$defs/dog"}], True),
        ([{"$ref": "#/$defs/cat"}, {"$ref": "#/$defs/cat"}], False),
        ([{"$ref": "#/$defs/cat"}, {"type": "object"}], False),
        ([{"$ref": "#/$defs/lost"}, {"$ref": "#/$defs/cat"}], False),
    ],
)
def test_disjoint_branches(branches: list[Any], disjoint: bool) -> None:
    tagged = {
        name: {"type": "object", "properties": {"kind": {"const": name}}, "required": ["kind"]}
        for name in ("cat", "dog")
    }
    schema = {"oneOf": branches, "$defs": tagged}
    assert json_schema.has_disjoint_branches(schema, schema) is disjoint


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"pattern": "(?=a)b"}, "cannot be enforced: the look-around .* set strict=False"),
        ({"pattern": r"(a)\1"}, "not supported: backreferences"),
        ({"properties": {"a": {"pattern": r"\bx"}}}, "the word boundary"),
        ({"patternProperties": {"a++": {}}}, "possessive"),
        ({"propertyNames": {"pattern": "("}}, "unclosed"),
        ({"patternProperties": {"a": {}}, "unevaluatedProperties": False}, "unevaluated"),
        ({"const": 2**70}, "needs the number 1180591620717411303424"),
        ({"enum": [1, {"a": [-(2**60)]}]}, "needs the number -1152921504606846976"),
        ({"const": 1.5e300}, "needs the number 1.5e"),
        ({"type": "integer", "minimum": 2**63}, "needs the number 9223372036854775808"),
        ({"type": "integer", "exclusiveMaximum": -(2**63)}, "needs the number -92233720"),
        ({"$schema": []}, "names its dialect by"),
        ({"$schema": "http://["}, "names its dialect by"),
        ({"properties": {"a": {"$schema": "http://json-schema.org/draft-07/schema"}}}, "within"),
        ({"items": {"$schema": "x", "type": []}}, "not a valid JSON schema"),
    ],
)
def test_schemas_that_no_answer_can_satisfy_raise_beforehand(
    schema: dict[str, Any], message: str
) -> None:
    with pytest.raises(SchemaError, match=message):
        json_schema.check_constraint(Constraint(schema=schema))


@pytest.mark.parametrize("pattern", ["(?=a)b", r"\bx", "^(?!^[-+.]*$)[+-]?0*"])
def test_without_strict_a_pattern_needs_to_be_checkable_only(pattern: str) -> None:
    schema = {"type": "string", "pattern": pattern}
    json_schema.check_constraint(Constraint(schema=schema, strict=False))
    with pytest.raises(SchemaError, match="not supported: backreferences"):
        json_schema.check_constraint(Constraint(schema={"pattern": r"(a)\1"}, strict=False))


@pytest.mark.parametrize(
    "schema",
    [
        {"const": 2**53 - 1},
        {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1},
        {"type": "number", "maximum": 1e308},
        {"properties": {"pattern": {"type": "string"}, "$schema": {"pattern": "^a$"}}},
        {"enum": [{"pattern": "("}, {"$schema": "x"}]},
        {"$schema": "http://json-schema.org/draft-07/schema#", "items": [{"pattern": "a"}]},
        {"$schema": "http://json-schema.org/draft-04/schema#", "exclusiveMinimum": True}
        | {"minimum": 3},
        {"$schema": "https://example.org/own"},
    ],
)
@pytest.mark.filterwarnings("ignore:The metaschema:DeprecationWarning")
def test_what_only_looks_like_a_fault_is_valid(schema: dict[str, Any]) -> None:
    json_schema.check_constraint(Constraint(schema=schema))


@pytest.mark.parametrize(
    ("schema", "value", "valid"),
    [
        ({"pattern": r"^\p{L}+$"}, "é", True),
        ({"pattern": r"^\d$"}, "٣", False),
        ({"$schema": "http://json-schema.org/draft-07/schema#", "pattern": r"^\p{L}$"}, "é", True),
        ({"pattern": r"^\p{L}$"}, 3, True),
        ({"patternProperties": {r"^\p{L}$": {"type": "integer"}}}, {"é": 1, "12": "x"}, True),
        ({"patternProperties": {r"^\p{L}$": {"type": "integer"}}}, {"é": "x"}, False),
        (
            {"patternProperties": {r"^\p{L}$": {}}, "additionalProperties": False},
            {"é": "x"},
            True,
        ),
        (
            {"patternProperties": {r"^\p{L}$": {}}, "additionalProperties": {"type": "null"}},
            {"é": "x", "12": "x"},
            False,
        ),
        ({"properties": {"a": {}}, "additionalProperties": False}, {"a": 1, "b": 1}, False),
        ({"multipleOf": 0.01}, 0.07, True),
        ({"multipleOf": 0.01}, 0.075, False),
        ({"multipleOf": 0.1}, 123456789012345.7, True),
        ({"multipleOf": 0.1}, float("inf"), False),
        ({"multipleOf": 3}, 10**30, False),
        ({"multipleOf": 0.5}, 10**30, True),
        ({"multipleOf": 2}, True, True),
        ({"pattern": "^(?!^[-+.]*$)[+-]?[0-9.]+$"}, "-", False),
        ({"pattern": "^(?!^[-+.]*$)[+-]?[0-9.]+$"}, "-1.5", True),
    ],
)
def test_values_are_checked_as_they_are_generated(
    schema: dict[str, Any], value: Any, valid: bool
) -> None:
    if valid:
        json_schema.validate(value, schema, "The answer")
    else:
        with pytest.raises(OutputError):
            json_schema.validate(value, schema, "The answer")


def test_deep_answers_and_long_chains_of_references_raise() -> None:
    tree = {"type": "array", "items": {"$ref": "#"}}
    value: Any = []
    for _ in range(900):
        value = [value]
    with pytest.raises(OutputError, match="too deeply"):
        json_schema.validate(value, tree, "The answer")
    chain: dict[str, Any] = {
        f"n{i}": {"allOf": [{"$ref": f"#/$defs/n{i + 1}"}]} for i in range(999)
    }
    with pytest.raises(SchemaError, match="too many times"):
        json_schema.check_constraint(
            Constraint(schema={"$ref": "#/$defs/n0", "$defs": {**chain, "n999": {}}})
        )


_KEYWORDS = [*Draft202012Validator.VALIDATORS, "$schema", "$id", "$defs", "$anchor", "default"]
_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 2**70)
    | st.floats(allow_nan=False)
    | st.sampled_from(["object", "string", "a", "#", "#/$defs/a", "(", "x\ny", "http://["]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*_KEYWORDS, "a", "b\nc"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@pytest.mark.filterwarnings("ignore:The metaschema:DeprecationWarning")
@given(st.dictionaries(st.sampled_from(_KEYWORDS), _json, max_size=5), _json)
def test_any_schema_is_valid_or_an_error_of_this_package(
    schema: dict[str, Any], value: Any
) -> None:
    for strict in (True, False):
        try:
            constraint = Constraint(schema=schema, strict=strict)
            json_schema.check_constraint(constraint)
            signatures.of_schema(schema)
            schema_for_guidance(schema, strict=strict)
            json_schema.validate(value, schema, "The answer")
        except (RequestError, OutputError):
            pass


def _doubling(keyword: str, last: dict[str, Any], steps: int = 60) -> dict[str, Any]:
    """Return a schema whose definitions refer to the next one twice each."""
    definitions = {
        f"a{n}": {keyword: [{"$ref": f"#/$defs/a{n + 1}"}, {"$ref": f"#/$defs/a{n + 1}"}]}
        for n in range(steps)
    }
    return {"$ref": "#/$defs/a0", "$defs": {**definitions, f"a{steps}": last}}


@pytest.mark.parametrize("keyword", ["allOf", "anyOf"])
def test_endless_schemas_are_found_however_often_they_refer_to_each_other(keyword: str) -> None:
    schema = _doubling(keyword, {"$ref": "#/$defs/a60"})
    with pytest.raises(SchemaError, match="without end"):
        json_schema.check_constraint(Constraint(schema=schema))
    json_schema.check_constraint(Constraint(schema=_doubling(keyword, {"type": "null"})))


def test_a_circle_through_one_branch_is_finite_through_another() -> None:
    whole = {"type": "array", "items": {"$ref": "#"}, "minItems": 1}
    schema = {"anyOf": [whole, {"oneOf": [whole, True]}]}
    json_schema.check_constraint(Constraint(schema=schema))


_DRAFT_7 = {"$schema": "http://json-schema.org/draft-07/schema#"}
_DRAFT_2019 = {"$schema": "https://json-schema.org/draft/2019-09/schema"}


@pytest.mark.parametrize(
    "schema",
    [
        {"anyOf": [{"$ref": "#"}, {"oneOf": [{"$ref": "#"}, True]}]},
        {"oneOf": [{"$ref": "#"}, {"const": -1}]},
        {"not": {"$ref": "#"}},
        {"if": {"$ref": "#"}},
        {"if": True, "then": {"$ref": "#"}},
        {"if": True, "else": {"allOf": [{"$ref": "#"}]}},
        {"dependentSchemas": {"a": {"$ref": "#"}}},
        {**_DRAFT_7, "dependencies": {"a": {"$ref": "#"}}},
        {**_DRAFT_2019, "anyOf": [{"$recursiveRef": "#"}, {"type": "null"}]},
        {"$dynamicAnchor": "a", "anyOf": [{"$dynamicRef": "#a"}, {"type": "null"}]},
        {"$anchor": "a", "anyOf": [{"$ref": "#a"}, {"type": "null"}]},
        {"items": {"$ref": "#/$defs/a"}, "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}, True]}}},
    ],
    ids=str,
)
@pytest.mark.parametrize("strict", [True, False])
def test_references_back_to_the_same_value_are_refused(
    schema: dict[str, Any], strict: bool
) -> None:
    with pytest.raises(SchemaError, match=r"to itself without end: no(t| part| finite)"):
        json_schema.check_constraint(Constraint(schema=schema, strict=strict))


@pytest.mark.parametrize(
    "schema",
    [
        {"anyOf": [{"type": "null"}, {"type": "array", "items": {"$ref": "#"}}]},
        {"not": {"required": ["a"], "properties": {"a": {"$ref": "#"}}}},
        {"then": {"$ref": "#"}},
        {"allOf": [{"$ref": "#/$defs/a"}] * 2, "$defs": {"a": {"type": "null"}}},
        {"$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}]}}},
        {**_DRAFT_7, "definitions": {"a": {}}, "$ref": "#/definitions/a", "not": {"$ref": "#"}},
    ],
    ids=str,
)
def test_references_to_parts_of_the_value_and_unused_ones_may_lead_back(
    schema: dict[str, Any],
) -> None:
    json_schema.check_constraint(Constraint(schema=schema))


@pytest.mark.parametrize(
    "pointer", ["#/lost", "#lost", "http://192.0.2.1/s", "http://[", "#/enum/x"]
)
@pytest.mark.parametrize(
    "keyword",
    [
        "not",
        "if",
        "allOf",
        "prefixItems",
        "items",
        "contains",
        "propertyNames",
        "properties",
        "patternProperties",
        "dependentSchemas",
        "unevaluatedProperties",
        "additionalProperties",
    ],
)
@pytest.mark.parametrize("strict", [True, False])
def test_lost_references_are_refused_wherever_they_stand(
    keyword: str, pointer: str, strict: bool
) -> None:
    part: Any = {"$ref": pointer}
    if keyword in ("allOf", "prefixItems"):
        part = [part]
    elif keyword in ("properties", "patternProperties", "dependentSchemas"):
        part = {"a": part}
    schema = {"enum": [1], keyword: part}
    with pytest.raises(SchemaError, match=r"refers to .*, which it does not contain") as caught:
        json_schema.check_constraint(Constraint(schema=schema, strict=strict))
    assert repr(pointer) in str(caught.value)


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"not": {"$ref": "#/enum"}, "enum": [1]}, "'#/enum', which is not a valid JSON schema"),
        ({"not": {"$ref": "#/x"}, "x": {"type": 3}}, "'#/x', which is not a valid JSON schema"),
        ({"not": {"$ref": "#/x"}, "x": {"pattern": r"(a)\1"}}, "not supported: backreferences"),
        ({"not": {"$ref": "#/x"}, "x": {"allOf": [{"const": 2**60}]}}, "needs the number 11529"),
        ({"not": {"$ref": "#/x"}, "x": {"not": {"$ref": "#/y"}}}, "'#/y', which it does not"),
        ({"if": True, "then": {"$ref": "#/lost"}}, "'#/lost', which it does not contain"),
        ({"if": True, "else": {"$ref": "#/lost"}}, "'#/lost', which it does not contain"),
        ({"$dynamicRef": "#lost"}, "'#lost', which it does not contain"),
    ],
)
def test_what_references_lead_to_is_checked(schema: dict[str, Any], message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        json_schema.check_constraint(Constraint(schema=schema))


@pytest.mark.parametrize(
    "schema",
    [
        {"$defs": {"a": {"$ref": "#/lost"}}},
        {"properties": {"a": {"$ref": "#/x/y"}}, "x": {"y": {"type": "null"}}},
        {"not": {"$ref": "#a"}, "$defs": {"b": {"$anchor": "a", "type": "null"}}},
        {"not": {"$ref": "b.json"}, "$defs": {"b": {"$id": "b.json", "type": "null"}}},
        {"not": {"$ref": "https://json-schema.org/draft/2020-12/schema"}},
        {"const": {"$ref": "#/lost"}},
        {"properties": {"$ref": {"type": "string"}}},
        {**_DRAFT_7, "dependentSchemas": {"a": {"$ref": "#/lost"}}},
        {"allOf": [{"$ref": "#/$defs/a~1b%25"}], "$defs": {"a/b%": True}},
    ],
    ids=str,
)
def test_references_that_lead_to_a_schema_or_are_not_reached_are_valid(
    schema: dict[str, Any],
) -> None:
    json_schema.check_constraint(Constraint(schema=schema, strict=False))


def test_schemas_outside_of_the_parts_count_too() -> None:
    inner: Any = {"properties": {f"p{n}": {} for n in range(60)}}
    schema: dict[str, Any] = {"x": inner, "allOf": []}
    for depth in range(30):
        inner["not"] = inner = {"properties": {f"p{n}": {} for n in range(30)}}
        schema["allOf"].append({"$ref": "#/x" + "/not" * depth})
    with pytest.raises(SchemaError, match="refers to more than 2,048 parts"):
        json_schema.check_constraint(Constraint(schema=schema))


@pytest.mark.parametrize("number", [1e-300, -1e-300, 5e-324, 9.9e-61, 10**400, -(10**4000)])
@pytest.mark.parametrize("strict", [True, False])
def test_numbers_that_grammars_do_not_write_are_refused(number: float, strict: bool) -> None:
    for schema in ({"const": number}, {"enum": [1, number]}, {"const": [{"a": number}]}):
        with pytest.raises(SchemaError, match="needs the number") as caught:
            json_schema.check_constraint(Constraint(schema=schema, strict=strict))
        assert len(str(caught.value)) < 250


@pytest.mark.parametrize("number", [-0.0, 0.0, 1e-60, -6.62607015e-34, 1e15, 0.1 + 0.2])
def test_numbers_that_grammars_write_are_valid(number: float) -> None:
    for schema in ({"const": number}, {"enum": [number]}, {"const": [number]}):
        json_schema.check_constraint(Constraint(schema=schema))


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        (_doubling("allOf", {"type": "string"}, 40), "takes too long to check"),
        ({"type": "array", "items": _doubling("allOf", {"type": "string"}, 12)}, "too long"),
    ],
)
def test_steps_of_a_validation_are_bounded(
    schema: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(validators, "MAX_STEPS", 5_000)
    answer = ["a"] * 500 if schema.get("type") == "array" else "a"
    if "items" in schema:
        schema = {**schema, "$defs": schema["items"]["$defs"]}
    with pytest.raises(OutputError, match=message):
        json_schema.validate(answer, schema, "The answer")


def test_unique_items_are_found_in_linear_time() -> None:
    schema = {"uniqueItems": True}
    json_schema.validate([{"a": n} for n in range(50_000)], schema, "The answer")
    json_schema.validate([1, True, 1.5, "1", [1], {"a": 1}], schema, "The answer")
    for equal in ([1, 1.0], [{"a": [2.0]}, {"a": [2]}], [True, True]):
        with pytest.raises(OutputError, match="non-unique"):
            json_schema.validate(equal, schema, "The answer")


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"allOf": [{"pattern": f"^.*{n}.*$"} for n in range(9)]}, "more than 8 patterns"),
        (
            {"allOf": [{"properties": {"a": {"pattern": f"{n}"}}} for n in range(9)]},
            "more than 8 patterns",
        ),
        ({"type": "integer", "multipleOf": 1_000_003}, "'multipleOf' with too many digits"),
        (
            {"type": "number", "multipleOf": 1e9, "exclusiveMaximum": 9e15},
            "'multipleOf' with too many digits",
        ),
        (
            {"allOf": [{"multipleOf": 10_000_000}, {"type": "integer", "minimum": 3}]},
            "'multipleOf' with too many digits",
        ),
        ({"type": "number", "multipleOf": 1.2345678}, "'multipleOf' with too many digits"),
        (
            {"anyOf": [{"type": "integer", "multipleOf": 99_991}] * 3},
            "'multipleOf' with too many digits",
        ),
        (
            {"anyOf": [{"type": "integer", "multipleOf": 101 + n % 100} for n in range(900)]},
            "or too many of them",
        ),
        ({"anyOf": [{}] * 15_000}, "more than 2,048 parts"),
        ({"properties": {"const": {"prefixItems": [True] * 9000}}}, "more than 2,048 parts"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_schemas_that_take_too_long_to_enforce_are_refused(
    schema: dict[str, Any], message: str
) -> None:
    with pytest.raises(SchemaError, match=message):
        json_schema.check_constraint(Constraint(schema=schema))


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {f"p{n}": {"type": "integer"} for n in range(2_000)}},
        {"enum": [{"a": True} for _ in range(3_000)]},
        {"type": "object", "properties": {f"p{n}": {"$ref": "#"} for n in range(2_000)}},
    ],
    ids=["many properties", "many values", "many references to a schema with itself"],
)
def test_large_schemas_are_checked_in_linear_time(schema: dict[str, Any]) -> None:
    start = time.process_time()
    json_schema.check_constraint(Constraint(schema=schema))
    assert time.process_time() - start < 4  # quadratic: a minute


def test_branches_with_the_same_long_list_are_compared_in_linear_time() -> None:
    tagged = {"properties": {"k": {"enum": [[n] for n in range(3_000)]}}, "required": ["k"]}
    schema = {"$defs": {"a": tagged}, "oneOf": [{"$ref": "#/$defs/a"}] * 1_200}
    start = time.process_time()
    assert not json_schema.has_disjoint_branches(schema, schema)
    assert time.process_time() - start < 2  # each list read anew: half a minute


@pytest.mark.parametrize(
    ("values", "disjoint"),
    [((1, 1.0), False), ((1, True), True), (("1", 1), True), (([1], "[1]"), True)],
)
def test_tags_are_compared_as_json_values(values: tuple[Any, Any], disjoint: bool) -> None:
    branches = [{"properties": {"k": {"const": tag}}, "required": ["k"]} for tag in values]
    schema = {"oneOf": branches}
    assert json_schema.has_disjoint_branches(schema, schema) is disjoint


@pytest.mark.parametrize("name", ["part", "enum", "const"])
@pytest.mark.parametrize("count", [4, 5])
def test_patterns_below_a_property_count_once_whatever_its_name(name: str, count: int) -> None:
    patterns = [{"pattern": f"{n}"} for n in range(count)]
    part = {"properties": {name: {"anyOf": [*patterns, {"$ref": "#/$defs/a"}, patterns[0]]}}}
    schema = {
        "allOf": [{"properties": {"a": {"$ref": "#/$defs/a"}}}] * 2,
        "$defs": {"a": part},
    }
    # Both describe the same property, each by all of the patterns.
    loads = schema_cost.PatternLoads(schema)
    assert (loads.most(schema) > schema_cost.MAX_PATTERNS_AT_ONCE) is (count == 5)
    assert loads.most(part) == 0


def _properties(patterns: list[str]) -> dict[str, Any]:
    return {"properties": {f"p{n}": {"pattern": p} for n, p in enumerate(patterns)}}


@pytest.mark.parametrize(
    "patterns",
    [
        [rf"^\p{{L}}+{n}$" for n in range(1000)],
        [rf"^\p{{L}}{{1,90}}{n}$" for n in range(50)],
        [rf"^\p{{L}}{{1,00000000000000000090}}{n}$" for n in range(50)],
        [f"^.{{1,9000}}{n}$" for n in range(20)],
        [f"^((ab){{1,90}}c){{1,900}}{n}$" for n in range(10)],
        [r"\p{" * 16_000],
    ],
    ids=str,
)
def test_patterns_that_take_too_long_to_compile_are_refused(patterns: list[str]) -> None:
    for strict in (True, False):
        with pytest.raises(SchemaError, match="too many patterns, or patterns that repeat"):
            json_schema.check_constraint(Constraint(schema=_properties(patterns), strict=strict))


def test_a_pattern_that_many_parts_have_counts_once() -> None:
    json_schema.check_constraint(Constraint(schema=_properties([r"^\p{L}{1,90}$"] * 900)))
    json_schema.check_constraint(
        Constraint(schema=_properties([f"^[a-z]{n}+$" for n in range(999)]))
    )


@pytest.mark.parametrize("text", ["a{99999999999999999999}", "(" * 9000, "("])
def test_a_text_that_is_no_regular_expression_is_not_of_that_format(text: str) -> None:
    json_schema.validate("^a+$", {"format": "regex"}, "The answer")
    json_schema.validate(3, {"format": "regex"}, "The answer")
    with pytest.raises(OutputError, match="is not a 'regex'"):
        json_schema.validate(text, {"format": "regex"}, "The answer")


@pytest.mark.parametrize(
    "schema",
    [
        {"anyOf": [{"pattern": f"^{n}$"} for n in range(50)]},
        {"properties": {f"p{n}": {"format": "date"} for n in range(50)}},
        {"allOf": [{"properties": {f"p{n}": {"format": "date"}}} for n in range(50)]},
        {"oneOf": [{"properties": {"id": {"pattern": f"^{n}$"}}} for n in range(50)]},
        {
            "allOf": [{"$ref": "#/$defs/u"}, {"required": ["id"]}],
            "$defs": {
                "u": {"anyOf": [{"properties": {"id": {"pattern": f"^{n}$"}}} for n in range(50)]}
            },
        },
        {"type": "integer", "multipleOf": 1_000_000_000},
        {"type": "integer", "multipleOf": 1000, "minimum": 0, "maximum": 10**15},
        {"type": "number", "multipleOf": 0.0001},
    ],
)
def test_patterns_of_different_texts_and_round_divisors_cost_little(schema: dict[str, Any]) -> None:
    json_schema.check_constraint(Constraint(schema=schema))


def test_errors_of_values_are_short_and_of_one_line() -> None:
    schema = {"additionalProperties": {"enum": ["a" * 60_000]}}
    for value in ({"b\nc": "x\n" * 9_000}, {"b\u2028" * 900: 1}):
        with pytest.raises(OutputError, match=r"^The answer is not of its schema at ") as caught:
            json_schema.validate(value, schema, "The answer")
        assert len(str(caught.value)) < 500
        assert len(str(caught.value).splitlines()) == 1
    with pytest.raises(OutputError, match=r"at \$\S*b\\nc\S*: 'x\\nx.*…a+'\]"):
        json_schema.validate({"b\nc": "x\n" * 9_000}, schema, "The answer")
    with pytest.raises(SchemaError, match=r"at \$.properties\S*b\\nc\S*type") as invalid:
        json_schema.check_constraint(Constraint(schema={"properties": {"b\nc": {"type": 3}}}))
    assert len(str(invalid.value).splitlines()) == 1
