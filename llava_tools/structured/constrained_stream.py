"""`ConstrainedStream`: a backend's stream with its text parsed and its answer checked.

An answer that is cut off or does not match its schema raises before the stream ends. An answer that
only repeats its calls is ended.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from llava_tools.core.backend import Stream
from llava_tools.core.constraints import Constraint
from llava_tools.core.outputs import Chunk, Usage
from llava_tools.errors import OutputError
from llava_tools.structured.parser import ToolCallParser

#: Number of repeated calls after which an answer is ended.
MAX_REPETITIONS = 3


def constrained(
    stream: Stream,
    constraint: Constraint,
    *,
    best_effort: bool = False,
    stop: Sequence[str] = (),
    usage: Usage | None = None,
) -> Stream:
    """Return a `ConstrainedStream`, or the same stream if the constraint allows any text."""
    if constraint.unconstrained:
        return stream
    return ConstrainedStream(stream, constraint, best_effort=best_effort, stop=stop, usage=usage)


class ConstrainedStream(Iterator[Chunk]):
    """A stream whose answer is parsed and checked.

    Args:
        stream: Chunks of text.
        constraint: The form of the answer.
        best_effort: Whether the backend could not enforce the constraint in full.
        stop: The request's stop strings, for errors.
        usage: Tokens of the prompt, for an answer that ends before the backend's stream does.

    Raises:
        OutputError: While iterating: the answer is cut off or violates the constraint.
    """

    def __init__(
        self,
        stream: Stream,
        constraint: Constraint,
        *,
        best_effort: bool = False,
        stop: Sequence[str] = (),
        usage: Usage | None = None,
    ) -> None:
        self._stream = stream
        self._parser = ToolCallParser(constraint, stop=stop)
        self._best_effort = best_effort
        self._usage = usage or Usage()
        self._written: list[str] = []

    def __next__(self) -> Chunk:
        chunk = next(self._stream)
        self._written.append(chunk.text)
        new_tokens = self._usage.completion_tokens + len(chunk.token_ids)
        self._usage = replace(self._usage, completion_tokens=new_tokens)
        try:
            text, calls = self._parser.feed(chunk.text)
            rest, reason = "", chunk.finish_reason
            if self._parser.repetitions >= MAX_REPETITIONS:
                self._stream.close()
                self._parser.check_calls()
                chunk, reason = replace(chunk, usage=chunk.usage or self._usage), "tool_calls"
            elif chunk.finish_reason is not None:
                rest, reason = self._parser.finish(chunk.finish_reason, chunk.stop_string)
        except OutputError as error:
            self._stream.close()
            error.text = "".join(self._written)
            error.tool_calls = self._parser.finished_calls
            raise
        return replace(
            chunk,
            text=text + rest,
            tool_call_chunks=calls,
            finish_reason=reason,
            best_effort=self._best_effort and reason is not None,
        )

    def close(self) -> None:
        """See `Stream.close`."""
        self._stream.close()
