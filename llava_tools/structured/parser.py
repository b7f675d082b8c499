"""Incremental parser of constrained answers: text in; checked text and tool calls out.

`ConstrainedStream` wraps the stream of a backend. Text passes through, and calls become
`ToolCallChunk`s: id and name first, then the arguments as they arrive. An answer that is cut off or
does not match its schema raises before the stream ends, even if the backend ignored the constraint.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from llava_tools.chat.tool_calls import CLOSE_TAG, OPEN_TAG
from llava_tools.core import json_schema
from llava_tools.core.backend import Stream
from llava_tools.core.constraints import Constraint
from llava_tools.core.outputs import Chunk, FinishReason, ToolCallChunk
from llava_tools.errors import OutputError

_CALL_HEAD = re.compile(r'\s*\{\s*"name"\s*:\s*("(?:[^"\\]|\\.)*")\s*,\s*"arguments"\s*:\s*')
_CALL_TAIL = re.compile(r"\s*\}\s*" + CLOSE_TAG)
#: Maximum number of characters before the arguments of a call, and after them.
_LONGEST_HEAD = 1024


def new_call_id() -> str:
    """Return a new id for a tool call."""
    return f"call_{uuid.uuid4().hex[:24]}"


def constrained(stream: Stream, constraint: Constraint, *, best_effort: bool = False) -> Stream:
    """Return a `ConstrainedStream`, or the same stream if the constraint allows any text."""
    if constraint.unconstrained:
        return stream
    return ConstrainedStream(stream, constraint, best_effort=best_effort)


class ConstrainedStream(Iterator[Chunk]):
    """A stream whose answer is parsed and checked.

    Args:
        stream: Chunks of text.
        constraint: The form of the answer.
        best_effort: Whether the backend could not enforce the constraint in full.

    Raises:
        OutputError: While iterating: the answer is cut off or violates the constraint.
    """

    def __init__(self, stream: Stream, constraint: Constraint, *, best_effort: bool = False):
        self._stream = stream
        self._parser = ToolCallParser(constraint)
        self._best_effort = best_effort
        self._written: list[str] = []

    def __next__(self) -> Chunk:
        chunk = next(self._stream)
        self._written.append(chunk.text)
        try:
            text, calls = self._parser.feed(chunk.text)
            if chunk.finish_reason is None:
                return replace(chunk, text=text, tool_call_chunks=calls)
            rest, reason = self._parser.finish(chunk.finish_reason)
        except OutputError as error:
            self._stream.close()
            error.text = "".join(self._written)
            raise
        return replace(
            chunk,
            text=text + rest,
            tool_call_chunks=calls,
            finish_reason=reason,
            best_effort=self._best_effort,
        )

    def close(self) -> None:
        """See `Stream.close`."""
        self._stream.close()


class ToolCallParser:
    """Parses one answer incrementally.

    `_parse` is the current state: a method that consumes a part of `_buffer` and may set the next
    state. It returns False if it needs more text.

    Args:
        constraint: The form of the answer.
        new_id: Returns the id of a new call.
    """

    def __init__(self, constraint: Constraint, new_id: Callable[[], str] = new_call_id) -> None:
        self._constraint = constraint
        self._tools = {tool.name: tool for tool in constraint.callable_tools}
        self._new_id = new_id
        self._buffer = ""
        self._texts: list[str] = []
        self._calls: list[tuple[str, str]] = []  # name and the arguments' JSON so far
        self._chunks: list[ToolCallChunk] = []
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

    def finish(self, reason: FinishReason) -> tuple[str, FinishReason]:
        """Check the whole answer; return the rest of the text and the finish reason.

        Raises:
            OutputError: A call or the JSON is cut off, or the answer violates the constraint.
        """
        rest = ""
        if self._parse == self._parse_start:
            rest, self._buffer = self._buffer, ""
            self._texts.append(rest)
        if self._parse in (self._parse_head, self._parse_arguments, self._parse_tail):
            raise _cut_off("A tool call", reason)
        if self._calls:
            for name, arguments in self._calls:
                parameters = self._tools[name].parameters
                json_schema.validate(json.loads(arguments), parameters, f"The call of {name}")
            return rest, "tool_calls"
        if self._constraint.requires_call:
            if reason == "length":
                raise _cut_off("A tool call", reason)
            raise OutputError(
                "The model answered in text where it had to call a tool.",
                "Use a backend that enforces tool_choice.",
            )
        self._check_text(reason)
        return rest, reason

    def _check_text(self, reason: FinishReason) -> None:
        schema = self._constraint.schema
        if schema is None:
            return
        text = "".join(self._texts)
        try:
            answer = json.loads(text)
        except ValueError:
            if reason == "length":
                raise _cut_off("The JSON answer", reason) from None
            raise OutputError(
                f"The answer is not JSON: {text[:80]!r}.", "Use a backend that enforces schemas."
            ) from None
        json_schema.validate(answer, schema, "The answer")

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
        self._calls.append((name, ""))
        self._chunks.append(ToolCallChunk(len(self._calls) - 1, "", self._new_id(), name))
        self._scanner = JsonScanner()
        self._parse = self._parse_arguments
        return True

    def _parse_arguments(self) -> bool:
        length = self._scanner.feed(self._buffer)
        new, self._buffer = self._buffer[:length], self._buffer[length:]
        name, arguments = self._calls[-1]
        arguments += new
        self._calls[-1] = (name, arguments)
        self._chunks.append(ToolCallChunk(len(self._calls) - 1, new))
        if self._scanner.finished:
            try:
                json.loads(arguments)
            except ValueError:
                raise _malformed(arguments) from None
            self._parse = self._parse_tail
        return True

    def _parse_tail(self) -> bool:
        """Parse the end of a call."""
        if self._match(_CALL_TAIL) is None:
            return False
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


class JsonScanner:
    """Finds the end of a JSON object that arrives in chunks."""

    def __init__(self) -> None:
        self.finished = False
        self._depth = 0
        self._in_string = False
        self._escaped = False

    def feed(self, text: str) -> int:
        """Return the number of characters of `text` that belong to the object."""
        for length, character in enumerate(text, start=1):
            if self._escaped:
                self._escaped = False
            elif self._in_string:
                self._escaped = character == "\\"
                self._in_string = character != '"'
            elif character == '"':
                self._in_string = True
            elif character in "{[":
                self._depth += 1
            elif character in "}]":
                self._depth -= 1
            if self._depth < 1 and not character.isspace():
                self.finished = True
                return length
        return len(text)


def _cut_off(subject: str, reason: FinishReason) -> OutputError:
    if reason == "length":
        return OutputError(f"{subject} was cut off by max_tokens.", "Allow more max_tokens.")
    return OutputError(f"{subject} was cut off by a stop string.", "Leave the stop string out.")


def _malformed(text: str) -> OutputError:
    return OutputError(
        f"The model wrote a tool call that cannot be read: {text[:80]!r}.",
        "Use a backend that enforces tool calls.",
    )
