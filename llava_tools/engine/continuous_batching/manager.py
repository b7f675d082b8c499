"""The contact with transformers' continuous batching, whose surface is internal.

A thread of transformers' runs the batch. Here it becomes a daemon, its output reaches the request states
that wait for it, its KV is sized, a step without enough memory costs one request and not all, and
two of its habits are mended. `sampler.py` and `shortage.py` know it too, and on CPUs `paging.py`
and `llama.py`. Checked against transformers 5.23, to which pyproject.toml pins
the range.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch
from transformers import GenerationConfig
from transformers.generation.configuration_utils import ContinuousBatchingConfig
from transformers.generation.continuous_batching.continuous_api import (
    ContinuousBatchingManager,
    ContinuousBatchProcessor,
    OutputRouter,
)
from transformers.generation.logits_process import LogitsProcessorList

from llava_tools.engine.continuous_batching.kv_layout import lay_out_by_layers
from llava_tools.engine.continuous_batching.oom_recovery import take_largest
from llava_tools.engine.continuous_batching.sampler import Sampler
from llava_tools.engine.cpu.llama import PagedLlama
from llava_tools.engine.device import free_bytes, no_memory_for, out_of_memory
from llava_tools.engine.request_state import RequestState
from llava_tools.errors import EngineClosedError, EngineCrashedError, EngineError, ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedModel
    from transformers.generation.continuous_batching.requests import GenerationOutput
    from transformers.generation.continuous_batching.requests import RequestState as BatchedState

#: Tokens of a KV block. Prompts share whole blocks, so small ones find more; 32 found 608 of 637
#: prompt tokens of a follow-up question where 256 found 512.
PAGE = 32


@dataclass(frozen=True)
class Room:
    """How much a device is given.

    Attributes:
        step_tokens: Tokens computed in one step at most; more delays the other requests, and the
            attention mask of a step grows with it.
        kv_tokens: KV that is worth having where memory is plentiful.
        kv_share: Share of the free memory that KV may take at most.
    """

    step_tokens: int
    kv_tokens: int
    kv_share: float


CPU_ROOM = Room(step_tokens=1024, kv_tokens=16_384, kv_share=0.25)
CUDA_ROOM = Room(step_tokens=4096, kv_tokens=65_536, kv_share=0.6)


class Listener(Protocol):
    """Who is told, in the model's thread, what becomes of requests."""

    #: Some requests have no reader any more.
    dropped: Callable[[], None]

    def begun(self, ticket: RequestState) -> None:
        """A request's first token is there."""
        ...

    def failed(self, ticket: RequestState, error: EngineError, *, alone: bool) -> None:
        """A request ended with an error, which its ticket has; alone, or with all others."""
        ...


class Router(OutputRouter):
    """Brings what the batch produced to the request state that waits for it."""

    def __init__(self, listener: Listener) -> None:
        super().__init__()
        self.closing = False
        self._listener = listener
        self._tickets: dict[str, RequestState] = {}

    def expect(self, ticket: RequestState) -> None:
        """Deliver to this ticket from now on."""
        self._tickets[ticket.request_id] = ticket

    def forget(self, ticket: RequestState) -> bool:
        """Deliver nothing more to this ticket; return whether anything was still to come."""
        return self._tickets.pop(ticket.request_id, None) is not None

    def cached(self, request_id: str, tokens: int) -> None:
        """Note how much of a request's prompt the KV already held."""
        if (ticket := self._tickets.get(request_id)) is not None:
            ticket.cached_tokens = max(ticket.cached_tokens, tokens)

    def deliver(self, output: GenerationOutput) -> None:
        """Hand a step to its ticket; called by the model's thread."""
        ticket = self._tickets.get(output.request_id)
        if ticket is None:  # cancelled while the step ran
            return
        if ticket.dropped:
            self._listener.dropped()
            return
        if output.is_finished():
            self.forget(ticket)
        if not ticket.begun:
            ticket.begun = True
            self._listener.begun(ticket)
        ticket.report(output.generated_tokens, output.is_finished())

    def fail_and_deliver(self, state: BatchedState, error: Exception) -> None:
        """Fail a request, as the model's thread does with all of them when it ends."""
        told: EngineError = _closed_while_running()
        if not self.closing and out_of_memory(error):
            told = no_memory_for("the requests in flight")
        elif not self.closing:
            told = EngineCrashedError(
                f"The model failed while answering: {error}.",
                "The engine starts afresh with the next request.",
            )
        self.fail(state.request_id, told, alone=False)

    def fail(self, request_id: str, error: EngineError, *, alone: bool) -> None:
        """End a request with an error; called by the model's thread."""
        ticket = self._tickets.get(request_id)
        if ticket is None:
            return
        if ticket.dropped:
            self._listener.dropped()
            return
        self.forget(ticket)
        ticket.fail(error)
        self._listener.failed(ticket, error, alone=alone)

    def deliver_batch(self, outputs: list[GenerationOutput]) -> None:
        """Hand over what a step produced."""
        for output in outputs:
            self.deliver(output)

    def fail_all(self) -> None:
        """Fail what the thread could not be made to fail in time."""
        for ticket in list(self._tickets.values()):
            if self.forget(ticket):
                ticket.fail(_closed_while_running())

    def __len__(self) -> int:
        return len(self._tickets)


