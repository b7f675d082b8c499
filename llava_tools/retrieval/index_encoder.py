"""The encoder of an index: makes the vectors of its pages and of queries."""

from __future__ import annotations

from llava_tools.core.backend import Encoder
from llava_tools.embedding import Embedder
from llava_tools.errors import IndexStoreError
from llava_tools.images.sources import shorten
from llava_tools.retrieval.store import Store


class IndexEncoder:
    """The encoder that the caller chose, or by default the one that the index was created with.

    None of its methods loads a model, except `check`.
    """

    def __init__(self, encoder: Encoder | None) -> None:
        #: The one chosen, or looked up before; None until then.
        self.known = encoder

    def of(self, store: Store) -> Encoder:
        """Return the encoder for an index."""
        if self.known is None:
            self.known = Embedder(store.metadata.model)
        return self.known

    def of_new_index(self) -> Encoder:
        """Return the encoder for an index that does not exist: by default the embedded model's."""
        if self.known is None:
            self.known = Embedder()
        return self.known

    def check(self, store: Store) -> Encoder:
        """Return the encoder for an index.

        Raises:
            IndexStoreError: The index has vectors of another encoder.
            ModelError: The encoder cannot be loaded.
        """
        encoder, metadata = self.of(store), store.metadata
        if (encoder.model_name, encoder.dimensions) != (metadata.clip, metadata.dimensions):
            raise IndexStoreError(
                f"The index in {shorten(store.location)} holds vectors of {metadata.clip} "
                f"({metadata.dimensions} numbers), not of {encoder.model_name} "
                f"({encoder.dimensions}).",
                "Index into another folder, or use that model.",
            )
        return encoder
