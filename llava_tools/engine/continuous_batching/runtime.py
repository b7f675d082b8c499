"""Runs requests in the batch, from submission to their end.

Token ids and a `RequestState` come in; the state receives step outputs or an error. If a step
raises, the requests in flight fail and the next one starts afresh; if a step lacks memory, only the
largest request fails. The batch stops when the interpreter exits.
"""

from __future__ import annotations

import atexit
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from llava_tools.engine.continuous_batching.manager import (
    BLOCK_SIZE,
    Manager,
    batching_config,
    kv_bytes,
)
from llava_tools.engine.continuous_batching.router import Router
from llava_tools.engine.prefill_coalescer import PrefillCoalescer
from llava_tools.engine.request_state import RequestState
from llava_tools.errors import EngineClosedError, EngineError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

#: Seconds that closing the engine waits for a step to end.
STOP_TIMEOUT = 30.0


class PagedRuntime:
    """Runs a decoder for many requests at once.

    Args:
        decoder: A causal language model whose input embedding takes the virtual ids.
        eos_token_ids: Ids that end an answer.
        context_length: Tokens that one request may need.
        prefix_caching: Share the KV of common prompt prefixes.
        on_dropped: Called on the engine thread when a request's stream was garbage-collected.

    Attributes:
        manager: transformers' manager; a new one replaces it after a crash.

    Raises:
        ModelError: The KV of a single request does not fit into memory.
    """

    def __init__(
        self,
        decoder: PreTrainedModel,
        eos_token_ids: Sequence[int],
        context_length: int,
        *,
        prefix_caching: bool,
        on_dropped: Callable[[], None],
    ) -> None:
        self.on_dropped = on_dropped
        self._decoder = decoder
        self._vocab_size: int = decoder.config.get_text_config().vocab_size
        self._eos_token_ids = list(eos_token_ids)
        self._prefix_caching = prefix_caching
        self._config = batching_config(decoder, context_length, prefix_caching=prefix_caching)
        # Submission, cancellation, crash and close exclude each other. Reentrant, since failing the
        # requests of a crash comes back here through the router.
        self._lock = threading.RLock()
        self._coalescer: PrefillCoalescer[RequestState] = PrefillCoalescer()
        self._router = Router(self)
        self._closed = False
        self.manager = self._start_manager()
        atexit.register(self.close)

    def submit(self, ids: Sequence[int], state: RequestState) -> None:
        """Queue a request; its state receives everything that follows.

        Raises:
            EngineClosedError: The runtime was closed.
        """
        state.prompt_ids, state.submitted = list(ids), time.perf_counter()
        with self._lock:
            if self._closed:
                raise EngineClosedError("The engine is closed.", "Make a new one.")
            if self.manager.background_thread_status.can_accept_new_requests() is not None:
                self.manager.join(0.0, timeout=None)
                self.manager = self._start_manager()
                self._coalescer = PrefillCoalescer()
            self._router.register(state)
            prefix = _until_last_image(ids, self._vocab_size) if self._prefix_caching else ()
            if not prefix or self._coalescer.admit(hash(prefix), state):
                self._add(state)

    def cancel(self, state: RequestState) -> None:
        """Stop generating for a request and free its KV; its state receives nothing more."""
        with self._lock:
            if not self._router.unregister(state):
                return
            started, next_states = self._coalescer.cancelled(state)
            if started:
                self.manager.cancel_request(state.request_id)
            for next_state in next_states:
                self._add(next_state)

    def close(self) -> None:
        """Fail the requests in flight with `EngineClosedError` and end the thread."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        atexit.unregister(self.close)
        self._router.closing = True
        self.manager.stop(block=True, timeout=STOP_TIMEOUT, hard_stop=True)
        self._router.fail_all()

    @property
    def idle(self) -> bool:
        """Whether all submitted requests have ended."""
        return not self._router and not self._coalescer

    @property
    def kv(self) -> tuple[int, int]:
        """Tokens that the KV holds, and the bytes that each takes."""
        assert self._config.num_blocks is not None
        return self._config.num_blocks * BLOCK_SIZE, kv_bytes(self._decoder)

    def on_first_token(self, state: RequestState) -> None:
        """Start the requests that waited for this one; called on the engine thread."""
        with self._lock:
            for waiting in self._coalescer.prefilled(state):
                self._add(waiting)

    def on_failed(self, state: RequestState, error: EngineError, *, alone: bool) -> None:
        """Handle a failed request, whose state has the error; called on the engine thread.

        If it failed alone, the first that waited for it starts; else all of them fail too.
        """
        with self._lock:
            if alone:
                for waiting in self._coalescer.cancelled(state)[1]:
                    self._add(waiting)
                return
            for waiting in self._coalescer.failed(state):
                if self._router.unregister(waiting):
                    waiting.outputs.put(error)

    def _add(self, state: RequestState) -> None:
        self.manager.add_request(
            state.prompt_ids,
            request_id=state.request_id,
            max_new_tokens=state.max_tokens,
            streaming=True,
            eos_token_id=self._eos_token_ids,
            state=state,
        )

    def _start_manager(self) -> Manager:
        """Return a new manager with a KV of its own and a running thread."""
        manager = Manager(
            self._decoder, self._eos_token_ids, self._config, self._router, self._lock
        )
        manager.start()
        return manager


def _until_last_image(ids: Sequence[int], vocab_size: int) -> tuple[int, ...]:
    """Return the whole blocks of a prompt up to its last image: the prefix worth waiting for."""
    end = max((i for i, token in enumerate(ids, start=1) if token >= vocab_size), default=0)
    return tuple(ids[: end // BLOCK_SIZE * BLOCK_SIZE])
