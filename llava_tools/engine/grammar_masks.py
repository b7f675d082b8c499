"""Constraints as grammars: which tokens may come next, by llguidance.

A `Constraint` goes in, a `Matcher` for one answer comes out. llguidance is strict: what it cannot
enforce it refuses, naming the keyword; it was never seen to let a wrong answer through. grammar.py
writes what it is given.
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

from llava_tools.core.constraints import Constraint, Schema
from llava_tools.errors import MissingExtraError, SchemaError
from llava_tools.structured.grammar import schema_for_guidance, write_grammar

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer
    from transformers import PreTrainedTokenizerBase

#: Grammars kept: agents ask again and again with the same tools.
KEPT = 64


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
        if self._guide is None:
            tokenizer = cast(Any, self._tokenizer)  # any fast tokenizer will do
            self._guide = llguidance.hf.from_tokenizer(tokenizer, n_vocab=self._vocabulary)
        lenient = False

        def enforceable(schema: Schema, what: str) -> Mapping[str, Any]:
            nonlocal lenient
            ready, loose = self._enforceable(schema, constraint, what)
            lenient |= loose
            return ready

        grammar = write_grammar(constraint, enforceable)
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
        for lenient in (False, True) if not constraint.strict else (False,):
            ready = schema_for_guidance(schema, strict=not lenient)
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


def _key(constraint: Constraint) -> str:
    """Return what makes two constraints the same to a grammar: descriptions do not."""
    tools = [(tool.name, tool.parameters) for tool in constraint.callable]
    rules = (
        constraint.tool_choice,
        constraint.parallel_tool_calls,
        constraint.schema,
        not constraint.strict,
    )
    return json.dumps([tools, rules], default=dict)


@cache
def _bit_values(device: torch.device) -> torch.Tensor:
    """Return the values of a byte's bits, lowest first; made once a device."""
    return torch.tensor([1 << bit for bit in range(8)], dtype=torch.uint8, device=device)


def _line(text: str) -> str:
    return " ".join(text.split()).rstrip(".")
