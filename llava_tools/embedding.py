"""`Embedder`: texts and images as vectors of one space, from the CLIP of LLaVA's vision tower.

The vectors are unit vectors; the dot product of two is their similarity. LLaVA's vision tower is
that of CLIP: a loaded engine's tower is reused. The text tower and the projections are CLIP's.

Images are padded to a square, as for LLaVA. CLIP itself crops the central square, so vectors of
other images differ from those of other CLIP libraries: do not mix both in one index.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Self, Unpack

from llava_tools import model_cache
from llava_tools.core.backend import EmbeddingModel
from llava_tools.errors import EngineClosedError, RequestError
from llava_tools.images import ImageSource, open_image
from llava_tools.options import EmbeddingKeywords, EmbeddingOptions


class Embedder:
    """Embeds texts and images as vectors that can be compared.

    The first text or image loads the model, which all objects with equal options share in a
    process. May be used from many threads and tasks at once.

        embedder = Embedder()
        (text,), (image,) = embedder.embed_texts(["a red star"]), embedder.embed_images(["a.png"])
        similarity = sum(x * y for x, y in zip(text, image))     # -1 to 1

    Args:
        model: The LLaVA whose vision tower embeds images: `tiny` (embedded), `7b`, `13b`, a hub id
            or a folder. The vision tower of a loaded engine of that model is reused. The language
            models of `7b` and `13b` are never loaded for embeddings.
        **options: Fields of `EmbeddingOptions`: device, dtype, revision, local_files_only, ...

    Raises:
        RequestError: An unknown option or an impossible value.
    """

    def __init__(self, model: str = "tiny", **options: Unpack[EmbeddingKeywords]) -> None:
        self.options = EmbeddingOptions.from_keywords(model, options, "Embedder")
        self._closed = False

    @property
    def model_name(self) -> str:
        """Name of the CLIP model; loads the model."""
        return self._model().model_name

    @property
    def dimensions(self) -> int:
        """Length of the vectors (768 for LLaVA 1.5's CLIP); loads the model."""
        return self._model().dimensions

    def embed_texts(self, texts: Sequence[str]) -> list[list[float]]:
        """Return a unit vector for each text.

        CLIP reads 77 tokens, two of them its own. Longer texts are truncated with a logged
        warning: split documents into passages of some forty words.

        Raises:
            RequestError: Not a list of strings.
            ModelError: The model cannot be loaded.
        """
        if isinstance(texts, str) or not isinstance(texts, Sequence):
            raise RequestError(
                f"texts={texts!r:.60} is a {type(texts).__name__}, not a list of strings.",
                "Pass a list, even for one text.",
            )
        for index, text in enumerate(texts):
            if not isinstance(text, str):
                raise RequestError(
                    f"texts[{index}]={text!r:.60} is a {type(text).__name__}.", "Pass strings."
                )
        return self._model().embed_texts(texts) if texts else []

    def embed_images(self, images: Sequence[ImageSource]) -> list[list[float]]:
        """Return a unit vector for each image: a path, URL, bytes, PIL image, ...

        Raises:
            ImageError: An image cannot be fetched or read.
            RequestError: Not a list.
            ModelError: The model cannot be loaded.
        """
        if not isinstance(images, list | tuple):
            raise RequestError(
                f"images={images!r:.60} is a {type(images).__name__}, not a list of images.",
                "Pass a list, even for one image.",
            )
        opened = [open_image(image) for image in images]
        return self._model().embed_images(opened) if opened else []

    async def aembed_texts(self, texts: Sequence[str]) -> list[list[float]]:
        """`embed_texts` in a thread, without blocking the event loop."""
        return await asyncio.to_thread(self.embed_texts, texts)

    async def aembed_images(self, images: Sequence[ImageSource]) -> list[list[float]]:
        """`embed_images` in a thread, without blocking the event loop."""
        return await asyncio.to_thread(self.embed_images, images)

    def close(self) -> None:
        """Release the model; its memory is freed when no other `Embedder` uses it."""
        if not self._closed:
            self._closed = True
            model_cache.embeddings.release(self.options, self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Embedder({self.options.model!r})"

    def _model(self) -> EmbeddingModel:
        if self._closed:
            raise EngineClosedError("This Embedder is closed.", "Make a new one.")
        return model_cache.embeddings.acquire(self.options, self)
