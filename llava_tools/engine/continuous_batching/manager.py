"""Adapts transformers' continuous batching, whose surface is internal.

transformers runs the batch in a thread. Here that thread becomes a daemon, its output reaches the
`RequestState`s, the KV is sized, a step that lacks memory fails one request instead of all, the
cached tokens of each prompt are reported, and finished requests share their last blocks too.
Checked against transformers 5.23, to which pyproject.toml pins the range.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from transformers import GenerationConfig
from transformers.generation.configuration_utils import ContinuousBatchingConfig
from transformers.generation.continuous_batching.continuous_api import (
    ContinuousBatchingManager,
    ContinuousBatchProcessor,
)
from transformers.generation.logits_process import LogitsProcessorList

from llava_tools.engine.continuous_batching.kv_layout import lay_out_by_layers
from llava_tools.engine.continuous_batching.oom_recovery import remove_largest
from llava_tools.engine.continuous_batching.router import Router
from llava_tools.engine.continuous_batching.sampler import Sampler
from llava_tools.engine.cpu.llama import PagedLlama
from llava_tools.engine.device import (
    free_bytes,
    is_out_of_memory,
    kv_error,
    out_of_memory_error,
)

if TYPE_CHECKING:
    from transformers import PreTrainedModel
    from transformers.generation.continuous_batching.requests import RequestState as BatchedState

#: Tokens of a KV block. Prompts share whole blocks, so small ones share more: 32 shared 608 of 637
#: prompt tokens of a follow-up question where 256 shared 512.
BLOCK_SIZE = 32


@dataclass(frozen=True)
class MemoryBudget:
    """How much memory and work the batch may take on a device.

    Attributes:
        step_tokens: Tokens computed in one step at most; more delays the other requests, and the
            attention mask of a step grows with it.
        kv_tokens: KV tokens at most if memory is plentiful (twice the context if that is more).
        kv_share: Share of the free memory that the KV may take at most.
    """

    step_tokens: int
    kv_tokens: int
    kv_share: float


CPU_BUDGET = MemoryBudget(step_tokens=1024, kv_tokens=16_384, kv_share=0.25)
CUDA_BUDGET = MemoryBudget(step_tokens=4096, kv_tokens=65_536, kv_share=0.6)


class Manager(ContinuousBatchingManager):
    """transformers' manager with our sampler and router.

    Its thread is a daemon, and it handles crashes under our lock.
    """

    def __init__(
        self,
        decoder: Any,
        eos_token_ids: list[int],
        config: ContinuousBatchingConfig,
        router: Router,
        lock: threading.RLock,
    ) -> None:
        self._sampler = Sampler(eos_token_ids[0])
        processors = LogitsProcessorList([self._sampler])
        decoder._get_logits_processor = lambda generation_config: processors
        super().__init__(
            decoder, GenerationConfig(do_sample=False, eos_token_id=eos_token_ids), config
        )
        self.logit_processor.tensors_required += 1  # transformers counts only its own processors
        self.output_router: Router = router
        self._submission_lock = lock
        with torch.no_grad():
            # Here and not in the thread, so that a KV that does not fit is an error of the load.
            self.batch_processor = self._create_batch_processor()
        cache = self.batch_processor.cache
        _report_cached_tokens(cache, router)
        _share_blocks_of_finished_requests(cache)
        if _has_own_attention(decoder):
            lay_out_by_layers(cache)

    def switch_to_cb_friendly_attn(self, model: Any, auto_switch_to_flash: bool = True) -> None:
        """Change nothing in a decoder with its own attention, which takes no masks."""
        if not _has_own_attention(model):
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
        """Run a step; as long as memory does not suffice, retry it without its largest request."""
        processor: Any = self.batch_processor
        step = processor.inputs_and_outputs
        while step.requests_in_batch and not self._try_step():
            removed = remove_largest(processor)
            others = len(step.requests_in_batch)
            error = out_of_memory_error(
                f"{removed.query_length} tokens beside {others} other requests"
            )
            self.output_router.fail(removed.state.request_id, error, alone=True)

    def _try_step(self) -> bool:
        """Run a step; return whether there was memory for it."""
        try:
            super()._generation_step()
        except (MemoryError, RuntimeError) as error:
            # A token that was picked has advanced its request's grammar, which cannot be undone.
            if self._sampler.picking or not is_out_of_memory(error):
                raise
            return False  # this frees the error, which holds on to what was computed
        return True

    def _handle_critical_error(
        self, error: Exception, batch_processor: ContinuousBatchProcessor | None
    ) -> None:
        # Under the lock no request can slip in between failing the waiting ones and refusing more.
        with self._submission_lock:
            super()._handle_critical_error(error, batch_processor)


def _has_own_attention(decoder: Any) -> bool:
    return isinstance(decoder.model, PagedLlama)


def _report_cached_tokens(cache: Any, router: Router) -> None:
    """Patch the cache so that the router learns how much of each prompt it already held."""
    search = cache.search_prefix_match

    def search_and_report(request_id: str, prompt_ids: list[int]) -> int:
        cached: int = search(request_id, prompt_ids)
        router.set_cached_tokens(request_id, cached)
        return cached

    cache.search_prefix_match = search_and_report


def _share_blocks_of_finished_requests(cache: Any) -> None:
    """Patch the cache so that it registers blocks that a request's last step completed.

    transformers skips finished requests, which only asynchronous batching needs. An answer of one
    token (a label, for example) would then leave nothing to share.
    """

    def mark(state: BatchedState, complete_blocks: dict[str, int]) -> None:
        if cache.allow_block_sharing:
            tokens = state.initial_tokens + state.generated_tokens
            for name, count in complete_blocks.items():
                cache.cache_allocators[name].mark_complete_blocks(state.request_id, tokens, count)

    cache.mark_complete_blocks = mark


def kv_bytes(decoder: PreTrainedModel) -> int:
    """Return the bytes of one token's keys and values."""
    config = decoder.config
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    values = 2 * config.num_hidden_layers * config.num_key_value_heads * head
    return int(values * decoder.dtype.itemsize)


def batching_config(
    decoder: PreTrainedModel, context_length: int, *, prefix_caching: bool
) -> ContinuousBatchingConfig:
    """Size the KV; transformers by default takes most of the memory that is free.

    Raises:
        ModelError: The KV of a single request does not fit into memory.
    """
    budget = CUDA_BUDGET if decoder.device.type == "cuda" else CPU_BUDGET
    per_token = kv_bytes(decoder)
    blocks = math.ceil(context_length / BLOCK_SIZE) + 1
    free = free_bytes(decoder.device)
    available = int(free * (0.8 if decoder.device.type == "cuda" else 0.5))  # transformers' limit
    if blocks * BLOCK_SIZE * per_token > available:
        raise kv_error(context_length, per_token, available)
    kv_tokens = min(free * budget.kv_share / per_token, max(budget.kv_tokens, 2 * context_length))
    return ContinuousBatchingConfig(
        page_size=BLOCK_SIZE,
        num_blocks=max(blocks, int(kv_tokens) // BLOCK_SIZE),
        max_batch_tokens=budget.step_tokens,
        allow_block_sharing=prefix_caching,
        use_async_batching=False,  # the sampler works on the rows of the step that just ran
        use_cuda_graph=False,
        auto_switch_to_flash=False,
        max_blocks_per_request=0,
    )
