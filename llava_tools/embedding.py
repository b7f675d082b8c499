"""Texts and images as vectors in one space, so that words find images: CLIP beside LLaVA.

Lists of texts or images go in; lists of floats of length one come out, whose dot product says
how well two of them match. LLaVA's vision tower is CLIP's vision tower, so an engine that is loaded anyway
lends it; the text tower and the projections come from the CLIP that the vision tower was taken from.

Images are seen as LLaVA sees them: padded to a square, whole. CLIP itself crops to the middle
square, so vectors of images that are not square differ from those of other CLIP libraries: do
not mix both in one index. This file loads neither torch nor a model; the first text or image
does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import TracebackType
from typing import Self, Unpack

from llava_tools import registry
from llava_tools.core.backend import EmbeddingModel
from llava_tools.errors import EngineClosedError, RequestError
from llava_tools.images import ImageSource, open_image
from llava_tools.options import EmbeddingKeywords, EmbeddingOptions


class Embedder:
    """Turns texts and images into vectors that can be compared with each other.

    Nothing is loaded until the first text or image; then once for the process, shared with every
    other `Embedder` of the same options. May be used from many threads and tasks at once.

        embedder = Embedder()
        (text,), (image,) = embedder.embed_texts(["a red star"]), embedder.embed_images(["a.png"])
        match = sum(x * y for x, y in zip(text, image))     # -1 to 1

    Args:
        model: The LLaVA whose eye looks: `tiny` (embedded), `7b`, `13b`, a hub id or a folder. An
            engine of that model that this process has loaded lends its vision tower; the language model is
            never loaded for embeddings of `7b` and `13b`.
        **options: Fields of `EmbeddingOptions`: device, dtype, revision, offline, clip, ...

    Raises:
        RequestError: An unknown or impossible option.
    """

    def __init__(self, model: str = "tiny", **options: Unpack[EmbeddingKeywords]) -> None:
        self.options = EmbeddingOptions.from_keywords(model, options, "Embedder")
        self._closed = False

    @property
    def model_name(self) -> str:
        """Name of the CLIP that the vectors belong to; asking for it loads the model."""
        return self._model().model_name

    @property
    def dimensions(self) -> int:
        """Length of the vectors: 768 for LLaVA 1.5's CLIP; asking for it loads the model."""
        return self._model().dimensions

    def embed_texts(self, texts: Sequence[str]) -> list[list[float]]:
        """Return one vector of length one for each text.

        CLIP reads 77 tokens, two of which are its own. Longer texts are cut off there, and a
        warning is logged: split documents into passages of some forty words.

        Raises:
            RequestError: Not a list of strings.
            ModelError: The model cannot be loaded.
        """
        if isinstance(texts, str) or not isinstance(texts, Sequence):
            raise RequestError(
                f"texts={texts!r:.60} is a {type(texts).__name__}, not a list of strings.",
                "Pass a list, for one text too.",
            )
        for index, text in enumerate(texts):
            if not isinstance(text, str):
                raise RequestError(
                    f"texts[{index}]={text!r:.60} is a {type(text).__name__}.", "Pass strings."
                )
        return self._model().embed_texts(texts) if texts else []

    def embed_images(self, images: Sequence[ImageSource]) -> list[list[float]]:
        """Return one vector of length one for each image: a path, URL, bytes, PIL image, ...

        Raises:
            ImageError: An image cannot be had or read.
            RequestError: Not a list.
            ModelError: The model cannot be loaded.
        """
        if not isinstance(images, list | tuple):
            raise RequestError(
                f"images={images!r:.60} is a {type(images).__name__}, not a list of pictures.",
                "Pass a list, for one picture too.",
            )
        opened = [open_image(image) for image in images]
        return self._model().embed_images(opened) if opened else []

    async def aembed_texts(self, texts: Sequence[str]) -> list[list[float]]:
        """`embed_texts` in a thread, so that the event loop goes on."""
        return await asyncio.to_thread(self.embed_texts, texts)

    async def aembed_images(self, images: Sequence[ImageSource]) -> list[list[float]]:
        """`embed_images` in a thread, so that the event loop goes on."""
        return await asyncio.to_thread(self.embed_images, images)

    def close(self) -> None:
        """Give the model back; its memory is freed when no other open `Embedder` uses it."""
        if not self._closed:
            self._closed = True
            registry.embeddings.release(self.options, self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Embedder({self.options.model!r})"

    def _model(self) -> EmbeddingModel:
        if self._closed:
            raise EngineClosedError("This Embedder is closed.", "Make a new one.")
        return registry.embeddings.acquire(self.options, self)
