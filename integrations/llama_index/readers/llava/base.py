"""`LlavaPageReader`: PDFs and images as LlamaIndex documents, one for each page.

Each is an `ImageDocument`: the page's image, its text layer, and metadata that name the document,
the page and the image's handle. The metadata are excluded from prompts and embeddings, since they
do not describe what the page shows. Only for a page without text the document's path is embedded,
because LlamaIndex leaves nodes without any content out of its indexes.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from llama_index.core.readers.base import BaseReader
from llama_index.core.schema import Document, ImageDocument

from llava_tools.images.store import ImageStoreLike, open_store
from llava_tools.retrieval import LoadedPage, Skipped, load_pages

_log = logging.getLogger(__name__)


class LlavaPageReader(BaseReader):
    """Pages of PDFs and images, for any LlamaIndex index.

    The metadata are `document`, `page` (from 1), `pages`, `handle`, `width` and `height`. Images
    also go to the process's image store, so that visual tools can open them by handle.

    Setup:
        Install the extras `llama-index` and `documents`.

    Load:
        ```python
        from llama_index.readers.llava import LlavaPageReader

        documents = LlavaPageReader().load_data("examples/signs.pdf")
        ```

    Args:
        image_store: An `ImageStore` or the folder of one; by default the store of the process.

    Attributes:
        skipped: The files of the last run that could not be read, with the reasons; each is logged.
    """

    def __init__(self, image_store: ImageStoreLike = None) -> None:
        self._image_store = image_store
        self.skipped: list[Skipped] = []

    def lazy_load_data(
        self, paths: str | Path | Sequence[str | Path], *args: Any, **load_kwargs: Any
    ) -> Iterable[Document]:
        """Yield a document for each page, in order.

        Args:
            paths: Files and folders, as your own code names them.
            *args: Not accepted; only there for LlamaIndex's signature.
            **load_kwargs: Not accepted either.

        Raises:
            TypeError: An unknown argument.
            DocumentError: A path does not exist. A file that cannot be read is skipped instead.
        """
        if args or load_kwargs:
            raise TypeError(f"lazy_load_data takes paths only, not {[*args, *load_kwargs]!r:.80}.")
        self.skipped = []
        return self._documents([paths] if isinstance(paths, str | Path) else list(paths))

    def _documents(self, paths: Sequence[str | Path]) -> Iterable[Document]:
        store = open_store(self._image_store)
        for item in load_pages(paths):
            if isinstance(item, Skipped):
                self.skipped.append(item)
                _log.warning("skipped %s: %s", item.document, item.reason)
            else:
                store.add(item.page.image)
                yield _document(item)


def _document(item: LoadedPage) -> ImageDocument:
    page, names = item.page, list(item.metadata)
    return ImageDocument(
        id_=f"{page.digest[:32]}-{page.number}",
        text=page.text,
        image=base64.b64encode(page.image.data),
        image_mimetype=page.image.media_type,
        metadata=item.metadata,
        excluded_embed_metadata_keys=names if page.text else names[1:],
        excluded_llm_metadata_keys=names,
    )
