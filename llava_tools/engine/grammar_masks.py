"""Constraints as grammars: llguidance computes which tokens may come next.

A `Constraint` goes in, a `Matcher` for one answer comes out. llguidance refuses a schema that it
cannot enforce and names the keyword. `structured.grammar` writes the grammars that it reads.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from llava_tools.core.constraints import Constraint, Schema
from llava_tools.errors import MissingExtraError, SchemaError
from llava_tools.structured.grammar import schema_for_guidance, write_grammar

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer
    from transformers import PreTrainedTokenizerBase

#: Grammars in the cache: agents send the same tools again and again.
MAX_GRAMMARS = 64

#: Characters of llguidance's errors that are repeated: some hold the whole schema.
_LONGEST_ERROR = 250

#: What llguidance says of a schema of which it enforces every part, but not as many.
_TOO_LARGE = "initial lexer configuration (grammar) too big"


class GrammarCache:
    """Compiles constraints for one tokenizer, and keeps those used last.

    Args:
        tokenizer: The checkpoint's tokenizer.
        vocab_size: Width of the model's logits, which may be more than the tokenizer has.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, vocab_size: int) -> None:
        self._tokenizer = tokenizer
        self._vocab_size = vocab_size
        # A matcher before the first token, and whether it is best effort only.
        self._grammars: OrderedDict[str, tuple[LLMatcher, bool]] = OrderedDict()
        self._ll_tokenizer: LLTokenizer | None = None
        self._lock = threading.Lock()

    def matcher(self, constraint: Constraint) -> tuple[Matcher, bool]:
        """Return a matcher for one answer, and whether it is best effort only.

        Raises:
            SchemaError: A schema is invalid, has no finite value, or cannot be enforced.
            MissingExtraError: llguidance is not installed.
        """
        # Descriptions are not part of the key: they do not change the grammar.
        tools = [(tool.name, tool.parameters) for tool in constraint.callable_tools]
        calls = (constraint.tool_choice, constraint.parallel_tool_calls)
        key = json.dumps([tools, *calls, constraint.schema, constraint.strict], default=dict)
        with self._lock:
            if key not in self._grammars:
                self._grammars[key] = self._compile(constraint)
            self._grammars.move_to_end(key)
            start, best_effort = self._grammars[key]
            if len(self._grammars) > MAX_GRAMMARS:
                self._grammars.popitem(last=False)
            return Matcher(start.deep_copy(), self._tokenizer.eos_token_id), best_effort

    def _compile(self, constraint: Constraint) -> tuple[LLMatcher, bool]:
        try:
            import llguidance.hf
            from llguidance import LLMatcher
        except ImportError as error:
            raise MissingExtraError("llguidance", "torch") from error
        if self._ll_tokenizer is None:
            tokenizer = cast(Any, self._tokenizer)  # any fast tokenizer will do
            self._ll_tokenizer = llguidance.hf.from_tokenizer(tokenizer, n_vocab=self._vocab_size)
        best_effort = False

        def enforceable(schema: Schema, description: str) -> Mapping[str, Any]:
            """Return the schema as llguidance takes it: all of it, or what it can enforce."""
            nonlocal best_effort
            for complete in (True,) if constraint.strict else (True, False):
                prepared = schema_for_guidance(schema, strict=complete)
                failed, messages = LLMatcher.validate_grammar_with_warnings(
                    LLMatcher.grammar_from_json_schema(json.dumps(prepared)), self._ll_tokenizer
                )
                if not failed:
                    best_effort |= not complete
                    return prepared
                if any(_TOO_LARGE in message for message in messages):
                    break  # without what cannot be enforced it is as large
            checked = ", or set strict=False: the answer is then checked afterwards"
            raise SchemaError(
                f"{description} cannot be enforced: {_one_line('; '.join(messages))}.",
                f"Leave that out of the schema{checked if constraint.strict else ''}.",
            )

        grammar = LLMatcher.grammar_from_lark(write_grammar(constraint, enforceable))
        matcher = LLMatcher(self._ll_tokenizer, grammar, log_level=0)
        if matcher.is_error():
            raise SchemaError(
                "The tools and schemas cannot be enforced together: "
                f"{_one_line(matcher.get_error())}.",
                "Bind fewer tools, or simpler ones.",
            )
        return matcher, best_effort


class Matcher:
    """The state of one answer in its grammar, a `TokenConstraint`; used on the engine thread."""

    def __init__(self, matcher: LLMatcher, eos_token_id: int) -> None:
        self._matcher = matcher
        self._eos_token_id = eos_token_id

    @property
    def error(self) -> str:
        """See `TokenConstraint`."""
        return _one_line(self._matcher.get_error()) if self._matcher.is_error() else ""

    def allowed_bits(self) -> bytes:
        """See `TokenConstraint`."""
        return bytes(self._matcher.compute_bitmask())

    def accept(self, token: int) -> None:
        """See `TokenConstraint`."""
        self._matcher.consume_token(token)

    def forced_tokens(self, limit: int) -> list[int]:
        """See `TokenConstraint`."""
        tokens: list[int] = self._matcher.compute_ff_tokens()[:limit]
        if tokens:
            self._matcher.consume_tokens(tokens)
        if self._matcher.is_stopped() and not self._matcher.is_error() and len(tokens) < limit:
            tokens.append(self._eos_token_id)
        return tokens


def _one_line(text: str) -> str:
    """Return what llguidance says on one line, without its state and long quotations."""
    line = " ".join(text.partition("<state>")[0].split()).rstrip(".")
    return line if len(line) <= _LONGEST_ERROR else f"{line[:_LONGEST_ERROR]}…"
