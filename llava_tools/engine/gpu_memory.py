"""Divides a GPU's memory, once the weights are loaded: KV, steps, the vision tower, kept images.

The KV of one full context comes first. What is left decides how many tokens a step computes and how
many images are encoded at once; the KV gets most of the rest.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from llava_tools.engine import image_batcher, image_cache
from llava_tools.engine.blocks import BLOCK_SIZE
from llava_tools.engine.device import kv_error
from llava_tools.engine.kv_cache import KVShape

#: Tokens computed in one step at most; more delays the other requests.
_STEP_TOKENS = 4096

#: KV tokens at most if memory is plentiful (twice the context if that is more).
_KV_TOKENS = 65_536

#: Share that the KV gets of what nothing else needs; memory is fragmented.
_KV_SHARE = 0.9

#: Bytes of CUDA graphs and of workspaces of libraries.
_FIXED = 128 << 20

#: Output rows of a step that memory is reserved for.
_OUTPUTS = 64

#: Bytes of a logit: of the model, in float32, masked, and with noise.
_LOGIT = 14


@dataclass(frozen=True)
class Costs:
    """Bytes that computing takes, estimated from above.

    Attributes:
        context: The KV of a full context, in whole blocks, and the spare block.
        block: The KV of a block.
        row: A row of a step.
        gathered: Keys and values that attention gathers for a full context in one layer.
        logits: Those of a step, and what the sampler makes of them.
        image: An image in the vision tower.
        features: The features of an image.
    """

    context: int
    block: int
    row: int
    gathered: int
    logits: int
    image: int
    features: int


@dataclass(frozen=True)
class WorkSizes:
    """How much is computed at once.

    Attributes:
        step_tokens: Tokens of a step at most.
        images: Images that the vision tower encodes at once, at most.
    """

    step_tokens: int
    images: int

    def bytes(self, costs: Costs) -> int:
        """Return the estimated bytes of the largest step and the largest batch of images."""
        step = self.step_tokens * costs.row + costs.gathered + costs.logits
        return step + self.images * costs.image


def estimate(config: Any, shape: KVShape, context_length: int, image_tokens: int) -> Costs:
    """Estimate costs.

    Args:
        config: Of the LLaVA.
        shape: Of a token's KV.
        context_length: Tokens of a sequence at most.
        image_tokens: Tokens of an image.
    """
    text, vision, size = config.text_config, config.vision_config, shape.dtype.itemsize
    heads = text.num_attention_heads + 2 * shape.kv_heads
    # Sums in float32 and their norms; projections and what is rotated; the gated layer.
    row = (12 + 2 * size) * text.hidden_size
    row += (2 * size + 8) * heads * shape.head_dim + 3 * size * _intermediate_size(text)
    patches = (vision.image_size // vision.patch_size) ** 2 + 1
    block = BLOCK_SIZE * shape.token_bytes
    return Costs(
        context=(math.ceil(context_length / BLOCK_SIZE) + 1) * block,
        block=block,
        row=row,
        gathered=context_length * shape.token_bytes // shape.layers,
        logits=_OUTPUTS * _LOGIT * text.vocab_size,
        image=patches * size * (10 * vision.hidden_size + 3 * vision.intermediate_size)
        + 3 * size * image_tokens * text.hidden_size,
        features=image_tokens * text.hidden_size * size,
    )


def _intermediate_size(text: Any) -> int:
    """Return the width of a language model's gated layers, which some families name otherwise."""
    size = getattr(text, "intermediate_size", None) or 4 * text.hidden_size
    return max(size) if isinstance(size, list) else int(size)


def choose_work(free: int, gaps: int, costs: Costs, context_length: int) -> WorkSizes:
    """Return how much to compute at once: in half of what a full context leaves, or the least.

    Args:
        free: Free bytes.
        gaps: Bytes that torch holds and can use again, though not for the KV.
        costs: See `Costs`.
        context_length: Tokens of a sequence at most.

    Raises:
        ModelError: A full context does not fit beside the least.
    """
    least = WorkSizes(256, 1)
    spare = free - _FIXED - costs.context - costs.features
    lacking = max(0, least.bytes(costs) - gaps)
    if spare < lacking:
        token = costs.block // BLOCK_SIZE
        raise kv_error(context_length, token, max(0, spare + costs.context - lacking))
    tokens, images = _STEP_TOKENS, image_batcher.MAX_IMAGES
    while WorkSizes(tokens, images).bytes(costs) > (spare + gaps) // 2 and (tokens, images) != (
        256,
        1,
    ):
        tokens, images = max(256, tokens // 2), max(1, images // 2)
    return WorkSizes(tokens, images)


def divide(free: int, work_bytes: int, costs: Costs, context_length: int) -> tuple[int, int]:
    """Return how many blocks the KV gets, and how many images' features are kept.

    Args:
        free: Bytes that were free before the work.
        work_bytes: Bytes that the largest step and the largest batch of images take of them.
        costs: See `Costs`.
        context_length: Tokens of a sequence at most.

    Raises:
        ModelError: A full context does not fit.
    """
    left = free - _FIXED - work_bytes
    spare = left - costs.context
    if spare < costs.features:
        token = costs.block // BLOCK_SIZE
        raise kv_error(context_length, token, max(0, left - costs.features))
    images = max(1, min(image_cache.MAX_IMAGES, spare // 4 // costs.features))
    tokens = max(_KV_TOKENS, 2 * context_length)
    share = costs.context + _KV_SHARE * (spare - images * costs.features)
    return min(int(share) // costs.block - 1, math.ceil(tokens / BLOCK_SIZE)), images
