"""The only contact with transformers' continuous batching, whose surface is internal.

Token ids and a `Ticket` go in; the ticket receives steps or an error. A thread of transformers'
runs the batch; this file gives it a life that users can rely on: it is a daemon that is stopped at
exit, and a step that raises fails the requests in flight and is followed by a fresh start.
Checked against transformers 5.23; the range in pyproject.toml is pinned to it.
"""

from __future__ import annotations

import atexit
import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from transformers import GenerationConfig
from transformers.generation.configuration_utils import ContinuousBatchingConfig
from transformers.generation.continuous_batching.continuous_api import (
    ContinuousBatchingManager,
    ContinuousBatchProcessor,
    OutputRouter,
)
from transformers.generation.continuous_batching.requests import RequestStatus
from transformers.generation.logits_process import LogitsProcessorList

from llava_tools.engine.convoy import Convoy
from llava_tools.engine.device import free_bytes
from llava_tools.engine.sampler import Sampler
from llava_tools.engine.ticket import Ticket
from llava_tools.errors import EngineClosedError, EngineCrashedError, EngineError, ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedModel
    from transformers.generation.continuous_batching.requests import GenerationOutput, RequestState

#: Tokens of a KV block. Prompts share whole blocks, so small ones find more; 32 found 608 of 637
#: prompt tokens of a follow-up question where 256 found 512.
PAGE = 32
#: Prompt tokens computed in one step at most on a CPU; more only delays the other requests.
CPU_BATCH_TOKENS = 1024
#: KV that is worth having where memory is plentiful, in tokens and as a share of what is free.
CPU_KV_TOKENS = 16_384
CPU_KV_SHARE = 0.25
#: Seconds to wait for a step to end when the engine is closed.
STOP_TIMEOUT = 30.0


class PagedRuntime:
    """Runs a decoder for many requests at once.

    Args:
        decoder: A causal language model whose input embedding knows the virtual ids.
        end_of_turn: Ids that end an answer.
        context: Tokens that one request may need.
        reuse: Share the KV of common prompt beginnings.

    Raises:
        ModelError: Not even one request's KV fits into memory.
    """

    def __init__(
        self, decoder: PreTrainedModel, end_of_turn: Sequence[int], context: int, *, reuse: bool
    ) -> None:
        self._decoder = decoder
        self._words: int = decoder.config.get_text_config().vocab_size
        self._end_of_turn = list(end_of_turn)
        self._config = _batching_config(decoder, context, reuse=reuse)
        # Submission, cancellation, crash and close exclude each other. Reentrant, since failing the
        # requests of a crash comes back here through the router.
        self._lock = threading.RLock()
        self._convoy: Convoy[_Start] | None = Convoy() if reuse else None
        self._router = _Router(self)
        self._closed = False
        self._manager = self._new_manager()
        atexit.register(self.close)

    def submit(self, ids: Sequence[int], ticket: Ticket) -> None:
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
                self._convoy = self._convoy and Convoy()
            self._router.expect(ticket)
            start = _Start(list(ids), ticket)
            shared = _until_last_picture(ids, self._words)
            convoy = self._convoy if shared else None
            if convoy is None or convoy.join(hash(shared), ticket.request_id, start):
                self._add(start)

    def cancel(self, ticket: Ticket) -> None:
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

    def begun(self, ticket: Ticket) -> None:
        """Called by the model's thread with a request's first token: its convoy may follow."""
        if self._convoy is not None:
            with self._lock:
                for start in self._convoy.begun(ticket.request_id):
                    self._add(start)

    def failed(self, ticket: Ticket, error: EngineError) -> None:
        """Called by the model's thread when a request failed: those that waited for it do too."""
        if self._convoy is not None:
            with self._lock:
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

    def _new_manager(self) -> _Manager:
        """Make a manager with a KV of its own and start its thread."""
        manager = _Manager(self._decoder, self._end_of_turn, self._config, self._router, self._lock)
        manager.start()
        return manager


@dataclass(frozen=True)
class _Start:
    """What it takes to start a request."""

    ids: list[int]
    ticket: Ticket


class _Router(OutputRouter):
    """Brings what the batch produced to the ticket that waits for it."""

    def __init__(self, runtime: PagedRuntime) -> None:
        super().__init__()
        self.closing = False
        self._runtime = runtime
        self._tickets: dict[str, Ticket] = {}

    def expect(self, ticket: Ticket) -> None:
        self._tickets[ticket.request_id] = ticket

    def forget(self, ticket: Ticket) -> bool:
        return self._tickets.pop(ticket.request_id, None) is not None

    def cached(self, request_id: str, tokens: int) -> None:
        if (ticket := self._tickets.get(request_id)) is not None:
            ticket.cached_tokens = max(ticket.cached_tokens, tokens)

    def deliver(self, output: GenerationOutput) -> None:
        ticket = self._tickets.get(output.request_id)
        if ticket is None:  # cancelled while the step ran
            return
        if output.is_finished():
            self.forget(ticket)
        if output.status != RequestStatus.FAILED:
            if not ticket.begun:
                ticket.begun = True
                self._runtime.begun(ticket)
            ticket.report(output.generated_tokens, output.is_finished())
            return
        error: EngineError = _closed_while_running()
        if not self.closing:
            error = EngineCrashedError(
                f"The model failed while answering: {output.error}.",
                "The engine starts afresh with the next request.",
            )
        ticket.fail(error)
        self._runtime.failed(ticket, error)

    def deliver_batch(self, outputs: list[GenerationOutput]) -> None:
        for output in outputs:
            self.deliver(output)

    def fail_all(self) -> None:
        """Fail what the thread could not be made to fail in time."""
        for ticket in list(self._tickets.values()):
            if self.forget(ticket):
                ticket.fail(_closed_while_running())

    def __len__(self) -> int:
        return len(self._tickets)


