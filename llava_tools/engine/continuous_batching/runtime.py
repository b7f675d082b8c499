"""Requests into the batch, and their lives: convoys, cancellation, crashes, the end.

Token ids and a `RequestState` go in; the request state receives steps or an error. A step that raises fails the
requests in flight and is followed by a fresh start; one without enough memory fails the request
that takes most of it. An interpreter that exits stops the batch.
"""

from __future__ import annotations

import atexit
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llava_tools.engine.continuous_batching.manager import (
    PAGE,
    Manager,
    Router,
    batching_config,
    kv_bytes,
)
from llava_tools.engine.prefill_coalescer import PrefillCoalescer
from llava_tools.engine.request_state import RequestState
from llava_tools.errors import EngineClosedError, EngineError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

#: Seconds to wait for a step to end when the engine is closed.
STOP_TIMEOUT = 30.0


class PagedRuntime:
    """Runs a decoder for many requests at once.

    Args:
        decoder: A causal language model whose input embedding knows the virtual ids.
        end_of_turn: Ids that end an answer.
        context: Tokens that one request may need.
        reuse: Share the KV of common prompt beginnings.
        on_dropped: Called in the model's thread when a request turns out to have no reader.

    Raises:
        ModelError: Not even one request's KV fits into memory.
    """

    def __init__(
        self,
        decoder: PreTrainedModel,
        end_of_turn: Sequence[int],
        context_length: int,
        *,
        prefix_caching: bool,
        on_dropped: Callable[[], None],
    ) -> None:
        self._decoder = decoder
        self.dropped = on_dropped
        self._words: int = decoder.config.get_text_config().vocab_size
        self._end_of_turn = list(end_of_turn)
        self._config = batching_config(decoder, context_length, prefix_caching=prefix_caching)
        # Submission, cancellation, crash and close exclude each other. Reentrant, since failing the
        # requests of a crash comes back here through the router.
        self._lock = threading.RLock()
        self._convoy: PrefillCoalescer[_Start] | None = (
            PrefillCoalescer() if prefix_caching else None
        )
        self._router = Router(self)
        self._closed = False
        self._manager = self._new_manager()
        atexit.register(self.close)

    def submit(self, ids: Sequence[int], ticket: RequestState) -> None:
        """Queue a request; its ticket receives everything that follows.

        Raises:
            EngineClosedError: The runtime was closed.
        """
        with self._lock:
            if self._closed:
                raise EngineClosedError("The engine is closed.", "Make a new one.")
            if self._manager.background_thread_status.can_accept_new_requests() is not None:
                self._manager.join(0.0, timeout=None)
                self._manager = self._new_manager()
                self._convoy = self._convoy and PrefillCoalescer()
            self._router.expect(ticket)
            start = _Start(list(ids), ticket)
            shared = _until_last_image(ids, self._words)
            convoy = self._convoy if shared else None
            if convoy is None or convoy.join(hash(shared), ticket.request_id, start):
                self._add(start)

    def cancel(self, ticket: RequestState) -> None:
        """Stop generating for a request and free its KV; nothing more reaches its ticket."""
        with self._lock:
            if not self._router.forget(ticket):
                return
            started, next_ones = True, list[_Start]()
            if self._convoy is not None:
                started, next_ones = self._convoy.left(ticket.request_id)
            if started:
                self._manager.cancel_request(ticket.request_id)
            for start in next_ones:
                self._add(start)

    def close(self) -> None:
        """Fail the requests in flight with `EngineClosedError` and end the thread."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        atexit.unregister(self.close)
        self._router.closing = True
        self._manager.stop(block=True, timeout=STOP_TIMEOUT, hard_stop=True)
        self._router.fail_all()

    @property
    def in_flight(self) -> int:
        """Requests that were submitted and are not over."""
        return len(self._router)

    @property
    def kv(self) -> tuple[int, int]:
        """Tokens that the KV holds, and the bytes that each takes."""
        assert self._config.num_blocks is not None
        return self._config.num_blocks * PAGE, kv_bytes(self._decoder)

    def begun(self, ticket: RequestState) -> None:
        """Called by the model's thread with a request's first token: its convoy may follow."""
        if self._convoy is not None:
            with self._lock:
                for start in self._convoy.begun(ticket.request_id):
                    self._add(start)

    def failed(self, ticket: RequestState, error: EngineError, *, alone: bool) -> None:
        """Called by the model's thread when a request failed.

        Those that waited for it fail too; where it failed alone, the first of them goes ahead.
        """
        if self._convoy is None:
            return
        with self._lock:
            if alone:
                for start in self._convoy.left(ticket.request_id)[1]:
                    self._add(start)
                return
            for start in self._convoy.failed(ticket.request_id):
                if self._router.forget(start.ticket):
                    start.ticket.fail(error)

    def _add(self, start: _Start) -> None:
        self._manager.add_request(
            start.ids,
            request_id=start.ticket.request_id,
            max_new_tokens=start.ticket.max_tokens,
            streaming=True,
            eos_token_id=self._end_of_turn,
            ticket=start.ticket,
        )

    def _new_manager(self) -> Manager:
        """Make a manager with a KV of its own and start its thread."""
        manager = Manager(self._decoder, self._end_of_turn, self._config, self._router, self._lock)
        manager.start()
        return manager


@dataclass(frozen=True)
class _Start:
    """What it takes to start a request."""

    ids: list[int]
    ticket: RequestState


def _until_last_image(ids: Sequence[int], words: int) -> tuple[int, ...]:
    """Return the whole blocks of a prompt up to its last image: what is worth waiting for."""
    end = max((place for place, token in enumerate(ids, start=1) if token >= words), default=0)
    return tuple(ids[: end // PAGE * PAGE])
