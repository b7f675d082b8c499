"""The engine's thread: takes requests, runs steps, hands out tokens.

A step: the scheduler chooses the next tokens of some sequences; the runner computes them; the
sampler picks a token for each sequence whose tokens are all computed; each goes to its caller, and
sequences that ended leave. If a step lacks memory it is repeated without its largest sequence,
which fails; if it raises anything else, all requests in flight fail and the next one starts afresh.
"""

from __future__ import annotations

import atexit
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING

from llava_tools.engine.blocks import BlockManager
from llava_tools.engine.device import (
    crashed_error,
    is_out_of_memory,
    is_unrecoverable,
    out_of_memory_error,
)
from llava_tools.engine.process import check_process, is_forked
from llava_tools.engine.request_state import RequestState, StepOutput
from llava_tools.engine.sampler import Sampler
from llava_tools.engine.scheduler import Scheduler
from llava_tools.engine.sequence import Sequence
from llava_tools.engine.step import Share, StepLogits
from llava_tools.errors import EngineClosedError, EngineError

if TYPE_CHECKING:
    from llava_tools.engine.runner import ModelRunner

#: Seconds that closing the engine waits for a step to end.
STOP_TIMEOUT = 30.0


class EngineLoop:
    """Runs requests for many callers in one batch.

    Args:
        runner: Computes steps.
        blocks: The blocks of the runner's KV.
        eos_token_ids: Ids that end an answer.
        step_tokens: Tokens of a step at most.
        on_dropped: Called on the engine thread when a request's stream was garbage-collected.

    Attributes:
        runner: Computes steps.
    """

    def __init__(
        self,
        runner: ModelRunner,
        blocks: BlockManager,
        eos_token_ids: Collection[int],
        step_tokens: int,
        on_dropped: Callable[[], None],
    ) -> None:
        self.runner = runner
        self._blocks = blocks
        self._eos_token_ids = frozenset(eos_token_ids)
        self._sampler = Sampler(min(eos_token_ids))
        self._on_dropped = on_dropped
        self._scheduler = Scheduler(blocks, step_tokens)
        self._changed = threading.Condition()  # guards what follows
        self._submitted: deque[RequestState] = deque()
        self._active: dict[str, RequestState] = {}  # submitted, and neither finished nor cancelled
        self._thread: threading.Thread | None = None
        self._failure: EngineError | None = None  # after which no request is taken
        atexit.register(self.close)

    def submit(self, state: RequestState) -> None:
        """Queue a request; its state receives everything that follows.

        Raises:
            EngineClosedError: The engine was closed.
            EngineCrashedError: The device has failed for good.
            EngineError: This process was forked from the one that loaded the engine.
        """
        check_process()
        state.submitted = time.perf_counter()
        with self._changed:
            if self._failure is not None:
                raise self._failure
            self._active[state.request_id] = state
            self._submitted.append(state)
            if self._thread is None or not self._thread.is_alive():
                # A daemon: a thread that is not would keep the interpreter alive.
                self._thread = threading.Thread(
                    target=self._run, name="llava-tools-engine", daemon=True
                )
                self._thread.start()
            self._changed.notify()

    def cancel(self, state: RequestState) -> None:
        """Stop generating for a request; its state receives nothing more."""
        with self._changed:
            self._active.pop(state.request_id, None)
            self._changed.notify()

    def close(self) -> None:
        """Fail the requests in flight with `EngineClosedError` and end the thread."""
        if is_forked():
            return
        with self._changed:
            already_closed = isinstance(self._failure, EngineClosedError)
            self._failure = EngineClosedError("The engine is closed.", "Make a new one.")
            self._changed.notify()
            thread = self._thread
        if already_closed:
            return
        atexit.unregister(self.close)
        if thread is not None and thread is not threading.current_thread():
            thread.join(STOP_TIMEOUT)
        self._fail_all(_closed_while_running())

    @property
    def idle(self) -> bool:
        """Whether all submitted requests have ended."""
        return not self._active

    def _run(self) -> None:
        """Run steps until the engine is closed."""
        try:
            while self._take_submitted():
                self._step()
        except BaseException as error:
            self._crash(error)
            if not isinstance(error, Exception):
                raise

    def _take_submitted(self) -> bool:
        """Wait for work; follow submissions and cancellations. False if the engine is closed."""
        with self._changed:
            while not (self._submitted or self._failure or self._scheduler):
                self._changed.wait()
            if self._failure is not None:
                return False
            while self._submitted:
                state = self._submitted.popleft()
                self._scheduler.add(self._new_sequence(state))
            dropped = [item for item in self._scheduler if item.state.dropped]
            cancelled = [s for s in self._scheduler if s.state.request_id not in self._active]
        for sequence in dict.fromkeys([*cancelled, *dropped]):
            self._scheduler.remove(sequence)
        if dropped:
            self._on_dropped()
        return True

    def _new_sequence(self, state: RequestState) -> Sequence:
        """Return a request's sequence: its prompt, and what of the answer is sure beforehand.

        At least one token of the answer is left to sample.
        """
        tokens = [*state.prompt_ids, *state.label[:-1]]
        if not state.label:
            forced = _forced_tokens(state, state.max_tokens - 1)
            tokens += [token for token in forced if token not in self._eos_token_ids]
        state.tokens = tokens
        return Sequence(state, tokens, delivered=len(state.prompt_ids))

    def _step(self) -> None:
        shares = self._scheduler.schedule()
        start = time.perf_counter()
        result = self._compute(shares)
        if result is None:
            return
        begin = 0
        sampled: list[Sequence] = []
        sampled_rows: list[int] = []
        for share, rows in zip(shares, result.rows, strict=True):
            self._scheduler.advance(share)
            if share.sequence.state.label:
                self._score(share.sequence, result, begin, rows)
            elif rows:
                sampled.append(share.sequence)
                sampled_rows.append(begin)
            begin += rows
        tokens: Iterable[int] = ()
        if sampled:
            logits = result.logits
            if len(sampled) < len(logits):
                logits = logits[sampled_rows]
            tokens = self._sampler.sample(logits, [item.state for item in sampled])
        _divide(time.perf_counter() - start, shares)
        for sequence, token in zip(sampled, tokens, strict=True):
            self._append(sequence, token)

    def _compute(self, shares: list[Share]) -> StepLogits | None:
        """Compute a step; as long as memory does not suffice, without its largest sequence.

        `shares` loses the sequences that failed. None if nothing is left.
        """
        while shares:
            try:
                return self.runner.run(shares)
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
            # Here the error is freed, which holds on to what was computed.
            largest = max(shares, key=lambda share: (share.rows, share.sequence.state.submitted))
            shares.remove(largest)
            self._end(
                largest.sequence,
                out_of_memory_error(f"{largest.rows} tokens beside {len(shares)} other requests"),
            )
        return None

    def _score(self, sequence: Sequence, result: StepLogits, begin: int, rows: int) -> None:
        """Record the log-probabilities of a label's tokens; after the last one it is finished."""
        state = sequence.state
        if rows:
            self._sampler.score(result.logits[begin : begin + rows], state)
        if len(state.logprobs) == len(state.label):
            self._end(sequence, StepOutput(state.label, True, time.perf_counter()))

    def _append(self, sequence: Sequence, token: int) -> None:
        """Add a token, and those that it forces, to an answer; deliver them."""
        state = sequence.state
        sequence.tokens.append(token)
        ended = token in self._eos_token_ids
        if not ended:
            end = len(state.prompt_ids) + state.max_tokens
            sequence.tokens += _forced_tokens(state, end - len(sequence.tokens))
            ended = len(sequence.tokens) == end
            ended |= sequence.tokens[-1] in self._eos_token_ids
        tokens = sequence.tokens[sequence.delivered :]
        sequence.delivered = len(sequence.tokens)
        output = StepOutput(tokens, ended, time.perf_counter())
        if ended:
            self._end(sequence, output)
        else:
            state.outputs.put(output)

    def _end(self, sequence: Sequence, output: StepOutput | EngineError) -> None:
        """Remove a sequence, and hand its last output or its error to its caller."""
        self._scheduler.remove(sequence)
        with self._changed:
            if self._active.pop(sequence.state.request_id, None) is not None:
                sequence.state.outputs.put(output)

    def _crash(self, error: BaseException) -> None:
        """Fail all requests; what the KV holds is forgotten."""
        failure: EngineError = crashed_error(error)
        if is_out_of_memory(error):
            failure = out_of_memory_error("the requests in flight")
        with self._changed:
            if is_unrecoverable(error):
                self._failure = failure
            for sequence in list(self._scheduler):
                self._scheduler.remove(sequence)
            self._blocks.clear()
            self._submitted.clear()
            self._thread = None
            failed = self._take_active()
        _put(failed, failure)

    def _fail_all(self, error: EngineError) -> None:
        with self._changed:
            failed = self._take_active()
        _put(failed, error)

    def _take_active(self) -> list[RequestState]:
        states = list(self._active.values())
        self._active.clear()
        return states


def _forced_tokens(state: RequestState, limit: int) -> list[int]:
    """Return what a constraint leaves no choice about, `limit` tokens at most.

    A request for log-probabilities has none: each of its tokens needs a row of its own.
    """
    if state.constraint is None or state.constraint_error or state.sampling.logprobs:
        return []
    return state.constraint.forced_tokens(limit)


def _divide(seconds: float, shares: Collection[Share]) -> None:
    """Add the duration of a step to its requests, by their tokens."""
    each = seconds / sum(share.rows for share in shares)
    for share in shares:
        share.sequence.state.step_seconds += each * share.rows


def _put(states: Iterable[RequestState], error: EngineError) -> None:
    for state in states:
        state.outputs.put(error)


def _closed_while_running() -> EngineClosedError:
    return EngineClosedError("The engine was closed while it was answering.", "Make a new one.")
