"""From tokens to chunks: detokenizing, stop strings, log-probabilities, usage, timings."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

from llava_tools.core.outputs import Chunk, FinishReason, Timings, TokenLogprob, Usage
from llava_tools.engine.device import require_memory
from llava_tools.engine.process import check_process
from llava_tools.engine.request_state import RequestState, StepOutput
from llava_tools.engine.tokenizer import IncrementalDecoder, Tokenizer
from llava_tools.errors import EngineClosedError, EngineError, SchemaError
from llava_tools.structured.stop_strings import StopStringFilter


class EngineStream:
    """The answer of one request, read by the caller's thread.

    Args:
        state: The request in flight.
        tokenizer: The checkpoint's tokenizer.
        eos_token_ids: Ids that end an answer.
        on_finished: Called once when the answer is over or the stream is closed.
        on_dropped: Called instead if the stream is garbage-collected before that. It can run at any
            point of any thread, so it may only take a note.
    """

    def __init__(
        self,
        state: RequestState,
        tokenizer: Tokenizer,
        eos_token_ids: Sequence[int],
        on_finished: Callable[[RequestState], None],
        on_dropped: Callable[[RequestState], None],
    ) -> None:
        self._state = state
        self._tokenizer = tokenizer
        self._eos_token_ids = frozenset(eos_token_ids)
        self._on_finished = on_finished
        self._on_dropped = on_dropped
        self._decoder = IncrementalDecoder(tokenizer.decode)
        self._stop_filter = StopStringFilter(state.sampling.stop)
        self._token_count = 0
        self._first_token: float | None = None
        self._finished = False

    def __iter__(self) -> Iterator[Chunk]:
        return self

    def __next__(self) -> Chunk:
        if self._finished:
            raise StopIteration
        check_process()
        output = self._state.outputs.get()
        if self._finished:  # another thread has closed the stream
            raise StopIteration
        if isinstance(output, EngineError):
            self._finish()
            raise output
        if output.finished and self._state.constraint_error:
            self._finish()
            raise SchemaError(
                f"The constraint could not be followed: {self._state.constraint_error}.",
                "Make the schema simpler.",
            )
        try:
            with require_memory("the text of an answer"):
                return self._chunk(output)
        except BaseException:  # nobody reads on: the answer ends, though its stream may be kept
            self._finish()
            raise

    def close(self) -> None:
        """Stop the generation; a thread that waits for the next chunk sees the end."""
        if not self._finished:
            self._finished = True
            self._state.outputs.put(EngineClosedError("The stream was closed."))  # wakes the reader
            self._on_finished(self._state)

    def __del__(self) -> None:
        if not self._finished:
            self._state.dropped = True
            self._on_dropped(self._state)

    def _chunk(self, output: StepOutput) -> Chunk:
        """Turn the tokens that are new in a step output into text."""
        state, prompt_seconds = self._state, None
        if self._first_token is None:
            self._first_token = output.time
            prompt_seconds = state.submitted - state.arrived + state.step_seconds
        begin, new = self._token_count, output.tokens
        text = ""
        for count, token in enumerate(new, start=1):
            if token in self._eos_token_ids:
                continue
            text += self._stop_filter.feed(self._decoder.step(token))
            if self._stop_filter.stopped:
                new = new[:count]
                break
        self._token_count += len(new)
        logprobs = self._logprobs(begin, new)
        stopped = self._stop_filter.stopped
        if not output.finished and not stopped:
            return Chunk(text, tuple(new), logprobs, prompt_seconds=prompt_seconds)
        ended = stopped or bool(new and new[-1] in self._eos_token_ids)
        reason: FinishReason = "stop" if ended else "length"
        if not stopped:
            text += self._stop_filter.feed(self._decoder.rest())
        self._finish()
        return Chunk(
            text + self._stop_filter.flush(),
            tuple(new),
            logprobs,
            reason,
            Usage(
                len(state.prompt_ids), self._token_count, state.image_tokens, state.cached_tokens
            ),
            Timings(
                prepare=state.submitted - state.arrived,
                first_token=self._first_token - state.arrived,
                total=time.perf_counter() - state.arrived,
            ),
            stop_string=self._stop_filter.found,
            prompt_seconds=prompt_seconds,
        )

    def _logprobs(self, begin: int, tokens: Sequence[int]) -> tuple[TokenLogprob, ...]:
        if not self._state.sampling.logprobs:
            return ()
        text = self._tokenizer.token_text
        return tuple(
            TokenLogprob(text(token), item.logprob, tuple((text(id_), p) for id_, p in item.top))
            for token, item in zip(tokens, self._state.logprobs[begin:], strict=False)
        )

    def _finish(self) -> None:
        if not self._finished:
            self._finished = True
            self._on_finished(self._state)
