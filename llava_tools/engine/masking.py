"""Leaves out parts of images in prompts, for `LlavaEngine.score_without`.

The mean of the image's features takes the place of a token's own. The token gets a virtual id that
no other prompt has, so that the prompt shares KV with others exactly up to there; what follows is
of no use to other prompts, and its KV is not kept for them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from llava_tools.engine.device import require_memory
from llava_tools.engine.request_state import PromptImage, RequestState


class ImageMasker:
    """Leaves out image tokens of one prompt.

    Args:
        prompt: A request with that prompt.
        new_ids: Returns virtual ids for another image; called once for each image.
    """

    def __init__(self, prompt: RequestState, new_ids: Callable[[], range]) -> None:
        self._ids = [new_ids() for _ in prompt.images]

    def leave_out(self, state: RequestState, positions: Sequence[int]) -> RequestState:
        """Leave tokens out in a request that has the prompt; return the request.

        `positions` count the tokens of all images in order, from 0.

        Raises:
            MemoryExhaustedError: There is no memory for the changed features.
        """
        if positions:
            size = len(self._ids[0])
            ids = list(state.prompt_ids)
            images = list(state.images)
            for number, image in enumerate(state.images):
                tokens = [p % size for p in positions if p // size == number]
                for token in tokens:
                    ids[image.begin + token] = self._ids[number][token]
                images[number] = _replace(image, tokens)
            first = min(positions)
            state.private_from = images[first // size].begin + first % size
            state.prompt_ids, state.images = ids, images
        return state


@torch.inference_mode()
def _replace(image: PromptImage, tokens: list[int]) -> PromptImage:
    """Return an image with the mean of its features at some of its tokens."""
    if not tokens:
        return image
    with require_memory("an image with parts left out"):
        mean = image.features.float().mean(0).to(image.features.dtype)
        index = torch.tensor(tokens, device=mean.device)
        features = image.features.index_copy(0, index, mean.expand(len(tokens), -1))
    return PromptImage(image.begin, features)