class Manager(ContinuousBatchingManager):
    """The manager with our sampler and router, a daemon thread, and crashes behind our lock."""

    def __init__(
        self,
        decoder: Any,
        end_of_turn: list[int],
        config: ContinuousBatchingConfig,
        router: Router,
        lock: threading.RLock,
    ) -> None:
        self._sampler = Sampler(end_of_turn[0])
        sampling = LogitsProcessorList([self._sampler])
        decoder._get_logits_processor = lambda generation_config: sampling
        super().__init__(
            decoder, GenerationConfig(do_sample=False, eos_token_id=end_of_turn), config
        )
        self.logit_processor.tensors_required += 1  # only its own processors are counted
        self.output_router: Router = router
        self._submission = lock
        with torch.no_grad():
            # Here and not in the thread, so that a KV that does not fit is an error of the load.
            self.batch_processor = self._create_batch_processor()
        _tell_of_reuse(self.batch_processor, router)
        _share_finished(self.batch_processor)
        if _attends_itself(decoder):
            lay_out_by_layers(self.batch_processor.cache)

    def switch_to_cb_friendly_attn(self, model: Any, auto_switch_to_flash: bool = True) -> None:
        """Leave a decoder alone that brings its own attention, which takes no masks."""
        if not _attends_itself(model):
            super().switch_to_cb_friendly_attn(model, auto_switch_to_flash)

    def start(self) -> None:
        """Start the thread, as a daemon: transformers' own would keep the interpreter alive."""
        self.background_thread_status.clear()
        thread = threading.Thread(
            target=self._run_generation_loop, name="llava-tools-engine", daemon=True
        )
        self._generation_thread = thread  # type: ignore[assignment]
        thread.start()

    def _generation_step(self) -> None:
        """Do a step; where there is no memory for it, without the request that takes most."""
        processor: Any = self.batch_processor
        step = processor.inputs_and_outputs
        while step.requests_in_batch and not self._fits():
            taken = take_largest(processor)
            left = len(step.requests_in_batch)
            error = no_memory_for(f"{taken.query_length} tokens beside {left} other requests")
            self.output_router.fail(taken.state.request_id, error, alone=True)

    def _fits(self) -> bool:
        """Do a step; return whether there was memory for it."""
        try:
            super()._generation_step()
        except (MemoryError, RuntimeError) as error:
            # A token that was picked moved its request's grammar on, which cannot be taken back.
            if self._sampler.picking or not out_of_memory(error):
                raise
            return False  # the error, which holds on to what was computed, is gone by then
        return True

    def _handle_critical_error(
        self, error: Exception, batch_processor: ContinuousBatchProcessor | None
    ) -> None:
        # Under the lock no request can slip in between failing the waiting ones and refusing more.
        with self._submission:
            super()._handle_critical_error(error, batch_processor)


def _attends_itself(decoder: Any) -> bool:
    return isinstance(decoder.model, PagedLlama)


def _tell_of_reuse(processor: ContinuousBatchProcessor, router: Router) -> None:
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

    def mark(state: BatchedState, complete_blocks: dict[str, int]) -> None:
        if cache.allow_block_sharing:
            tokens = state.initial_tokens + state.generated_tokens
            for name, count in complete_blocks.items():
                cache.cache_allocators[name].mark_complete_blocks(state.request_id, tokens, count)

    cache.mark_complete_blocks = mark


def _closed_while_running() -> EngineClosedError:
    return EngineClosedError("The engine was closed while it was answering.", "Ask a new one.")


def kv_bytes(decoder: PreTrainedModel) -> int:
    """Return what one token's keys and values take."""
    text = decoder.config
    head = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    per_layer: int = 2 * text.num_key_value_heads * head * decoder.dtype.itemsize
    return int(text.num_hidden_layers) * per_layer


def batching_config(
    decoder: PreTrainedModel, context_length: int, *, prefix_caching: bool
) -> ContinuousBatchingConfig:
    """Size the KV; left to itself, transformers takes most of the memory that is free."""
    config = ContinuousBatchingConfig(
        page_size=PAGE,
        allow_block_sharing=prefix_caching,
        use_async_batching=False,  # the sampler works on the rows of the step that just ran
        use_cuda_graph=False,
        auto_switch_to_flash=False,
        max_blocks_per_request=0,
    )
    room = CUDA_ROOM if decoder.device.type == "cuda" else CPU_ROOM
    per_token = kv_bytes(decoder)
    blocks = math.ceil(context_length / PAGE) + 1
    free = free_bytes(decoder.device)
    if blocks * PAGE * per_token > free:
        raise ModelError(
            f"The KV of one request needs {blocks * PAGE * per_token / 1e9:.1f} GB, "
            f"but {free / 1e9:.1f} GB are free.",
            "Set a smaller context, or use a smaller model.",
        )
    affordable = int(min(free * room.kv_share / per_token, max(room.kv_tokens, 2 * context_length)))
    config.num_blocks = max(blocks, affordable // PAGE)
    config.max_batch_tokens = room.step_tokens
    return config
