"""Answers under a constraint: text on its way in, words and tool calls on their way out, checked.

A backend generates text; `ConstrainedStream` reads it as it comes. Words pass through, calls become
`ToolCallChunk`s (id and name once, then the arguments as they are written), and nothing that was cut
off or is not of its schema reaches the end of the stream. Independent of how well the constraint
was enforced while generating: servers are seen to ignore it.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace

from llava_tools.chat.tool_calls import CLOSE, OPEN
from llava_tools.core import json_schema
from llava_tools.core.backend import Stream
from llava_tools.core.constraints import Constraint
from llava_tools.core.outputs import Chunk, FinishReason, ToolCallChunk
from llava_tools.errors import OutputError

NewId = Callable[[], str]

_HEAD = re.compile(r'\s*\{\s*"name"\s*:\s*("(?:[^"\\]|\\.)*")\s*,\s*"arguments"\s*:\s*')
_TAIL = re.compile(r"\s*\}\s*" + CLOSE)
#: Characters after which a call that has not named its tool never will.
_LONGEST_HEAD = 1024


def new_id() -> str:
    """Return a fresh id of a call."""
    return f"call_{uuid.uuid4().hex[:24]}"


def constrained(stream: Stream, constraint: Constraint, *, best_effort: bool = False) -> Stream:
    """Return a stream whose answer is read and checked; the same one where any text will do.

    Args:
        stream: Text chunks.
        constraint: What the answer has to be.
        best_effort: Whether the backend could only enforce a part of it.
    """
    if constraint.free:
        return stream
    return ConstrainedStream(stream, constraint, best_effort=best_effort)


class ConstrainedStream(Iterator[Chunk]):
    """A stream whose answer is read and checked under a constraint.

    Args:
        stream: Text chunks.
        constraint: What the answer has to be.
        best_effort: Whether the engine could only enforce a part of it.

    Raises:
        OutputError: While iterating: the answer was cut off, or is not what it had to be.
    """

    def __init__(self, stream: Stream, constraint: Constraint, *, best_effort: bool = False):
        self._stream = stream
        self._reader = ToolCallParser(constraint)
        self._best_effort = best_effort

    def __next__(self) -> Chunk:
        delta = next(self._stream)
        try:
            text, calls = self._reader.feed(delta.text)
            if delta.finish_reason is None:
                return replace(delta, text=text, tool_call_chunks=calls)
            rest, reason = self._reader.end(delta.finish_reason)
        except OutputError:
            self._stream.close()
            raise
        return replace(
            delta,
            text=text + rest,
            tool_call_chunks=calls,
            finish_reason=reason,
            best_effort=self._best_effort,
        )

    def close(self) -> None:
        """See `Stream.close`."""
        self._stream.close()


class ToolCallParser:
    """Reads one answer as it is written.

    Args:
        constraint: What the answer has to be.
        ids: Makes the ids of calls.
    """

    def __init__(self, constraint: Constraint, ids: NewId = new_id) -> None:
        self._constraint = constraint
        self._tools = {tool.name: tool for tool in constraint.callable}
        self._ids = ids
        self._held = ""
        self._words: list[str] = []
        self._calls: list[tuple[str, str]] = []
        self._reads = self._read_lead if self._tools else self._read_words
        self._scan = _Scan()
        self._pieces: list[ToolCallChunk] = []

    def feed(self, text: str) -> tuple[str, tuple[ToolCallChunk, ...]]:
        """Take new text; return the words and the pieces of calls that are certain."""
        self._held += text
        shown = len(self._words)
        self._pieces = []
        while self._held and self._reads():
            pass
        return "".join(self._words[shown:]), tuple(self._pieces)

    def end(self, reason: FinishReason) -> tuple[str, FinishReason]:
        """Check the whole answer; return the words still held and how it ended.

        Raises:
            OutputError: It was cut off inside what must be whole, or is not of its schema.
        """
        rest = ""
        if self._reads == self._read_lead:
            rest, self._held = self._held, ""
            self._words.append(rest)
        if self._reads in (self._read_head, self._read_arguments, self._read_tail):
            raise _cut("A tool call", reason)
        if self._calls:
            for name, arguments in self._calls:
                json_schema.check(
                    json.loads(arguments),
                    self._tools[name].parameters,
                    f"The call of {name}",
                )
            return rest, "tool_calls"
        if self._constraint.forced:
            if reason == "length":
                raise _cut("A tool call", reason)
            raise OutputError(
                "The model answered in words where it had to call a tool.",
                "Use a backend that enforces tool_choice.",
            )
        self._check_words(reason)
        return rest, reason

    def _check_words(self, reason: FinishReason) -> None:
        schema = self._constraint.schema
        if schema is None:
            return
        text = "".join(self._words)
        try:
            answer = json.loads(text)
        except ValueError:
            if reason == "length":
                raise _cut("The JSON answer", reason) from None
            raise OutputError(
                f"The answer is not JSON: {text[:80]!r}.", "Use a backend that enforces schemas."
            ) from None
        json_schema.check(answer, schema, "The answer")

    # Each step below reads from `_held` and returns whether it got anywhere.

    def _read_lead(self) -> bool:
        """Wait until it is certain whether the answer begins with a call."""
        begin = self._held.lstrip()
        if begin.startswith(OPEN):
            self._held = begin[len(OPEN) :]
            self._reads = self._read_head
        elif OPEN.startswith(begin):
            return False
        else:
            self._reads = self._read_words
        return True

    def _read_words(self) -> bool:
        self._words.append(self._held)
        self._held = ""
        return True

    def _read_head(self) -> bool:
        match = _HEAD.match(self._held)
        if match is None:
            if len(self._held) > _LONGEST_HEAD:
                raise _malformed(self._held)
            return False
        name = json.loads(match[1])
        if name not in self._tools:
            raise OutputError(
                f"The model called {name!r}, which is not among the tools that it may call.",
                "Use a backend that enforces tool_choice.",
            )
        if self._calls and not (
            self._constraint.parallel_tool_calls and self._constraint.tool_choice != name
        ):
            raise OutputError(
                "The model made several calls where it may make one.",
                "Use a backend that enforces parallel_tool_calls.",
            )
        self._held = self._held[match.end() :]
        self._calls.append((name, ""))
        self._pieces.append(ToolCallChunk(len(self._calls) - 1, "", self._ids(), name))
        self._scan = _Scan()
        self._reads = self._read_arguments
        return True

    def _read_arguments(self) -> bool:
        length = self._scan.feed(self._held)
        name, arguments = self._calls[-1]
        new, self._held = self._held[:length], self._held[length:]
        self._calls[-1] = (name, arguments + new)
        self._pieces.append(ToolCallChunk(len(self._calls) - 1, new))
        if self._scan.over:
            try:
                json.loads(arguments + new)
            except ValueError:
                raise _malformed(arguments + new) from None
            self._reads = self._read_tail
        return True

    def _read_tail(self) -> bool:
        match = _TAIL.match(self._held)
        if match is None:
            if len(self._held) > _LONGEST_HEAD:
                raise _malformed(self._held)
            return False
        self._held = self._held[match.end() :]
        self._reads = self._read_next
        return True

    def _read_next(self) -> bool:
        """Between calls, and after the last one."""
        begin = self._held.lstrip()
        if begin.startswith(OPEN):
            self._held = begin[len(OPEN) :]
            self._reads = self._read_head
            return True
        if not OPEN.startswith(begin):
            raise _malformed(begin)
        return False


class _Scan:
    """Finds the end of a JSON object that comes in pieces."""

    def __init__(self) -> None:
        self.over = False
        self._depth = 0
        self._quoted = False
        self._escaped = False

    def feed(self, text: str) -> int:
        """Return how many characters of `text` belong to the object."""
        for at, letter in enumerate(text, start=1):
            if self._escaped:
                self._escaped = False
            elif self._quoted:
                self._escaped = letter == "\\"
                self._quoted = letter != '"'
            elif letter == '"':
                self._quoted = True
            elif letter in "{[":
                self._depth += 1
            elif letter in "}]":
                self._depth -= 1
            if self._depth < 1 and not letter.isspace():
                self.over = True
                return at
        return len(text)


def _cut(what: str, reason: FinishReason) -> OutputError:
    if reason == "length":
        return OutputError(f"{what} was cut off by max_tokens.", "Allow more max_tokens.")
    return OutputError(f"{what} was cut off by a stop string.", "Leave the stop string out.")


def _malformed(text: str) -> OutputError:
    return OutputError(
        f"The model wrote a tool call that cannot be read: {text[:80]!r}.",
        "Use a backend that enforces tool calls.",
    )
