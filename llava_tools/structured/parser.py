"""Incremental parser of constrained answers: text in; checked text and tool calls out.

Text passes through, and calls become `ToolCallChunk`s: id and name first, then the arguments as
they arrive. An answer that is cut off or does not match its schema raises, even if the backend
ignored the constraint. A call that repeats an earlier one is left out: weak models repeat calls
without end.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from llava_tools.chat.tool_calls import CLOSE_TAG, OPEN_TAG
from llava_tools.core import json_schema
from llava_tools.core.constraints import Constraint, ToolCall
from llava_tools.core.outputs import FinishReason, ToolCallChunk
from llava_tools.errors import OutputError
from llava_tools.structured.json_scanner import JsonScanner, is_partial_json

_CALL_HEAD = re.compile(r'\s*\{\s*"name"\s*:\s*("(?:[^"\\]|\\.)*")\s*,\s*"arguments"\s*:\s*')
_CALL_TAIL = re.compile(r"\s*\}\s*" + CLOSE_TAG)
#: Maximum number of characters before the arguments of a call, and after them.
_LONGEST_HEAD = 1024


def new_call_id() -> str:
    """Return a new id for a tool call."""
    return f"call_{uuid.uuid4().hex[:24]}"


@dataclass
class _Call:
    """A call; `text` is the JSON of its arguments so far."""

    id: str
    name: str
    text: str = ""
    finished: bool = False


class ToolCallParser:
    """Parses one answer incrementally.

    `_parse` is the current state: a method that consumes a part of `_buffer` and may set the next
    state. It returns False if it needs more text.

    Args:
        constraint: The form of the answer.
        new_id: Returns the id of a new call.
        stop: The request's stop strings, for errors.

    Attributes:
        repetitions: Number of calls that were left out, since they repeat an earlier one.
    """

    def __init__(
        self,
        constraint: Constraint,
        new_id: Callable[[], str] = new_call_id,
        *,
        stop: Sequence[str] = (),
    ) -> None:
        self.repetitions = 0
        self._constraint = constraint
        self._stop = stop
        self._tools = {tool.name: tool for tool in constraint.callable_tools}
        self._new_id = new_id
        self._buffer = ""
        self._texts: list[str] = []
        self._calls: list[_Call] = []
        self._chunks: list[ToolCallChunk] = []
        # Earlier calls that begin as the last one does; while there are any, its chunks wait.
        self._alike: list[_Call] = []
        self._waiting: list[ToolCallChunk] = []
        self._scanner = JsonScanner()
        self._parse = self._parse_start if self._tools else self._parse_text

    def feed(self, text: str) -> tuple[str, tuple[ToolCallChunk, ...]]:
        """Add text; return the new text of the answer and the new chunks of calls.

        Raises:
            OutputError: A call cannot be parsed, or is not allowed.
        """
        self._buffer += text
        count = len(self._texts)
        self._chunks = []
        while self._buffer and self._parse():
            pass
        return "".join(self._texts[count:]), _joined(self._chunks)

    @property
    def finished_calls(self) -> tuple[ToolCall, ...]:
        """The calls that are complete."""
        complete = (call for call in self._calls if call.finished)
        return tuple(ToolCall(call.id, call.name, json.loads(call.text)) for call in complete)

    def finish(self, reason: FinishReason, stop_string: str = "") -> tuple[str, FinishReason]:
        """Check the whole answer; return the rest of the text and the finish reason.

        Args:
            reason: Why the backend ended the answer.
            stop_string: The stop string that ended it, if that is known.

        Raises:
            OutputError: A call or the JSON is cut off, or the answer violates the constraint.
        """
        rest = ""
        if self._parse == self._parse_start:
            rest, self._buffer = self._buffer, ""
            self._texts.append(rest)
        if self._parse in (self._parse_head, self._parse_arguments, self._parse_tail):
            raise self._cut_off("A tool call", reason, stop_string)
        if self._calls:
            self.check_calls()
            return rest, "tool_calls"
        if self._constraint.requires_call:
            if reason == "length" or stop_string:
                raise self._cut_off("A tool call", reason, stop_string)
            raise OutputError(
                "The model answered in text where it had to call a tool.",
                "Use a backend that enforces tool_choice.",
            )
        self._check_text(reason, stop_string)
        return rest, reason

    def check_calls(self) -> None:
        """Check that the arguments of all calls are of their schemas; `OutputError` otherwise."""
        for call in self._calls:
            parameters = self._tools[call.name].parameters
            json_schema.validate(json.loads(call.text), parameters, f"The call of {call.name}")

    def _check_text(self, reason: FinishReason, stop_string: str) -> None:
        schema = self._constraint.schema
        if schema is None:
            return
        text = "".join(self._texts)
        try:
            answer = json.loads(text)
        except (ValueError, RecursionError):
            if reason == "length" or stop_string or (self._stop and is_partial_json(text)):
                raise self._cut_off("The JSON answer", reason, stop_string) from None
            raise OutputError(
                f"The answer is not JSON: {text[:80]!r}.", "Use a backend that enforces schemas."
            ) from None
        try:
            json_schema.validate(answer, schema, "The answer")
        except OutputError:
            # What is left of a number's digits may be another number.
            is_number = isinstance(answer, int | float) and not isinstance(answer, bool)
            if is_number and (reason == "length" or stop_string):
                raise self._cut_off("The JSON answer", reason, stop_string) from None
            raise

    def _cut_off(self, subject: str, reason: FinishReason, stop_string: str) -> OutputError:
        cause, hint = "max_tokens", "Allow more max_tokens."
        if reason != "length":
            stops = ", ".join(map(repr, [stop_string] if stop_string else self._stop))
            several = not stop_string and len(self._stop) > 1
            cause = f"one of the stop strings {stops}" if several else f"the stop string {stops}"
            hint = "Leave the stop string out."
            if not stops:
                cause = "a stop string"
        complete = len(self.finished_calls)
        before = f"; {complete} before it are complete, in the error's tool_calls"
        message = f"{subject} was cut off by {cause}{before if complete else ''}."
        return OutputError(message, hint)

    def _parse_start(self) -> bool:
        """Decide whether the answer begins with a call."""
        if self._skip_open_tag():
            return True
        if OPEN_TAG.startswith(self._buffer.lstrip()):
            return False
        self._parse = self._parse_text
        return True

    def _parse_text(self) -> bool:
        self._texts.append(self._buffer)
        self._buffer = ""
        return True

    def _parse_head(self) -> bool:
        """Parse the name of a call."""
        match = self._match(_CALL_HEAD)
        if match is None:
            return False
        name = json.loads(match[1])
        if name not in self._tools:
            raise OutputError(
                f"The model called {name!r}, which is not among the tools that it may call.",
                "Use a backend that enforces tool_choice.",
            )
        several = self._constraint.parallel_tool_calls and self._constraint.tool_choice != name
        if self._calls and not several:
            raise OutputError(
                "The model made several calls where only one is allowed.",
                "Use a backend that enforces parallel_tool_calls.",
            )
        self._alike = [call for call in self._calls if call.name == name]
        self._calls.append(_Call(self._new_id(), name))
        self._add_chunk("", self._calls[-1].id, name)
        self._scanner = JsonScanner()
        self._parse = self._parse_arguments
        return True

    def _parse_arguments(self) -> bool:
        length = self._scanner.feed(self._buffer)
        new, self._buffer = self._buffer[:length], self._buffer[length:]
        call = self._calls[-1]
        call.text += new
        begin = call.text.lstrip()
        self._alike = [other for other in self._alike if other.text.lstrip().startswith(begin)]
        self._add_chunk(new)
        if self._scanner.finished:
            try:
                json.loads(call.text)
            except (ValueError, RecursionError):
                raise _malformed(call.text) from None
            self._parse = self._parse_tail
            if self._alike:
                self.repetitions += 1
                self._waiting = []
                self._calls.pop()
        return True

    def _add_chunk(self, arguments: str, id_: str | None = None, name: str | None = None) -> None:
        """Add a chunk of the last call; it waits while that may turn out to be a repetition."""
        self._waiting.append(ToolCallChunk(len(self._calls) - 1, arguments, id_, name))
        if not self._alike:
            self._chunks += self._waiting
            self._waiting = []

    def _parse_tail(self) -> bool:
        """Parse the end of a call."""
        if self._match(_CALL_TAIL) is None:
            return False
        self._calls[-1].finished = True
        self._parse = self._parse_separator
        return True

    def _parse_separator(self) -> bool:
        """Parse white space after a call, up to the next call."""
        if self._skip_open_tag():
            return True
        rest = self._buffer.lstrip()
        if not OPEN_TAG.startswith(rest):
            raise _malformed(rest)
        return False

    def _skip_open_tag(self) -> bool:
        start = self._buffer.lstrip()
        if not start.startswith(OPEN_TAG):
            return False
        self._buffer = start[len(OPEN_TAG) :]
        self._parse = self._parse_head
        return True

    def _match(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        """Consume a pattern; return None if it needs more text."""
        match = pattern.match(self._buffer)
        if match is not None:
            self._buffer = self._buffer[match.end() :]
        elif len(self._buffer) > _LONGEST_HEAD:
            raise _malformed(self._buffer)
        return match


def _joined(chunks: Iterable[ToolCallChunk]) -> tuple[ToolCallChunk, ...]:
    """Return one chunk for each call, as clients expect that merge the chunks of a stream."""
    joined: dict[int, ToolCallChunk] = {}
    for chunk in chunks:
        if (before := joined.get(chunk.index)) is None:
            joined[chunk.index] = chunk
        else:
            arguments = before.arguments + chunk.arguments
            joined[chunk.index] = replace(before, arguments=arguments)
    return tuple(joined.values())


def _malformed(text: str) -> OutputError:
    return OutputError(
        f"The model wrote a tool call that cannot be read: {text[:80]!r}.",
        "Use a backend that enforces tool calls.",
    )
