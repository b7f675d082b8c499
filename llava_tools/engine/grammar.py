"""Constraints as grammars: which tokens may come next, by llguidance.

A `Constraint` goes in, a `Matcher` for one answer comes out. llguidance is strict: what it cannot
enforce it refuses, naming the keyword; it was never seen to let a wrong answer through. Two things
are prepared for it: integers are given bounds, since digits would go on without end, and objects
that name their properties are closed to others.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, cast

import torch

from llava_tools import schemas
from llava_tools.constraint import Constraint, Schema
from llava_tools.engine.formats import NARROWED
from llava_tools.errors import MissingExtraError, SchemaError
from llava_tools.toolcall import BETWEEN, CLOSE, OPEN

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer
    from transformers import PreTrainedTokenizerBase

#: Grammars kept: agents ask again and again with the same tools.
KEPT = 64
_LARGEST_INTEGER = 10**15 - 1
_SPACING = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
_COMBINING = frozenset({"allOf", "anyOf", "oneOf", "not", "if", "$ref", "$dynamicRef"})


@dataclass(frozen=True)
class Grammar:
    """A compiled constraint.

    Attributes:
        start: A matcher that has read nothing; copied for every answer.
        best_effort: Whether some of the constraint could not be taken in (lenient mode only).
    """

    start: LLMatcher
    best_effort: bool


class Grammars:
    """Compiles constraints for one tokenizer, and keeps the latest.

    Args:
        tokenizer: The checkpoint's tokenizer.
        vocabulary: Width of the model's logits, which may be more than the tokenizer has.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, vocabulary: int) -> None:
        self._tokenizer = tokenizer
        self._vocabulary = vocabulary
        self._known: OrderedDict[str, Grammar] = OrderedDict()
        self._guide: LLTokenizer | None = None
        self._lock = threading.Lock()

    def matcher(self, constraint: Constraint) -> tuple[Matcher, bool]:
        """Return a matcher for one answer, and whether it is best effort only.

        Raises:
            SchemaError: A schema is none, has no finite value, or cannot be enforced.
            MissingExtraError: llguidance is not installed.
        """
        key = _key(constraint)
        with self._lock:
            grammar = self._known.pop(key, None) or self._compile(constraint)
            self._known[key] = grammar
            if len(self._known) > KEPT:
                self._known.popitem(last=False)
            return Matcher(grammar.start.deep_copy(), self._vocabulary), grammar.best_effort

    def _compile(self, constraint: Constraint) -> Grammar:
        try:
            import llguidance.hf
        except ImportError as error:
            raise MissingExtraError("llguidance", "torch") from error
        schemas.check_constraint(constraint)
        if self._guide is None:
            tokenizer = cast(Any, self._tokenizer)  # any fast tokenizer will do
            self._guide = llguidance.hf.from_tokenizer(tokenizer, n_vocab=self._vocabulary)
        lenient = False
        rules = []
        for number, tool in enumerate(constraint.callable):
            what = f"The schema of the tool {tool.name}"
            schema, loose = self._enforceable(tool.parameters, constraint, what)
            lenient |= loose
            begin = f'{OPEN}{{"name": {json.dumps(tool.name)}, "arguments": '
            rules += [
                # Tokenizers may begin with a space of their own, so it is one with the tag.
                f"OPEN_{number}: / ?/ {json.dumps(begin)}",
                f"call_{number}: OPEN_{number} %json {json.dumps(schema)} CLOSE",
            ]
        if constraint.schema is not None and not constraint.forced:
            schema, loose = self._enforceable(
                constraint.schema, constraint, "The schema of the answer"
            )
            lenient |= loose
            rules.append(f"answer: / ?/ %json {json.dumps(schema)}")
        grammar = "\n".join([*rules, *_start(constraint)])
        matcher = llguidance.LLMatcher(
            self._guide, llguidance.LLMatcher.grammar_from_lark(grammar), log_level=0
        )
        if matcher.is_error():
            raise SchemaError(
                f"The tools and schemas cannot be enforced together: {_line(matcher.get_error())}.",
                "Bind fewer tools, or simpler ones.",
            )
        return Grammar(matcher, lenient)

    def _enforceable(
        self, schema: Schema, constraint: Constraint, what: str
    ) -> tuple[Mapping[str, Any], bool]:
        """Return the schema as llguidance takes it, and whether only in part."""
        from llguidance import LLMatcher

        assert self._guide is not None
        fault = ""
        for lenient in (False, True) if constraint.lenient else (False,):
            options = {**_SPACING, **({"lenient": True, "coerce_one_of": True} if lenient else {})}
            ready = {**prepared(schema), "x-guidance": options}
            grammar = LLMatcher.grammar_from_json_schema(json.dumps(ready))
            failed, told = LLMatcher.validate_grammar_with_warnings(grammar, self._guide)
            if not failed:
                return ready, lenient
            fault = _line("; ".join(told))
        raise SchemaError(
            f"{what} cannot be enforced: {fault}.",
            "Describe it without that, or have it checked afterwards only: lenient=True, which is "
            "strict=False in LangChain.",
        )


