"""The peer that is always there: `LlavaForConditionalGeneration.generate`, one after the other."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import torch
from transformers.generation.streamers import BaseStreamer

from llava_tools.bench.peers import Run
from llava_tools.chat import prompt
from llava_tools.core.requests import DEFAULT_MAX_TOKENS, Message, Request
from llava_tools.engine.loading.checkpoint import load
from llava_tools.images import ImageRef
from llava_tools.options import EngineOptions


class Generate:
    """Plain `generate` on the pixels and token ids that the engine would be given.

    It loads the model once more, since the engine changes the one that it runs.

    Args:
        options: What to load.

    Raises:
        ModelError: It cannot be loaded.
    """

    name = "generate"

    def __init__(self, options: EngineOptions) -> None:
        self._loaded = load(options)

    def tokens(
        self,
        messages: Sequence[Message],
        limit: int,
        *,
        exact: bool = False,
        watch: BaseStreamer | None = None,
    ) -> list[int]:
        """Return the likeliest answer's ids, the end of the turn among them.

        Args:
            messages: The conversation.
            limit: New tokens at most.
            exact: Go on to `limit` tokens, without an end before.
            watch: Told of every token when it comes.
        """
        loaded = self._loaded
        model: Any = loaded.model
        pieces = prompt.build(messages)
        placeholder = [model.config.image_token_index] * loaded.image_tokens
        listed = loaded.tokenizer.tokenize(pieces, lambda ref: placeholder)
        ids = torch.tensor([listed], device=model.device)
        images = [piece for piece in pieces if isinstance(piece, ImageRef)]
        vision_inputs: dict[str, torch.Tensor] = {}
        if images:
            vision_inputs["pixel_values"] = loaded.pixels(images).to(model.device, model.dtype)
        with torch.inference_mode():
            out = model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=limit,
                min_new_tokens=limit if exact else None,
                do_sample=False,
                eos_token_id=list(loaded.eos_token_ids),
                pad_token_id=0,
                streamer=watch,
                **vision_inputs,
            )
        new: list[int] = out[0, ids.shape[1] :].tolist()
        return new

    def run(self, request: Request) -> Run:
        """See `Contender.run`."""
        clock = _Clock()
        begin = time.perf_counter()
        limit = request.sampling.max_tokens or DEFAULT_MAX_TOKENS
        tokens = self.tokens(request.messages, limit, watch=clock)
        return Run(clock.first - begin, time.perf_counter() - begin, len(tokens))

    def run_all(self, requests: Sequence[Request]) -> float:
        """See `Contender.run_all`: `generate` knows no requests that come while it runs."""
        return sum(self.run(request).total for request in requests)


class _Clock(BaseStreamer):
    """Notes when the first new token came; the prompt is the first thing that it is told."""

    def __init__(self) -> None:
        self.first = 0.0
        self._prompt_seen = False

    def put(self, value: torch.Tensor) -> None:
        if self._prompt_seen:
            self.first = self.first or time.perf_counter()
        self._prompt_seen = True

    def end(self) -> None:
        pass
