"""`LlavaEmbeddings`: texts and images as vectors of one space, for any of LangChain's stores.

Texts and images go to `llava_tools.embedding.Embedder`; errors come back as LangChain's. A vector
store embeds texts through `embed_documents` and `embed_query`; vectors of images are made with
`embed_images` and added beside them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from langchain_core.embeddings import Embeddings
from pydantic import BaseModel, ConfigDict, PrivateAttr, ValidationError, model_validator

from langchain_llava import options
from langchain_llava.errors import as_langchain, of_validation
from llava_tools.embedding import Embedder
from llava_tools.images import ImageSource
from llava_tools.options import Dtype, EmbeddingKeywords, EmbeddingOptions, normalize


class LlavaEmbeddings(BaseModel, Embeddings):
    """CLIP beside LLaVA, as LangChain embeddings of texts and of images.

    Making one loads nothing. The first text or image loads the model, once for the process; an
    engine that a `ChatLlava` of the same model has loaded lends its vision tower.

        embeddings = LlavaEmbeddings()
        images = embeddings.embed_images(["a.png", "b.png"])
        query = embeddings.embed_query("images with a green cross")

    Raises:
        RequestError: An unknown option, or a value that is not possible.
    """

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    model: str = "tiny"
    """`tiny` (embedded, the default), `7b`, `13b`, a hub id or a folder. Also `model_name`."""
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
            raise of_validation(error) from None
        self._embedder = self._new_embedder()

    @model_validator(mode="before")
    @classmethod
    def _check_options(cls, given: Any) -> Any:
        """Check what can be checked without the model, so that a typo fails here."""
        if not isinstance(given, dict):
            return given  # a LlavaEmbeddings that is somebody's field
        told = normalize(given, cls.model_fields, cls.__name__, options.SYNONYMS)
        chosen = {name: value for name, value in told.items() if name != "model"}
        EmbeddingOptions.from_keywords(
            told.get("model", "tiny"), cast(EmbeddingKeywords, chosen), cls.__name__
        )
        return told

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Return a vector of length one for each text; CLIP reads 77 tokens of each at most."""
        with as_langchain():
            return self._embedder.embed_texts(texts)

    def embed_query(self, text: str) -> list[float]:
        """Return the vector of one text: a query is embedded as a document is."""
        return self.embed_documents([text])[0]

    def embed_images(self, images: Sequence[ImageSource]) -> list[list[float]]:
        """Return a vector of length one for each image.

        Args:
            images: Paths, URLs, bytes or PIL images, as your own code names them. Do not pass
                names on that come from a model or over a network.
        """
        with as_langchain():
            return self._embedder.embed_images(images)

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        """`embed_documents` without blocking the event loop."""
        with as_langchain():
            return await self._embedder.aembed_texts(texts)

    async def aembed_query(self, text: str) -> list[float]:
        """`embed_query` without blocking the event loop."""
        return (await self.aembed_documents([text]))[0]

    async def aembed_images(self, images: Sequence[ImageSource]) -> list[list[float]]:
        """`embed_images` without blocking the event loop."""
        with as_langchain():
            return await self._embedder.aembed_images(images)

    def close(self) -> None:
        """Give the model's memory back if nobody else uses it; the next call loads it again."""
        self._embedder.close()
        self._embedder = self._new_embedder()

    def _new_embedder(self) -> Embedder:
        chosen = self.model_dump(exclude={"model"})
        return Embedder(self.model, **cast(EmbeddingKeywords, chosen))