class Matcher:
    """Where one answer stands in its grammar. Used by the model's thread."""

    def __init__(self, matcher: LLMatcher, vocabulary: int) -> None:
        self._matcher = matcher
        self._vocabulary = vocabulary

    @property
    def fault(self) -> str:
        """What went wrong in the grammar's engine; "" as long as nothing did."""
        return _line(self._matcher.get_error()) if self._matcher.is_error() else ""

    def forbidden(self, device: torch.device) -> torch.Tensor:
        """Return which tokens may not come next, bool [vocabulary]."""
        bits = torch.frombuffer(bytearray(self._matcher.compute_bitmask()), dtype=torch.uint8)
        bits = bits.to(device).unsqueeze(1)
        allowed = bits.bitwise_and(_bit_values(device)).flatten()[: self._vocabulary]
        return allowed == 0

    def accept(self, token: int) -> None:
        """Go on by a token that was not forbidden."""
        self._matcher.consume_token(token)


def prepared(schema: Schema) -> dict[str, Any]:
    """Return a schema with bounded integers and times, closed objects, `anyOf` for safe `oneOf`s.

    Whatever satisfies it satisfies the schema that was given.
    """
    ready: dict[str, Any] = _prepared(schema, schema, closing=True)
    return ready


def _prepared(schema: Any, root: Schema, *, closing: bool) -> Any:
    if not isinstance(schema, Mapping):
        return schema
    ready = dict(schema)
    closing = closing and not _COMBINING & ready.keys()
    for key in ("properties", "$defs", "definitions", "patternProperties"):
        if isinstance(ready.get(key), Mapping):
            inside = closing or key in ("$defs", "definitions")
            ready[key] = {
                name: _prepared(field, root, closing=True if key == "properties" else inside)
                for name, field in ready[key].items()
            }
    for key in ("items", "additionalProperties"):
        if key in ready:
            ready[key] = _prepared(ready[key], root, closing=True)
    alone = not {"properties", "required", "allOf"} & ready.keys()
    for key in ("anyOf", "oneOf", "allOf"):
        if isinstance(ready.get(key), list):
            inside = alone and key != "allOf"
            ready[key] = [_prepared(part, root, closing=inside) for part in ready[key]]
    if isinstance(ready.get("prefixItems"), list):
        ready["prefixItems"] = [_prepared(p, root, closing=True) for p in ready["prefixItems"]]
    if ready.get("type") == "integer" and "enum" not in ready and "const" not in ready:
        if not {"minimum", "exclusiveMinimum"} & ready.keys():
            ready["minimum"] = -_LARGEST_INTEGER
        if not {"maximum", "exclusiveMaximum"} & ready.keys():
            ready["maximum"] = _LARGEST_INTEGER
    if ready.get("format") in NARROWED:
        ready.setdefault("pattern", NARROWED[ready["format"]])
    if "oneOf" in ready and "anyOf" not in ready and schemas.disjoint(ready, root):
        ready["anyOf"] = ready.pop("oneOf")
    if closing and "properties" in ready and "patternProperties" not in ready:
        ready.setdefault("additionalProperties", False)
    return ready


def _start(constraint: Constraint) -> list[str]:
    """Return the rules that put calls, JSON and words together."""
    rules, ways = [], []
    tools = constraint.callable
    if tools:
        several = constraint.parallel and constraint.choice in ("auto", "any")
        call = " | ".join(f"call_{number}" for number in range(len(tools)))
        more = f" ({json.dumps(BETWEEN)} call)*" if several else ""
        rules += [f'CLOSE: "}}{CLOSE}"', f"call: {call}", f"calls: call{more}"]
        ways.append("calls")
    if constraint.schema is not None and not constraint.forced:
        ways.append("answer")
    elif not constraint.forced:
        rules.append(rf"WORDS: /(.|\n)*/ & ~/(.|\n)*{OPEN}(.|\n)*/")
        ways.append("WORDS")
    return [*rules, f"start: {' | '.join(ways)}"]


def _key(constraint: Constraint) -> str:
    """Return what makes two constraints the same to a grammar: descriptions do not."""
    tools = [(tool.name, tool.parameters) for tool in constraint.callable]
    rules = (constraint.choice, constraint.parallel, constraint.schema, constraint.lenient)
    return json.dumps([tools, rules], default=dict)


@cache
def _bit_values(device: torch.device) -> torch.Tensor:
    """Return the values of a byte's bits, lowest first; made once a device."""
    return torch.tensor([1 << bit for bit in range(8)], dtype=torch.uint8, device=device)


def _line(text: str) -> str:
    return " ".join(text.split()).rstrip(".")
