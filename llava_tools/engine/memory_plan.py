"""How an engine divides the memory of its device, from estimates and, on a GPU, from a trial."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from llava_tools.core.requests import SamplingParams
from llava_tools.engine import gpu_memory, image_cache, kv_cache
from llava_tools.engine.blocks import BLOCK_SIZE
from llava_tools.engine.device import activate, free_bytes, is_out_of_memory
from llava_tools.engine.gpu_memory import WorkSizes
from llava_tools.engine.kv_cache import KVCache
from llava_tools.engine.request_state import RequestState
from llava_tools.engine.runner import ModelRunner
from llava_tools.engine.sequence import Sequence as TokenSequence
from llava_tools.engine.step import Share
from llava_tools.errors import ModelError

#: What a trial takes is multiplied by this: the allocator rounds up.
_ROUNDING = 1.1


@dataclass(frozen=True)
class MemoryPlan:
    """What an engine may take.

    Attributes:
        blocks: Blocks of the KV.
        step_tokens: Tokens of a step at most.
        images_at_once: Images that the vision tower encodes at once, at most.
        kept_images: Images whose features are kept.
    """

    blocks: int
    step_tokens: int
    images_at_once: int
    kept_images: int


def plan_memory(
    config: Any,
    decoder: Any,
    token_embedding: nn.Embedding,
    encode: Callable[[Tensor], object],
    context_length: int,
    image_tokens: int,
) -> MemoryPlan:
    """Plan the memory for a model whose weights are loaded. On a GPU its largest step is tried.

    Args:
        config: Of the LLaVA.
        decoder: The language model.
        token_embedding: Its input embedding.
        encode: Runs the vision tower on pixels, float32 [images, 3, size, size].
        context_length: Tokens of a sequence at most.
        image_tokens: Tokens of an image.

    Raises:
        ModelError: A full context does not fit into memory.
    """
    device, shape = token_embedding.weight.device, decoder.kv_shape
    if device.type != "cuda":
        blocks = kv_cache.blocks_that_fit(shape, context_length, device)
        step_tokens = kv_cache.CPU_BUDGET.step_tokens
        return MemoryPlan(blocks, step_tokens, 1, image_cache.MAX_IMAGES)
    torch.cuda.empty_cache()
    free = free_bytes(device)
    costs = gpu_memory.estimate(config, shape, context_length, image_tokens)
    # Of what is left between weights, half is in pieces that are too small.
    gaps = (torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)) // 2
    work = gpu_memory.choose_work(free, gaps, costs, context_length)
    runner = ModelRunner(decoder, token_embedding, decoder.attention, KVCache(shape, 1, device))
    size = config.vision_config.image_size
    try:
        step = _peak(device, lambda: runner.run(_shares(work.step_tokens, context_length)))
        images = _peak(device, lambda: encode(torch.zeros(work.images, 3, size, size)))
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise _no_room(device, work) from error
    torch.cuda.empty_cache()
    taken = int(_ROUNDING * (step + images)) + costs.logits
    lacking = max(0, taken - gaps)
    blocks, kept_images = gpu_memory.divide(free, lacking, costs, context_length)
    return MemoryPlan(blocks, work.step_tokens, work.images, kept_images)


def _shares(rows: int, context_length: int) -> Sequence[Share]:
    """Return a step of the ends of full contexts, all of them in the KV's first block."""
    shares: list[Share] = []
    while rows:
        count = min(rows, context_length)
        sequence = TokenSequence(
            RequestState("", SamplingParams(), 0.0),
            [0] * context_length,
            computed=context_length - count,
            blocks=[0] * -(-context_length // BLOCK_SIZE),
        )
        shares.append(Share(sequence, count))
        rows -= count
    return shares


def _peak(device: torch.device, work: Callable[[], object]) -> int:
    """Return the bytes that work takes at its peak beside what is allocated before."""
    with activate(device):
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before


def _no_room(device: torch.device, work: WorkSizes) -> ModelError:
    return ModelError(
        f"The weights fit into the memory of {device}, but not a step of {work.step_tokens} "
        "tokens beside them.",
        "Use quantization='4bit', or a smaller model; `llava-tools info` says what fits.",
    )
