"""`LlavaEmbedding`: texts and images as vectors of one space, for LlamaIndex's indices.

LlamaIndex splits texts and images into batches of `embed_batch_size`, and adds caches, callbacks
and instrumentation; `llava_tools.embedding.Embedder` computes the vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from llama_index.core.base.embeddings.base import Embedding
from llama_index.core.embeddings.multi_modal_base import MultiModalEmbedding
from llama_index.core.schema import BaseNode, ImageNode, ImageType, Node
from pydantic import PrivateAttr, ValidationError, model_validator

from llama_index.llms.llava.images import holds_image, image_source
from llava_tools.embedding import Embedder
from llava_tools.errors import ImageError
from llava_tools.images.sources import shorten
from llava_tools.model_fields import EmbeddingFields
from llava_tools.options import (
    EmbeddingKeywords,
    EmbeddingOptions,
    normalize,
    validation_error,
)

_MODEL_OPTIONS = tuple(EmbeddingFields.model_fields)


class LlavaEmbedding(EmbeddingFields, MultiModalEmbedding):
    """The CLIP that LLaVA is built on, as a LlamaIndex embedding model of texts and of images.

    Constructing one loads nothing. The first text or image loads the model, once for the process;
    if a `Llava` of the same model is loaded, its vision tower is reused. Vectors have length one.

    Images are paths, URLs or open files that your own code and your index name. Do not pass names
    that come from a model or over a network.

    Setup:
        Install the extras `torch` and `llama-index`.

    Embed:
        ```python
        from llama_index.embeddings.llava import LlavaEmbedding

        embedding = LlavaEmbedding()
        image = embedding.get_image_embedding("examples/images/night.png")
        query = embedding.get_query_embedding("a yellow star")
        ```

    Raises:
        RequestError: An unknown option, or a value that is not possible.
    """

    model_name: str = "tiny"
    """`tiny` (embedded, the default), `7b`, `13b`, a hub id or a folder. Also `model`."""

    _embedder: Embedder = PrivateAttr()

    def __init__(self, **kwargs: Any) -> None:
        try:
            super().__init__(**kwargs)
        except ValidationError as error:
            raise validation_error(error, "LlavaEmbedding") from None
        self._embedder = self._new_embedder()

    @model_validator(mode="before")
    @classmethod
    def _validate_options(cls, values: Any) -> Any:
        """Check everything that needs no model, so that a typo fails here."""
        if not isinstance(values, dict):
            return values  # an instance, as the field of another pydantic model
        options = normalize(values, cls.model_fields, cls.__name__, {"model": "model_name"})
        keywords = {name: options[name] for name in _MODEL_OPTIONS if name in options}
        model = options.get("model_name", "tiny")
        EmbeddingOptions.from_keywords(model, cast(EmbeddingKeywords, keywords), cls.__name__)
        return options

    @classmethod
    def class_name(cls) -> str:
        """Return the name by which LlamaIndex serializes this class."""
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

    def __call__(self, nodes: Sequence[BaseNode], **kwargs: Any) -> Sequence[BaseNode]:
        """Embed nodes as a step of a pipeline: by their images, those without one by their text."""
        images, texts = _by_content(nodes)
        super().__call__(texts, **kwargs)
        vectors = self.get_image_embedding_batch(
            _sources(images), show_progress=kwargs.get("show_progress", False)
        )
        for node, vector in zip(images, vectors, strict=True):
            node.embedding = vector
        return nodes

    async def acall(self, nodes: Sequence[BaseNode], **kwargs: Any) -> Sequence[BaseNode]:
        """`__call__` without blocking the event loop."""
        images, texts = _by_content(nodes)
        await super().acall(texts, **kwargs)
        vectors = await self.aget_image_embedding_batch(
            _sources(images), show_progress=kwargs.get("show_progress", False)
        )
        for node, vector in zip(images, vectors, strict=True):
            node.embedding = vector
        return nodes

    def close(self) -> None:
        """Free the model's memory unless it is shared; the next call loads the model again."""
        self._embedder.close()
        self._embedder = self._new_embedder()

    def _new_embedder(self) -> Embedder:
        keywords = {name: getattr(self, name) for name in _MODEL_OPTIONS}
        return Embedder(self.model_name, **cast(EmbeddingKeywords, keywords))


def _by_content(nodes: Sequence[BaseNode]) -> tuple[list[ImageNode | Node], list[BaseNode]]:
    """Return the nodes with an image, and those without.

    Raises:
        ImageError: An `ImageNode` has neither image nor text.
    """
    for node in nodes:
        if isinstance(node, ImageNode) and not (holds_image(node) or node.text):
            raise ImageError(
                f"The node {shorten(node.node_id)} has neither an image nor a text.",
                "Give it an image, a path or a url.",
            )
    images = [node for node in nodes if holds_image(node)]
    texts = [node for node in nodes if not holds_image(node)]
    return cast(list[ImageNode | Node], images), texts


def _sources(nodes: Sequence[ImageNode | Node]) -> list[ImageType]:
    return cast(list[ImageType], [image_source(node) for node in nodes])
