"""`GenerateContender`: plain `LlavaForConditionalGeneration.generate`, one request at a time."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import torch
from transformers.generation.streamers import BaseStreamer

from llava_tools.bench.contenders import AnswerTiming
from llava_tools.chat import prompt
from llava_tools.core.requests import DEFAULT_MAX_TOKENS, Message, Request
from llava_tools.engine.loading.checkpoint import load
from llava_tools.engine.loading.processor import preprocess
from llava_tools.images import ImageRef
from llava_tools.options import EngineOptions


class GenerateContender:
    """Plain `generate` with the pixels and token ids that the engine would use.

    It loads a second model, since the engine modifies its own.

    Raises:
        ModelError: The model cannot be loaded.
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
        streamer: BaseStreamer | None = None,
    ) -> list[int]:
        """Return the token ids of the greedy answer, with the end of the turn.

        There are at most `limit`, or if `exact` just as many. `streamer` gets each at once.
        """
        loaded = self._loaded
        model: Any = loaded.model
        pieces = prompt.build(messages, conversation=loaded.tokenizer.conversation)
        placeholder = [model.config.image_token_index] * loaded.image_tokens
        prompt_ids = loaded.tokenizer.tokenize(pieces, lambda ref: placeholder)
        ids = torch.tensor([prompt_ids], device=model.device)
        images = [piece for piece in pieces if isinstance(piece, ImageRef)]
        vision_inputs: dict[str, torch.Tensor] = {}
        if images:
            pixels = preprocess(loaded.processor, images)
            vision_inputs["pixel_values"] = pixels.to(model.device, model.dtype)
        with torch.inference_mode():
            out = model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=limit,
                min_new_tokens=limit if exact else None,
                do_sample=False,
                eos_token_id=list(loaded.eos_token_ids),
                pad_token_id=0,
                streamer=streamer,
                **vision_inputs,
            )
        new: list[int] = out[0, ids.shape[1] :].tolist()
        return new

    def run(self, request: Request) -> AnswerTiming:
        """See `Contender.run`."""
        clock = _FirstTokenClock()
        start = time.perf_counter()
        limit = request.sampling.max_tokens or DEFAULT_MAX_TOKENS
        tokens = self.tokens(request.messages, limit, streamer=clock)
        return AnswerTiming(clock.first - start, time.perf_counter() - start, len(tokens))

    def run_all(self, requests: Sequence[Request]) -> float:
        """See `Contender.run_all`: `generate` takes no further requests while it runs."""
        return sum(self.run(request).total for request in requests)


class _FirstTokenClock(BaseStreamer):
    """Notes the time of the first new token; the first call passes the prompt."""

    def __init__(self) -> None:
        self.first = 0.0
        self._has_prompt = False

    def put(self, value: torch.Tensor) -> None:
        if self._has_prompt:
            self.first = self.first or time.perf_counter()
        self._has_prompt = True

    def end(self) -> None:
        pass
