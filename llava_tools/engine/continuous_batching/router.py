"""Delivers what the batch produces to the request states that wait for it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from transformers.generation.continuous_batching.continuous_api import OutputRouter

from llava_tools.engine.device import is_out_of_memory, out_of_memory_error
from llava_tools.engine.request_state import RequestState, StepOutput
from llava_tools.errors import EngineClosedError, EngineCrashedError, EngineError

if TYPE_CHECKING:
    from transformers.generation.continuous_batching.requests import GenerationOutput
    from transformers.generation.continuous_batching.requests import RequestState as BatchedState


class RequestCallbacks(Protocol):
    """Callbacks for changes of requests, run on the engine thread."""

    on_dropped: Callable[[], None]

    def on_first_token(self, state: RequestState) -> None:
        """A request has its first token."""

    def on_failed(self, state: RequestState, error: EngineError, *, alone: bool) -> None:
        """A request failed, alone or with all others."""


class Router(OutputRouter):
    """Delivers the output of the batch to the request states, and calls back on changes.

    Attributes:
        closing: Whether the runtime is being closed, which explains every failure.
    """

    def __init__(self, callbacks: RequestCallbacks) -> None:
        super().__init__()
        self.closing = False
        self._callbacks = callbacks
        self._states: dict[str, RequestState] = {}

    def register(self, state: RequestState) -> None:
        """Deliver to this state from now on."""
        self._states[state.request_id] = state

    def unregister(self, state: RequestState) -> bool:
        """Deliver nothing more to this state; return whether it was registered."""
        return self._states.pop(state.request_id, None) is not None

    def set_cached_tokens(self, request_id: str, tokens: int) -> None:
        """Note how much of a request's prompt the KV already held."""
        if (state := self._states.get(request_id)) is not None:
            state.cached_tokens = max(state.cached_tokens, tokens)

    def deliver(self, output: GenerationOutput) -> None:
        """Hand a step's output to its state; called on the engine thread."""
        state = self._active(output.request_id)
        if state is None:
            return
        finished = output.is_finished()
        if finished:
            self.unregister(state)
        if not state.has_output:
            state.has_output = True
            self._callbacks.on_first_token(state)
        state.outputs.put(StepOutput(output.generated_tokens, finished, time.perf_counter()))

    def fail_and_deliver(self, state: BatchedState, error: Exception) -> None:
        """Fail a request; the engine thread calls this for all of them when it ends."""
        failure: EngineError
        if self.closing:
            failure = _closed_while_running()
        elif is_out_of_memory(error):
            failure = out_of_memory_error("the requests in flight")
        else:
            failure = EngineCrashedError(
                f"The model failed while answering: {error}.",
                "The engine starts afresh with the next request.",
            )
        self.fail(state.request_id, failure, alone=False)

    def fail(self, request_id: str, error: EngineError, *, alone: bool) -> None:
        """End a request with an error, alone or with all others; called on the engine thread."""
        state = self._active(request_id)
        if state is None:
            return
        self.unregister(state)
        state.outputs.put(error)
        self._callbacks.on_failed(state, error, alone=alone)

    def deliver_batch(self, outputs: list[GenerationOutput]) -> None:
        """Hand over the outputs of a step."""
        for output in outputs:
            self.deliver(output)

    def fail_all(self) -> None:
        """Fail the requests that the engine thread did not fail in time."""
        for state in list(self._states.values()):
            if self.unregister(state):
                state.outputs.put(_closed_while_running())

    def __len__(self) -> int:
        return len(self._states)

    def _active(self, request_id: str) -> RequestState | None:
        """Return a request's state; None if it was cancelled or its stream was dropped."""
        state = self._states.get(request_id)
        if state is not None and state.dropped:
            self._callbacks.on_dropped()
            return None
        return state


def _closed_while_running() -> EngineClosedError:
    return EngineClosedError("The engine was closed while it was answering.", "Make a new one.")
