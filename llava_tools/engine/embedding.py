"""`ClipEmbedding`: texts and images in, vectors of length one out.

Images are padded as for LLaVA and go through its vision tower up to the layer that LLaVA reads; CLIP's
last layer, norm and projection follow. An engine that is loaded lends its vision tower, looked for at every
call, so that no second tower stays in memory; the pass itself is not shared with the engine's.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import cast

import torch
from torch.nn import functional
from transformers import CLIPVisionModel

from llava_tools.core.backend import Backend
from llava_tools.engine.engine import LlavaEngine
from llava_tools.engine.loading.clip import Clip, Eye, load_eye, refuse_other_eye
from llava_tools.engine.vision_tower import hidden_states
from llava_tools.images import ImageRef
from llava_tools.options import EmbeddingOptions, EngineOptions

_log = logging.getLogger(__name__)

TEXTS, IMAGES = 64, 16
"""How many go through a tower together."""


class ClipEmbedding:
    """Embeds for many callers at once; they take turns, batch by batch.

    Args:
        clip: Without its vision tower.
        options: What it was loaded with.
        engines: Those that are loaded at the moment.
    """

    def __init__(
        self,
        clip: Clip,
        options: EmbeddingOptions,
        engines: Callable[[], Mapping[EngineOptions, Backend]],
    ) -> None:
        self.clip = clip
        self._options = options
        self._engines = engines
        self._own: Eye | None = None
        self._turn = threading.Lock()

    @property
    def model_name(self) -> str:
        """Name of the CLIP."""
        return self.clip.name

    @property
    def dimensions(self) -> int:
        """Length of the vectors."""
        return self.clip.dimensions

    def embed_texts(self, texts: Sequence[str]) -> list[list[float]]:
        """Return a vector for each text; what is longer than the context is cut off, and logged."""
        room = self.clip.context_length - len(self.clip.text.bos) - 1
        tokens = [self.clip.text.encode(text) for text in texts]
        cut = sum(len(ids) > room for ids in tokens)
        if cut:
            _log.warning(
                "%d of %d texts are longer than the %d tokens that %s reads; only their beginnings "
                "count. Split them into shorter passages.",
                *(cut, len(texts), self.clip.context_length, self.clip.name),
            )
        vectors: list[list[float]] = []
        for start in range(0, len(tokens), TEXTS):
            vectors += self._text_vectors([ids[:room] for ids in tokens[start : start + TEXTS]])
        return vectors

    def embed_images(self, images: Sequence[ImageRef]) -> list[list[float]]:
        """Return a vector for each image.

        Raises:
            ImageError: An image turns out to be damaged when it is decoded.
            ModelError: No engine lends its vision tower, and it cannot be loaded.
        """
        vectors: list[list[float]] = []
        for start in range(0, len(images), IMAGES):
            with self._turn:
                vectors += self._image_vectors(images[start : start + IMAGES], self._eye())
        return vectors

    def close(self) -> None:
        """Let go of an eye of its own."""
        with self._turn:
            self._own = None

    @torch.inference_mode()
    def _text_vectors(self, tokens: Sequence[list[int]]) -> list[list[float]]:
        longest = max(len(ids) for ids in tokens)
        end, bos = self.clip.end, self.clip.text.bos
        # Padding is behind the end and attention looks back only, so it changes nothing.
        padded = [[*bos, *ids, *[end] * (longest - len(ids) + 1)] for ids in tokens]
        model = self.clip.model
        with self._turn:
            ids = torch.tensor(padded, device=model.device)
            read = model.text_model(input_ids=ids).pooler_output
            return _unit(model.text_projection(read))

    @torch.inference_mode()
    def _image_vectors(self, images: Sequence[ImageRef], eye: Eye) -> list[list[float]]:
        model = self.clip.model
        # One after the other: many large images would not fit into memory decoded.
        looked = [
            eye.processor([image.rgb()], return_tensors="pt")["pixel_values"] for image in images
        ]
        pixels = torch.cat(looked).to(eye.tower.device, eye.tower.dtype)
        hidden = hidden_states(eye.tower, pixels, -2).to(model.device, model.dtype)
        return _unit(model.visual_projection(model.vision_model(hidden)))

    def _eye(self) -> Eye:
        """Return an engine's eye, or one that is loaded for this; the turn is held."""
        lent = self._lent()
        if lent is not None:
            self._own = None
            return lent
        if self._own is None:
            eye = load_eye(self.clip, self._options)
            refuse_other_eye(self.clip, eye, self._options.model)
            self._own = eye
        return self._own

    def _lent(self) -> Eye | None:
        """Return the vision tower of a loaded engine of the same model, device and dtype."""
        own, model = self._options, self.clip.model
        for options, engine in self._engines().items():
            same = (options.source, options.revision) == (own.source, own.revision)
            if not same or not isinstance(engine, LlavaEngine):
                continue
            tower = cast(CLIPVisionModel, engine.loaded.model.model.vision_tower)
            if tower.device == model.device and own.dtype in ("auto", _name(tower.dtype)):
                eye = Eye(tower, engine.loaded.processor)
                refuse_other_eye(self.clip, eye, own.model)
                return eye
        return None


def _unit(vectors: torch.Tensor) -> list[list[float]]:
    """Scale rows to length one, in float32, and leave torch behind."""
    rows: list[list[float]] = functional.normalize(vectors.float(), dim=-1).tolist()
    return rows


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
