"""From tokens to chunks: detokenizing, stop strings, log-probabilities, usage, timings."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

from llava_tools.core.outputs import Chunk, FinishReason, Timings, TokenLogprob, Usage
from llava_tools.engine.request_state import RequestState, Step
from llava_tools.engine.tokenizer import Tokenizer
from llava_tools.errors import EngineClosedError, EngineError, OutputError
from llava_tools.structured.stop_strings import StopStringFilter


class EngineStream:
    """The answer of one request, read by the caller's thread.

    Args:
        ticket: The request in flight.
        text: The checkpoint's tokenizer.
        ends: Ids that end an answer.
        usage: Prompt and image tokens, known before the first token.
        prepared: `time.perf_counter()` when the request was submitted.
        done: Called once when the answer is over or the stream closed.
        dropped: Called instead where the garbage collector finds the stream unfinished; runs at any
            point of any thread, so it may only take a note.
    """

    def __init__(
        self,
        ticket: RequestState,
        text: Tokenizer,
        ends: Sequence[int],
        usage: Usage,
        prepared: float,
        done: Callable[[RequestState], None],
        dropped: Callable[[RequestState], None],
    ) -> None:
        self._ticket = ticket
        self._codec = text
        self._ends = frozenset(ends)
        self._prompt = usage
        self._prepared = prepared
        self._done = done
        self._dropped = dropped
        self._decoder = text.decode_stream()
        self._words = StopStringFilter(ticket.sampling.stop)
        self._read = 0
        self._first: float | None = None
        self._over = False

    def __iter__(self) -> Iterator[Chunk]:
        return self

    def __next__(self) -> Chunk:
        if self._over:
            raise StopIteration
        item = self._ticket.outputs.get()
        if self._ticket.cancelled.is_set():
            self._finish()
            raise StopIteration
        if isinstance(item, EngineError):
            self._finish()
            raise item
        if item.finished and self._ticket.fault:
            self._finish()
            raise OutputError(
                f"The constraint could not be followed: {self._ticket.fault}.",
                "Make the schema simpler.",
            )
        return self._delta(item)

    def close(self) -> None:
        """Stop the generation; a thread that waits for the next chunk sees the end."""
        if not self._over:
            self._ticket.cancelled.set()
            self._ticket.fail(EngineClosedError("The stream was closed."))  # wakes the reader
            self._finish()

    def __del__(self) -> None:
        if not self._over:
            self._ticket.dropped = True
            self._dropped(self._ticket)

    def _delta(self, step: Step) -> Chunk:
        """Turn the tokens that came with a step into text."""
        self._first = self._first or step.at
        begin, new = self._read, step.tokens[self._read :]
        text = ""
        for count, token in enumerate(new, start=1):
            if token in self._ends:
                continue
            text += self._words.feed(self._decoder.step(token))
            if self._words.stopped:
                new = new[:count]
                break
        self._read += len(new)
        logprobs = self._logprobs(begin, new)
        if not step.finished and not self._words.stopped:
            return Chunk(text, tuple(new), logprobs)
        ended = self._words.stopped or bool(new and new[-1] in self._ends)
        reason: FinishReason = "stop" if ended else "length"
        if not self._words.stopped:
            text += self._words.feed(self._decoder.rest())
        self._finish()
        return Chunk(
            text + self._words.rest(),
            tuple(new),
            logprobs,
            reason,
            Usage(
                self._prompt.prompt_tokens,
                self._read,
                self._prompt.image_tokens,
                self._ticket.cached_tokens,
            ),
            Timings(
                prepare=self._prepared - self._ticket.arrived,
                first_token=self._first - self._ticket.arrived,
                total=time.perf_counter() - self._ticket.arrived,
            ),
        )

    def _logprobs(self, begin: int, new: Sequence[int]) -> tuple[TokenLogprob, ...]:
        if not self._ticket.sampling.logprobs:
            return ()
        name = self._codec.token_text
        return tuple(
            TokenLogprob(
                name(token), record.logprob, tuple((name(other), p) for other, p in record.top)
            )
            for token, record in zip(new, self._ticket.records[begin:], strict=False)
        )

    def _finish(self) -> None:
        if not self._over:
            self._over = True
            self._done(self._ticket)
