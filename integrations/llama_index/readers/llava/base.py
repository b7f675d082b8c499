"""`LlavaPageReader`: PDFs and images as LlamaIndex documents, a page each.

Each is an `ImageDocument`: the page's image, its text layer, and metadata that name the document,
the page and the image's handle. The metadata are kept from the model and from embeddings: they
say nothing about what the page shows. Only the document's path is embedded where a page has no
text, since LlamaIndex leaves nodes without any content out of its indexes.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from llama_index.core.readers.base import BaseReader
from llama_index.core.schema import Document, ImageDocument

from llava_tools.images.store import shared_store
from llava_tools.retrieval import Loaded, Skipped, load

_log = logging.getLogger(__name__)


class LlavaPageReader(BaseReader):
    """Pages of PDFs and images, for any LlamaIndex index.

        documents = LlavaPageReader().load_data("manuals/")
        index = MultiModalVectorStoreIndex.from_documents(
            documents, embed_model=eye, image_embed_model=eye
        )

    Metadata carry `document`, `page` (from 1), `pages`, `handle`, `width` and `height`. Images go
    to the process's store too, so that tools can be shown them by handle.

    Attributes:
        skipped: The files of the last run that could not be used, with the reasons; each is logged.
    """

    def __init__(self) -> None:
        self.skipped: list[Skipped] = []

    def lazy_load_data(
        self, paths: str | Path | Sequence[str | Path], *args: Any, **load_kwargs: Any
    ) -> Iterable[Document]:
        """Yield a document for each page, in order.

        Args:
            paths: Files and folders, as your own code names them.
            *args: None; LlamaIndex's signature.
            **load_kwargs: None.

        Raises:
            TypeError: An unknown argument.
            DocumentError: A path does not exist. A file that cannot be used is skipped instead.
        """
        if args or load_kwargs:
            raise TypeError(f"lazy_load_data takes paths only, not {[*args, *load_kwargs]!r:.80}.")
        self.skipped = []
        return self._pages([paths] if isinstance(paths, str | Path) else list(paths))

    def _pages(self, paths: Sequence[str | Path]) -> Iterable[Document]:
        for item in load(paths):
            if isinstance(item, Skipped):
                self.skipped.append(item)
                _log.warning("skipped %s: %s", item.document, item.reason)
            else:
                shared_store().add(item.page.image)
                yield _document(item)


def _document(item: Loaded) -> ImageDocument:
    image, kept = item.page.image, list(item.metadata)
    return ImageDocument(
        id_=f"{item.page.digest[:32]}-{item.page.number}",
        text=item.page.text,
        image=base64.b64encode(image.data),
        image_mimetype=image.media_type,
        metadata=item.metadata,
        excluded_embed_metadata_keys=kept if item.page.text else kept[1:],
        excluded_llm_metadata_keys=kept,
    )
