"""GrammarCache: which tokens may come next, and that an engine's answers satisfy their schemas."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from transformers import AutoTokenizer

import llava_tools
from llava_tools import Llava
from llava_tools.core.constraints import Constraint, ToolSpec
from llava_tools.core.outputs import Answer, collect
from llava_tools.core.requests import Message, Request, SamplingParams
from llava_tools.engine.grammar_masks import GrammarCache, Matcher
from llava_tools.errors import OutputError, RequestError, SchemaError
from llava_tools.structured.grammar import prepare_schema
from tests.foreign_schemas import foreign_schemas

TINY = Path(llava_tools.__file__).parent / "tiny"
ADD = ToolSpec(
    "add",
    "",
    {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "note": {"type": "string"}},
        "required": ["a"],
    },
)
NOW = ToolSpec("now")
CALL = '<tool_call>{"name": "add", "arguments": {"a": 3}}</tool_call>'
CALL_NOW = '<tool_call>{"name": "now", "arguments": {}}</tool_call>'


def allowed_tokens(matcher: Matcher) -> set[int]:
    """The tokens that may come next."""
    bits = matcher.allowed_bits()
    return {8 * n + bit for n, byte in enumerate(bits) for bit in range(8) if byte >> bit & 1}


class Vocabulary:
    """A tokenizer with its grammars."""

    def __init__(self, folder: Path) -> None:
        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        # Wider than the tokenizer, as the checkpoints of LLaVA are.
        self.vocab_size = len(self.tokenizer) + 13
        self.grammars = GrammarCache(self.tokenizer, self.vocab_size)

    def allows(self, constraint: Constraint, text: str) -> bool:
        """Return whether the text may be generated, token by token, and end there."""
        matcher, _ = self.grammars.matcher(constraint)
        for token in self.tokenizer.encode(text, add_special_tokens=False):
            if token not in allowed_tokens(matcher):
                return False
            matcher.accept(token)
        return self.tokenizer.eos_token_id in allowed_tokens(matcher)


@pytest.fixture(scope="module", params=["bytes", "sentencepiece"])
def vocabulary(request: pytest.FixtureRequest, checkpoint: Path) -> Vocabulary:
    return Vocabulary(TINY if request.param == "bytes" else checkpoint)


@pytest.mark.parametrize(
    ("constraint", "text", "allowed"),
    [
        (Constraint((ADD, NOW)), "Hello {there}", True),
        (Constraint((ADD, NOW)), "", True),
        (Constraint((ADD, NOW)), CALL, True),
        (Constraint((ADD, NOW)), f"{CALL}\n{CALL_NOW}", True),
        (Constraint((ADD, NOW), parallel_tool_calls=False), f"{CALL}\n{CALL_NOW}", False),
        (Constraint((ADD, NOW)), f"Well. {CALL}", False),
        (Constraint((ADD, NOW)), CALL[:-1], False),
        (Constraint((ADD, NOW)), CALL.replace("add", "sub"), False),
        (Constraint((ADD, NOW)), CALL.replace("3", '"3"'), False),
        (Constraint((ADD, NOW)), CALL.replace("3", "3" * 16), False),
        (Constraint((ADD, NOW)), CALL.replace('"a": 3', '"b": 3'), False),
        (Constraint((ADD, NOW)), CALL.replace('"a": 3', '"a": 3, "b": 3'), False),
        (Constraint((ADD, NOW)), CALL.replace("{", "{ "), False),
        (Constraint((ADD, NOW), "any"), "Hello", False),
        (Constraint((ADD, NOW), "any"), "", False),
        (Constraint((ADD, NOW), "any"), f"{CALL}\n{CALL}", True),
        (Constraint((ADD, NOW), "add"), CALL, True),
        (Constraint((ADD, NOW), "add"), CALL_NOW, False),
        (Constraint((ADD, NOW), "add"), f"{CALL}\n{CALL}", False),
        (Constraint((ADD, NOW), "none"), "Hello", True),
        (Constraint(schema=ADD.parameters), '{"a": 3, "note": "\\"<b> é猫"}', True),
        (Constraint(schema=ADD.parameters), "Hello", False),
        (Constraint((ADD,), schema=NOW.parameters), "{}", True),
        (Constraint((ADD,), schema=NOW.parameters), CALL, True),
        (Constraint((ADD,), schema=NOW.parameters), "Hello", False),
        (Constraint((ADD,), "any", schema=NOW.parameters), "{}", False),
    ],
)
def test_a_constraint_allows_exactly_its_answers(
    vocabulary: Vocabulary, constraint: Constraint, text: str, allowed: bool
) -> None:
    assert vocabulary.allows(constraint, text) is allowed


def test_a_string_contains_no_special_token(vocabulary: Vocabulary) -> None:
    matcher, _ = vocabulary.grammars.matcher(Constraint(schema={"type": "string"}))
    for token in vocabulary.tokenizer.encode('"x', add_special_tokens=False):
        matcher.accept(token)
    allowed = allowed_tokens(matcher)
    assert allowed
    assert allowed.isdisjoint(vocabulary.tokenizer.all_special_ids)
    assert max(allowed) < len(vocabulary.tokenizer)


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({"properties": {"a": {"not": {"type": "string"}}}}, '"not"'),
        ({"type": "array", "uniqueItems": True}, '"uniqueItems"'),
        ({"type": "string", "format": "shoe-size"}, "Unknown format: shoe-size"),
        ({"type": "string", "pattern": "(?=a)b"}, "look-around"),
        ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, "oneOf"),
        ({"type": "integer", "minimum": 3, "maximum": 1}, "Unsatisfiable"),
        ({"$ref": "https://example.org/schema.json"}, "example.org"),
    ],
)
def test_a_schema_that_cannot_be_enforced_is_refused_with_the_reason(
    vocabulary: Vocabulary, schema: dict[str, Any], reason: str
) -> None:
    with pytest.raises(SchemaError, match="strict=False") as caught:
        vocabulary.grammars.matcher(Constraint(schema=schema))
    assert reason in str(caught.value)
    tool = ToolSpec("odd", "", {"type": "object", "properties": {"x": schema}, "required": ["x"]})
    with pytest.raises(SchemaError, match="the tool odd"):
        vocabulary.grammars.matcher(Constraint((NOW, tool)))


def test_without_strict_the_rest_is_enforced_and_marked_best_effort(vocabulary: Vocabulary) -> None:
    odd = {"type": "array", "items": {"type": "integer"}, "uniqueItems": True}
    _, best_effort = vocabulary.grammars.matcher(Constraint(schema=odd, strict=False))
    assert best_effort
    assert vocabulary.allows(Constraint(schema=odd, strict=False), "[1, 1]")
    assert not vocabulary.allows(Constraint(schema=odd, strict=False), '["x"]')
    _, best_effort = vocabulary.grammars.matcher(Constraint(schema=NOW.parameters, strict=False))
    assert not best_effort


@pytest.mark.parametrize("pattern", ["^(?!^[-+.]*$)[+-]?[0-9.]*$", r"\bfoo"])
def test_without_strict_a_pattern_that_can_only_be_checked_is_left_out(
    vocabulary: Vocabulary, pattern: str
) -> None:
    schema = {"anyOf": [{"type": "number"}, {"type": "string", "pattern": pattern}]}
    with pytest.raises(SchemaError, match="strict=False"):
        vocabulary.grammars.matcher(Constraint(schema=schema))
    constraint = Constraint(schema=schema, strict=False)
    assert vocabulary.grammars.matcher(constraint)[1]
    for text in ("12.5", '"12.5"', '"any"'):
        assert vocabulary.allows(constraint, text)
    assert not vocabulary.allows(constraint, "{}")


def test_without_strict_the_hint_does_not_name_strict(vocabulary: Vocabulary) -> None:
    schema = {"type": "string", "minLength": 2**63}
    for strict in (True, False):
        with pytest.raises(SchemaError, match="cannot be enforced") as caught:
            vocabulary.grammars.matcher(Constraint(schema=schema, strict=strict))
        assert ("strict=False" in str(caught.value)) is strict


def test_objects_are_closed_if_that_refuses_no_valid_answer() -> None:
    inner = {"type": "object", "properties": {"a": {"type": "integer"}}}
    assert prepare_schema(inner)["additionalProperties"] is False
    assert prepare_schema({**inner, "additionalProperties": True})["additionalProperties"] is True
    assert (
        prepare_schema({"properties": {"x": inner}})["properties"]["x"]["additionalProperties"]
        is False
    )
    joined = prepare_schema({"allOf": [inner, {"properties": {"b": {}}}]})
    assert all("additionalProperties" not in part for part in joined["allOf"])
    either = prepare_schema({**inner, "anyOf": [{"required": ["a"]}, {"properties": {"b": {}}}]})
    assert "additionalProperties" not in either
    assert all("additionalProperties" not in part for part in either["anyOf"])
    assert inner == {"type": "object", "properties": {"a": {"type": "integer"}}}


def test_tagged_unions_are_enforced(vocabulary: Vocabulary) -> None:
    """pydantic writes discriminated unions as `oneOf`."""
    branches = {
        name: {
            "type": "object",
            "properties": {"kind": {"const": name}, name: {"type": "integer"}},
            "required": ["kind", name],
        }
        for name in ("a", "b")
    }
    schema = {
        "oneOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/b"}],
        "discriminator": {"propertyName": "kind"},
        "$defs": branches,
    }
    assert vocabulary.allows(Constraint(schema=schema), '{"kind": "b", "b": 3}')
    assert not vocabulary.allows(Constraint(schema=schema), '{"kind": "b", "a": 3}')


def answer(llava: Llava, constraint: Constraint, **sampling: Any) -> Answer:
    request = Request((Message("user", ("Well?",)),), SamplingParams(**sampling), constraint)
    return collect(llava.backend.stream(request), "m")


@pytest.fixture(scope="module", params=["tiny", "random"])
def model(request: pytest.FixtureRequest, checkpoint: Path) -> Iterator[Llava]:
    with Llava("tiny" if request.param == "tiny" else str(checkpoint)) as model:
        yield model


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_foreign_schemas_are_satisfied_or_refused(model: Llava, temperature: float) -> None:
    def outcome(case: tuple[str, dict[str, Any]]) -> str:
        name, schema = case
        try:
            result = answer(
                model, Constraint(schema=schema), max_tokens=100, temperature=temperature, seed=1
            )
        except OutputError as error:
            return "cut off" if "cut off by max_tokens" in str(error) else f"wrong: {name}: {error}"
        except RequestError:
            return "refused"
        jsonschema.validate(json.loads(result.text), schema)
        return "valid"

    small = [case for case in foreign_schemas(80) if len(json.dumps(case[1])) < 700][:12]
    with ThreadPoolExecutor(12) as pool:
        outcomes = Counter(pool.map(outcome, small))
    assert outcomes.keys() <= {"valid", "cut off", "refused"}
    if not temperature:  # at random, strings seldom end within the tokens of a test
        assert outcomes["valid"] >= 1, outcomes
    assert outcomes["refused"] <= 3, outcomes


def test_a_best_effort_answer_is_checked_and_marked(model: Llava) -> None:
    pair = {"type": "array", "items": {"enum": [1, 2]}, "minItems": 2, "maxItems": 2}
    constraint = Constraint(schema={**pair, "uniqueItems": True}, strict=False)
    outcomes = set()
    for seed in range(24):
        try:
            result = answer(model, constraint, max_tokens=30, temperature=1.0, seed=seed)
        except OutputError as error:
            outcomes.add("refused" if "non-unique" in str(error) else str(error))
        else:
            outcomes.add(f"{sorted(json.loads(result.text))} {result.best_effort}")
    assert outcomes == {"[1, 2] True", "refused"}


@pytest.mark.parametrize("number", [-6.62607015e-34, 1.5e-7, -0.0, 1e15, 2**53 - 1])
@pytest.mark.parametrize("keyword", ["const", "enum"])
def test_a_number_is_written_out_in_full(model: Llava, number: float, keyword: str) -> None:
    schema = {keyword: number if keyword == "const" else [number]}
    result = answer(model, Constraint(schema=schema), max_tokens=120)
    assert json.loads(result.text) == number
    with pytest.raises(OutputError, match="cut off by max_tokens"):
        answer(model, Constraint(schema={"const": -6.62607015e-34}), max_tokens=20)


@pytest.mark.parametrize("number", [1e-60, -1e-60])
@pytest.mark.parametrize("strict", [True, False])
def test_a_number_whose_last_digit_would_be_wrong_is_refused(
    vocabulary: Vocabulary, number: float, strict: bool
) -> None:
    for schema in ({"const": number}, {"properties": {"a": {"enum": [0, [number]]}}}):
        with pytest.raises(SchemaError, match="whose last digit cannot be enforced"):
            vocabulary.grammars.matcher(Constraint(schema=schema, strict=strict))


def test_a_call_that_is_cut_off_is_an_error(model: Llava) -> None:
    with pytest.raises(OutputError, match="cut off by max_tokens"):
        answer(model, Constraint((ADD,), "add"), max_tokens=5)
    assert answer(model, Constraint((NOW,), "now"), max_tokens=80).tool_calls[0].name == "now"


def test_grammar_that_gives_up_is_an_error_of_the_schema(
    model: Llava, monkeypatch: pytest.MonkeyPatch
) -> None:
    """llguidance stops where a grammar takes too many states or too much time."""
    steps = iter(range(3))
    allowed_bits = Matcher.allowed_bits

    def give_up(matcher: Matcher) -> bytes:
        bits = allowed_bits(matcher)
        return bits if next(steps, None) is not None else bytes(len(bits))

    monkeypatch.setattr(Matcher, "allowed_bits", give_up)
    monkeypatch.setattr(Matcher, "error", property(lambda matcher: "too many states"))
    with pytest.raises(SchemaError, match="could not be followed: too many states"):
        answer(model, Constraint(schema={"type": "string", "minLength": 20}), max_tokens=40)
    monkeypatch.undo()
    assert answer(model, Constraint(schema={"enum": ["red"]})).text == '"red"'


def test_a_grammar_with_too_many_alternatives_is_an_error_of_the_schema(model: Llava) -> None:
    part = {"type": "object", "properties": {f"p{n}": {} for n in range(900)}}
    schema = {"$defs": {"a": part}, "anyOf": [{"$ref": "#/$defs/a"}] * 900}
    with pytest.raises(SchemaError, match=r"followed: Parser Error: Current row .*; max is 2000"):
        answer(model, Constraint(schema=schema, describe=False), max_tokens=9)


def test_an_error_repeats_a_part_of_a_long_pattern_only(vocabulary: Vocabulary) -> None:
    words = "|".join(f"w{n}" for n in range(3000))
    schema = {"type": "string", "pattern": f"^({words})$", "minLength": 50}
    with pytest.raises(SchemaError, match="Regex is empty") as caught:
        vocabulary.grammars.matcher(Constraint(schema=schema))
    assert len(str(caught.value)) < 500


def test_repeated_calls_end_the_answer(model: Llava) -> None:
    """At temperature 0 a weak model repeats its first call until the tokens are used up."""
    tool = ToolSpec("pick", "", {"type": "object", "properties": {"n": {"enum": [1]}}})
    result = answer(model, Constraint((tool,), "any"), max_tokens=400)
    calls = [json.dumps(dict(call.arguments)) for call in result.tool_calls]
    assert len(calls) == len(set(calls)) <= 2
    assert result.finish_reason == "tool_calls"
    assert 0 < result.usage.completion_tokens < 400
    assert result.usage.prompt_tokens > 0


def test_logprobs_and_seeds_work_under_a_grammar(model: Llava) -> None:
    constraint = Constraint(schema={"enum": ["red", "green", "blue"]})
    first, again = (
        answer(model, constraint, temperature=1.0, seed=5, logprobs=True) for _ in range(2)
    )
    assert first.text == again.text
    assert len(first.logprobs) == len(first.token_ids)
    assert all(item.logprob <= 0 for item in first.logprobs)


@pytest.mark.parametrize(
    ("constraint", "text", "most_steps"),
    [
        pytest.param(Constraint((ADD,), "add"), CALL, 8, id="a forced call"),
        pytest.param(Constraint(schema=ADD.parameters), '{"a": 3, "note": "x"}', 12, id="a form"),
    ],
)
def test_what_the_grammar_leaves_no_choice_about_is_forced(
    vocabulary: Vocabulary, constraint: Constraint, text: str, most_steps: int
) -> None:
    """Choosing as `text` does gives `text`, in fewer steps than tokens, and the end after it."""
    tokenizer = vocabulary.tokenizer
    matcher, _ = vocabulary.grammars.matcher(constraint)
    tokens, steps = matcher.forced_tokens(100), 0
    while tokenizer.eos_token_id not in tokens:
        written = tokenizer.decode(tokens)
        options = [tokenizer.decode([*tokens, t]) for t in sorted(allowed_tokens(matcher))]
        fitting = {
            token: option
            for token, option in zip(sorted(allowed_tokens(matcher)), options, strict=True)
            if text.startswith(option) and len(option) > len(written)
        }
        token = max(fitting, key=lambda item: len(fitting[item]))
        matcher.accept(token)
        tokens += [token, *matcher.forced_tokens(100)]
        steps += 1
    assert tokenizer.decode(tokens, skip_special_tokens=True) == text
    assert steps <= most_steps < len(tokens)
