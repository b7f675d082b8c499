"""Encodes images beside the language model: on a GPU on a stream of its own.

Its work runs between that of the language model's steps, and only the caller whose image it is
waits for it. Pixels are copied from pinned memory, so that their copy stops nobody else.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import LlavaForConditionalGeneration

from llava_tools.engine import vision_tower
from llava_tools.engine.device import activate
from llava_tools.engine.upload import to_device


class VisionStream:
    """Runs a LLaVA's vision tower and projector; for one thread at a time.

    Args:
        model: The LLaVA.
    """

    def __init__(self, model: LlavaForConditionalGeneration) -> None:
        self._model = model
        self._device, self._dtype = model.device, model.dtype
        self._stream: torch.cuda.Stream | None = None
        if self._device.type == "cuda":
            self._stream = torch.cuda.Stream(self._device)
            # The weights may still be on their way.
            self._stream.wait_stream(torch.cuda.current_stream(self._device))

    @torch.inference_mode()
    def __call__(self, pixels: Tensor) -> Sequence[Tensor]:
        """Return the features of images, [tokens, hidden] each, when they are computed.

        Args:
            pixels: float32 [images, 3, size, size], on the CPU.
        """
        pixels = pixels.to(self._dtype)
        if self._stream is None:
            return _separate(vision_tower.features(self._model, pixels.to(self._device)))
        with activate(self._device), torch.cuda.stream(self._stream):
            copied = to_device(pixels, self._device)
            features = _separate(vision_tower.features(self._model, copied))
            for item in features:
                # The engine's thread reads them there: their memory is not free before that.
                item.record_stream(torch.cuda.default_stream(self._device))
            done = torch.cuda.Event(blocking=True)  # which does not keep a processor busy
            done.record(self._stream)
            done.synchronize()
        return features


def _separate(features: Tensor) -> Sequence[Tensor]:
    """Return images' features with memory of their own, since images are dropped one by one."""
    return [features[0]] if len(features) == 1 else [item.clone() for item in features]
