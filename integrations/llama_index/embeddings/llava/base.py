"""`LlavaEmbedding`: texts and images as vectors of one space, for LlamaIndex's indices.

Texts and images go to `llava_tools.embedding.Embedder` in batches of `embed_batch_size`;
LlamaIndex adds caches, callbacks and instrumentation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from llama_index.core.base.embeddings.base import Embedding
from llama_index.core.embeddings.multi_modal_base import MultiModalEmbedding
from llama_index.core.schema import ImageType
from pydantic import PrivateAttr, ValidationError, model_validator

from llava_tools.embedding import Embedder
from llava_tools.options import (
    Dtype,
    EmbeddingKeywords,
    EmbeddingOptions,
    normalize,
    validation_error,
)

#: Options that choose and load the model, besides its name.
_CHOICES = ("device", "dtype", "revision", "local_files_only", "clip", "clip_revision")


class LlavaEmbedding(MultiModalEmbedding):
    """CLIP beside LLaVA, as a LlamaIndex embedding model of texts and of images.

    Making one loads nothing. The first text or image loads the model, once for the process; an
    engine that a `Llava` of the same model has loaded lends its vision tower. Vectors have length one.

        embedding = LlavaEmbedding()
        image = embedding.get_image_embedding("street.jpg")
        query = embedding.get_query_embedding("a red car")

    Images are paths, URLs or open files, as your own code and your index name them. Do not pass
    names on that come from a model or over a network.

    Raises:
        RequestError: An unknown option, or a value that is not possible.
    """

    model_name: str = "tiny"
    """`tiny` (embedded, the default), `7b`, `13b`, a hub id or a folder. Also `model`."""
    # See `llava_tools.options.EmbeddingOptions`.
    device: str = "auto"
    dtype: Dtype = "auto"
    revision: str | None = None
    local_files_only: bool = False
    clip: str | None = None
    clip_revision: str | None = None

    _embedder: Embedder = PrivateAttr()

    def __init__(self, **given: Any) -> None:
        try:
            super().__init__(**given)
        except ValidationError as error:
            raise validation_error(error, "LlavaEmbedding") from None
        self._embedder = self._new_embedder()

    @model_validator(mode="before")
    @classmethod
    def _check_options(cls, given: Any) -> Any:
        """Check what can be checked without the model, so that a typo fails here."""
        if not isinstance(given, dict):
            return given  # a LlavaEmbedding that is somebody's field
        told = normalize(given, cls.model_fields, cls.__name__, {"model": "model_name"})
        chosen = {name: told[name] for name in _CHOICES if name in told}
        name = told.get("model_name", "tiny")
        EmbeddingOptions.from_keywords(name, cast(EmbeddingKeywords, chosen), cls.__name__)
        return told

    @classmethod
    def class_name(cls) -> str:
        """Return the name under which LlamaIndex serializes this class."""
        return "LlavaEmbedding"

    def _get_query_embedding(self, query: str) -> Embedding:
        return self._embedder.embed_texts([query])[0]

    async def _aget_query_embedding(self, query: str) -> Embedding:
        return (await self._embedder.aembed_texts([query]))[0]

    def _get_text_embedding(self, text: str) -> Embedding:
        return self._get_query_embedding(text)

    async def _aget_text_embedding(self, text: str) -> Embedding:
        return await self._aget_query_embedding(text)

    def _get_text_embeddings(self, texts: list[str]) -> list[Embedding]:
        return self._embedder.embed_texts(texts)

    async def _aget_text_embeddings(self, texts: list[str]) -> list[Embedding]:
        return await self._embedder.aembed_texts(texts)

    def _get_image_embedding(self, img_file_path: ImageType) -> Embedding:
        return self._get_image_embeddings([img_file_path])[0]

    async def _aget_image_embedding(self, img_file_path: ImageType) -> Embedding:
        return (await self._aget_image_embeddings([img_file_path]))[0]

    def _get_image_embeddings(self, img_file_paths: Sequence[ImageType]) -> list[Embedding]:
        return self._embedder.embed_images(list(img_file_paths))

    async def _aget_image_embeddings(self, img_file_paths: Sequence[ImageType]) -> list[Embedding]:
        return await self._embedder.aembed_images(list(img_file_paths))

    def close(self) -> None:
        """Give the model's memory back if nobody else uses it; the next call loads it again."""
        self._embedder.close()
        self._embedder = self._new_embedder()

    def _new_embedder(self) -> Embedder:
        chosen = {name: getattr(self, name) for name in _CHOICES}
        return Embedder(self.model_name, **cast(EmbeddingKeywords, chosen))