class _Manager(ContinuousBatchingManager):
    """The manager with our sampler and router, a daemon thread, and crashes behind our lock."""

    def __init__(
        self,
        decoder: Any,
        end_of_turn: list[int],
        config: ContinuousBatchingConfig,
        router: _Router,
        lock: threading.RLock,
    ) -> None:
        sampler = LogitsProcessorList([Sampler()])
        decoder._get_logits_processor = lambda generation_config: sampler
        super().__init__(
            decoder, GenerationConfig(do_sample=False, eos_token_id=end_of_turn), config
        )
        self.logit_processor.tensors_required += 1  # only its own processors are counted
        self.output_router = router
        self._submission = lock
        with torch.no_grad():
            # Here and not in the thread, so that a KV that does not fit is an error of the load.
            self.batch_processor = self._create_batch_processor()
        _tell_of_reuse(self.batch_processor, router)
        _share_finished(self.batch_processor)

    def start(self) -> None:
        self.background_thread_status.clear()
        thread = threading.Thread(
            target=self._run_generation_loop, name="llava-tools-engine", daemon=True
        )
        self._generation_thread = thread  # type: ignore[assignment]
        thread.start()

    def _handle_critical_error(
        self, error: Exception, batch_processor: ContinuousBatchProcessor | None
    ) -> None:
        # Under the lock no request can slip in between failing the waiting ones and refusing more.
        with self._submission:
            super()._handle_critical_error(error, batch_processor)


def _until_last_picture(ids: Sequence[int], words: int) -> tuple[int, ...]:
    """Return the whole blocks of a prompt up to its last picture: what is worth waiting for."""
    end = max((place for place, token in enumerate(ids, start=1) if token >= words), default=0)
    return tuple(ids[: end // PAGE * PAGE])


def _tell_of_reuse(processor: ContinuousBatchProcessor, router: _Router) -> None:
    """Let the router know how much of each prompt the cache already held."""
    cache: Any = processor.cache
    search = cache.search_prefix_match

    def search_and_tell(request_id: str, prompt_ids: list[int]) -> int:
        found: int = search(request_id, prompt_ids)
        router.cached(request_id, found)
        return found

    cache.search_prefix_match = search_and_tell


def _share_finished(processor: ContinuousBatchProcessor) -> None:
    """Register the blocks of a request whose last step completed them.

    Registration skips finished requests, which matters to asynchronous batching only; with it, an
    answer of one token (a choice among labels, say) would leave nothing to share.
    """
    cache: Any = processor.cache

    def mark(state: RequestState, complete_blocks: dict[str, int]) -> None:
        if cache.allow_block_sharing:
            tokens = state.initial_tokens + state.generated_tokens
            for name, count in complete_blocks.items():
                cache.cache_allocators[name].mark_complete_blocks(state.request_id, tokens, count)

    cache.mark_complete_blocks = mark


def _closed_while_running() -> EngineClosedError:
    return EngineClosedError("The engine was closed while it was answering.", "Ask a new one.")


def _batching_config(
    decoder: PreTrainedModel, context: int, *, reuse: bool
) -> ContinuousBatchingConfig:
    """Size the KV: on an accelerator transformers does it, on a CPU it would take too much."""
    config = ContinuousBatchingConfig(
        page_size=PAGE,
        allow_block_sharing=reuse,
        use_async_batching=False,  # the sampler works on the rows of the step that just ran
        use_cuda_graph=False,
        auto_switch_to_flash=False,
        max_blocks_per_request=0,
    )
    if decoder.device.type == "cuda":
        return config
    text = decoder.config
    head = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    per_token = (
        2 * text.num_hidden_layers * text.num_key_value_heads * head * decoder.dtype.itemsize
    )
    blocks = math.ceil(context / PAGE) + 1
    free = free_bytes(decoder.device)
    if blocks * PAGE * per_token > free:
        raise ModelError(
            f"The KV of one request needs {blocks * PAGE * per_token / 1e9:.1f} GB, "
            f"but {free / 1e9:.1f} GB are free.",
            "Set a smaller context, or use a smaller model.",
        )
    affordable = int(min(free * CPU_KV_SHARE / per_token, max(CPU_KV_TOKENS, 2 * context)))
    config.num_blocks = max(blocks, affordable // PAGE)
    config.max_batch_tokens = CPU_BATCH_TOKENS
    return config
