"""`LlavaEmbeddings`: texts and images as vectors of one space, for any of LangChain's stores.

A vector store embeds texts through `embed_documents` and `embed_query`. Stores that embed images,
such as Chroma, call `embed_image`; for others the vectors of `embed_images` are added to the store.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from langchain_core.embeddings import Embeddings
from pydantic import ConfigDict, PrivateAttr, model_validator

from langchain_llava.errors import translated_errors
from langchain_llava.options import SYNONYMS, option_errors
from llava_tools.embedding import Embedder
from llava_tools.images import ImageSource
from llava_tools.model_fields import EmbeddingFields
from llava_tools.options import EmbeddingKeywords, EmbeddingOptions, normalize


class LlavaEmbeddings(EmbeddingFields, Embeddings):
    """Embeddings of texts and images by the CLIP that belongs to LLaVA.

    The first text or image loads the model, once for the process; the vision tower of a loaded
    `ChatLlava` of the same model is reused.

    Setup:
        Install the extras `torch` and `langchain`.

    Instantiate:
        ```python
        from langchain_llava import LlavaEmbeddings

        embeddings = LlavaEmbeddings()
        ```

    Embed:
        ```python
        images = embeddings.embed_images(["examples/images/night.png"])
        query = embeddings.embed_query("a yellow star")
        ```

    Raises:
        RequestError: An unknown option, or an impossible value.
    """

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    model: str = "tiny"
    """`tiny` (embedded, the default), `7b`, `13b`, a hub id or a folder. Also `model_name`."""

    _embedder: Embedder = PrivateAttr()

    def __init__(self, **options: Any) -> None:
        with option_errors("LlavaEmbeddings"):
            super().__init__(**options)
        self._embedder = self._new_embedder()

    @model_validator(mode="before")
    @classmethod
    def _validate_options(cls, values: Any) -> Any:
        """Check everything that needs no model, so that a typo fails here."""
        if not isinstance(values, dict):
            return values  # an instance, as the field of another pydantic model
        normalized = normalize(values, cls.model_fields, cls.__name__, SYNONYMS)
        keywords = {name: value for name, value in normalized.items() if name != "model"}
        EmbeddingOptions.from_keywords(
            normalized.get("model", "tiny"), cast(EmbeddingKeywords, keywords), cls.__name__
        )
        return normalized

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Return a vector of length one for each text; CLIP reads at most 77 tokens of each."""
        with translated_errors():
            return self._embedder.embed_texts(texts)

    def embed_query(self, text: str) -> list[float]:
        """Return the vector of one text; queries are embedded as documents are."""
        return self.embed_documents([text])[0]

    def embed_images(self, images: Sequence[ImageSource]) -> list[list[float]]:
        """Return a vector of length one for each image.

        Args:
            images: Paths, URLs, bytes or PIL images, from the developer's own code: paths may be
                any local file, so pass no names that come from a model or over a network.
        """
        with translated_errors():
            return self._embedder.embed_images(images)

    def embed_image(self, uris: Sequence[ImageSource]) -> list[list[float]]:
        """`embed_images`, under the name that LangChain's stores call.

        Chroma's and LanceDB's `add_images` and `similarity_search_by_image` need it, and so does
        whatever was written for `OpenCLIPEmbeddings`.
        """
        return self.embed_images(uris)

    async def aembed_image(self, uris: Sequence[ImageSource]) -> list[list[float]]:
        """`embed_image` without blocking the event loop."""
        return await self.aembed_images(uris)

    async def aembed_images(self, images: Sequence[ImageSource]) -> list[list[float]]:
        """`embed_images` without blocking the event loop."""
        with translated_errors():
            return await self._embedder.aembed_images(images)

    def close(self) -> None:
        """Release the model; the next call loads it again."""
        self._embedder.close()
        self._embedder = self._new_embedder()

    def _new_embedder(self) -> Embedder:
        options = self.model_dump(exclude={"model"})
        return Embedder(self.model, **cast(EmbeddingKeywords, options))
