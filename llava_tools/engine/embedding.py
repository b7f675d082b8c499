"""`ClipEmbedding`: texts and images in, vectors of length one out.

Images are padded as for LLaVA and go through its vision tower up to the layer that LLaVA reads;
CLIP's last layer, norm and projection follow. Every call looks for a loaded engine whose vision
tower it can use, so that no second one stays in memory; the pass is not batched with the engine's.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence

import torch
from torch.nn import functional
from transformers import CLIPVisionModel

from llava_tools.core.backend import Backend
from llava_tools.engine.device import require_memory
from llava_tools.engine.engine import LlavaEngine
from llava_tools.engine.loading.clip import (
    Clip,
    VisionTower,
    check_vision_tower,
    load_vision_tower,
)
from llava_tools.engine.loading.processor import preprocess
from llava_tools.engine.process import check_process
from llava_tools.engine.vision_tower import hidden_states
from llava_tools.images import ImageRef
from llava_tools.options import EmbeddingOptions, EngineOptions

_log = logging.getLogger(__name__)

TEXT_BATCH, IMAGE_BATCH = 64, 16


class ClipEmbedding:
    """Implements `EmbeddingModel`. Callers take turns, batch by batch.

    Args:
        clip: The CLIP without the layers that LLaVA has.
        options: The options that it was loaded with.
        engines: Returns the engines that are loaded.
    """

    def __init__(
        self,
        clip: Clip,
        options: EmbeddingOptions,
        engines: Callable[[], Mapping[EngineOptions, Backend]],
    ) -> None:
        self.clip = clip
        self.model_name = clip.name
        self.dimensions = clip.dimensions
        self._options = options
        self._engines = engines
        self._loaded_tower: VisionTower | None = None
        self._lock = threading.Lock()

    @property
    def has_loaded_tower(self) -> bool:
        """Whether this object holds a vision tower that it loaded itself."""
        return self._loaded_tower is not None

    def embed_texts(self, texts: Sequence[str]) -> list[list[float]]:
        """See `Encoder.embed_texts`. Texts beyond the context are cut off, with a warning.

        Raises:
            MemoryExhaustedError: There is no memory for them.
            EngineError: This process was forked from the one that loaded the model.
        """
        check_process()
        with require_memory("the texts to embed"):
            return self._embed_texts(texts)

    def embed_images(self, images: Sequence[ImageRef]) -> list[list[float]]:
        """See `Encoder.embed_images`.

        Raises:
            ImageError: An image turns out to be damaged when it is decoded.
            ModelError: No engine has the vision tower, and it cannot be loaded.
            MemoryExhaustedError: There is no memory for them.
            EngineError: This process was forked from the one that loaded the model.
        """
        check_process()
        vectors: list[list[float]] = []
        for start in range(0, len(images), IMAGE_BATCH):
            batch = images[start : start + IMAGE_BATCH]
            with self._lock, require_memory("the images to embed"):
                vectors += self._image_vectors(batch, self._vision_tower())
        return vectors

    def close(self) -> None:
        """See `EmbeddingModel.close`. Only a vision tower that this object loaded is freed."""
        with self._lock:
            self._loaded_tower = None

    def shared_tower(self) -> VisionTower | None:
        """Return the vision tower of a loaded engine of the same model, device and dtype."""
        options, device = self._options, self.clip.model.device
        for loaded, engine in self._engines().items():
            same = (loaded.source, loaded.revision) == (options.source, options.revision)
            if not same or not isinstance(engine, LlavaEngine):
                continue
            model = engine.loaded.model.model.vision_tower
            if not isinstance(model, CLIPVisionModel):
                continue
            dtype = str(model.dtype).removeprefix("torch.")
            if model.device == device and options.dtype in ("auto", dtype):
                return VisionTower(model, engine.loaded.processor)
        return None

    def _embed_texts(self, texts: Sequence[str]) -> list[list[float]]:
        limit = self.clip.context_length - len(self.clip.tokenizer.bos) - 1
        tokens = [self.clip.tokenizer.encode(text) for text in texts]
        too_long = sum(len(ids) > limit for ids in tokens)
        if too_long:
            _log.warning(
                "%d of %d texts are longer than the %d tokens that %s reads; only their beginnings "
                "count. Split them into shorter passages.",
                *(too_long, len(texts), self.clip.context_length, self.clip.name),
            )
        vectors: list[list[float]] = []
        for start in range(0, len(tokens), TEXT_BATCH):
            batch = [ids[:limit] for ids in tokens[start : start + TEXT_BATCH]]
            vectors += self._text_vectors(batch)
        return vectors

    def _vision_tower(self) -> VisionTower:
        """Return an engine's vision tower, or load one; the lock is held."""
        tower = shared = self.shared_tower()
        if tower is None:
            tower = self._loaded_tower or load_vision_tower(self.clip, self._options)
        check_vision_tower(self.clip, tower, self._options.model)
        self._loaded_tower = tower if shared is None else None
        return tower

    @torch.inference_mode()
    def _text_vectors(self, tokens: Sequence[list[int]]) -> list[list[float]]:
        longest = max(len(ids) for ids in tokens)
        bos, eos = self.clip.tokenizer.bos, self.clip.eos_token_id
        # Padding follows the end of a text, and attention is causal: it does not change the vector.
        padded = [[*bos, *ids, *[eos] * (longest - len(ids) + 1)] for ids in tokens]
        model = self.clip.model
        with self._lock:
            ids = torch.tensor(padded, device=model.device)
            pooled = model.text_model(input_ids=ids).pooler_output
            return _unit(model.text_projection(pooled))

    @torch.inference_mode()
    def _image_vectors(self, images: Sequence[ImageRef], tower: VisionTower) -> list[list[float]]:
        model = self.clip.model
        # One by one: many large images, decoded at once, would not fit into memory.
        pixels = torch.cat([preprocess(tower.processor, [image]) for image in images])
        pixels = pixels.to(tower.model.device, tower.model.dtype)
        (hidden,) = hidden_states(tower.model, pixels, [-2])
        pooled = model.vision_model(hidden.to(model.device, model.dtype))
        return _unit(model.visual_projection(pooled))


def _unit(vectors: torch.Tensor) -> list[list[float]]:
    """Return rows scaled to length one in float32, as lists."""
    rows: list[list[float]] = functional.normalize(vectors.float(), dim=-1).tolist()
    return rows
