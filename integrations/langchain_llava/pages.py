"""Document pages: `LlavaPageRetriever` searches an index, `LlavaPageLoader` reads files.

A page becomes a `Document`: its content is the page's text layer (empty for an image), its metadata
name the document, the page and the handle of the page's image. While the image is in the image
store, the handle works as `file_id` of an image block for `ChatLlava` and as a tool's argument.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.document_loaders import BaseLoader
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from pydantic import ConfigDict, Field, PrivateAttr

from langchain_llava.errors import translated_errors
from llava_tools.images.store import ImageStore, ImageStoreLike, open_store
from llava_tools.model import Llava
from llava_tools.retrieval import PageIndex, Skipped, load_pages
from llava_tools.retrieval.search import SearchMode

_log = logging.getLogger(__name__)


class LlavaPageRetriever(BaseRetriever):
    """Retriever of the pages in an index that match a query, best first.

    The metadata of a document are `document`, `source`, `page` (from 1), `score`, `handle` and
    `snippet`. A call may override `k`. The first query loads the index.

    Setup:
        Install the extras `torch`, `langchain` and `documents`.

    Instantiate:
        ```python
        from langchain_llava import LlavaPageRetriever
        from llava_tools.retrieval import PageIndex

        PageIndex("my-index").update(["examples/signs.pdf"])
        retriever = LlavaPageRetriever(index="my-index", k=3)
        ```

    Invoke:
        ```python
        for document in retriever.invoke("a yellow star"):
            print(document.metadata["document"], document.metadata["page"])
        ```

    Raises:
        RequestError: An impossible query, number or mode.
        DocumentError: Using `with_images`, a page's file is missing or changed after indexing.
        IndexStoreError: There is no index there.
        ModelError: The embedder cannot be loaded.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    index: str | Path | PageIndex = Field(exclude=True)
    """The index, or its folder."""
    k: int = 5
    """Number of pages."""
    mode: SearchMode = "hybrid"
    """Search in images (`image`), texts (`text`) or both."""
    rerank: Llava | None = Field(default=None, exclude=True, repr=False)
    """A model that looks at the 3 k best pages and puts those first that show the query."""
    with_images: bool = True
    """Render each page and keep its image in the image store under its handle."""
    image_store: ImageStore | Path | str | None = Field(default=None, exclude=True)
    """An `ImageStore` or the folder of one; by default the store of the process."""

    _opened: PageIndex | None = PrivateAttr(None)

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, k: int | None = None
    ) -> list[Document]:
        with translated_errors():
            index = self._index()
            limit = self.k if k is None else k
            hits = index.search(query, limit, mode=self.mode, rerank=self.rerank)
            if self.with_images:
                store = open_store(self.image_store)
                hits = [replace(hit, handle=store.add(index.open(hit))) for hit in hits]
        return [_document(hit.text, hit.digest, hit.page, hit.as_dict()) for hit in hits]

    def _index(self) -> PageIndex:
        if isinstance(self.index, PageIndex):
            return self.index
        if self._opened is None:
            self._opened = PageIndex(self.index)
        return self._opened


class LlavaPageLoader(BaseLoader):
    """Loader of the pages of PDFs and images, one by one, without an index.

    The metadata of a document are `document`, `source`, `page` (from 1), `pages`, `handle`,
    `width` and `height`. Images go to the image store, which keeps the latest ones up to its bound.

    Setup:
        Install the extras `langchain` and `documents`.

    Load:
        ```python
        from langchain_llava import LlavaPageLoader

        for document in LlavaPageLoader(["examples/signs.pdf", "examples/images"]).lazy_load():
            print(document.metadata["page"], document.page_content)
        ```

    Args:
        paths: Files and folders, from the developer's own code.
        image_store: An `ImageStore` or the folder of one; by default the store of the process.

    Attributes:
        skipped: The files that could not be used, with the reasons; each is also logged.
    """

    def __init__(
        self, paths: str | Path | Sequence[str | Path], image_store: ImageStoreLike = None
    ) -> None:
        self._image_store = image_store
        self.paths = [paths] if isinstance(paths, str | Path) else list(paths)
        self.skipped: list[Skipped] = []

    def lazy_load(self) -> Iterator[Document]:
        """Yield the pages in order, without files that cannot be used.

        Raises:
            DocumentError: A path does not exist.
        """
        self.skipped = []
        with translated_errors():
            store = open_store(self._image_store)
            for item in load_pages(self.paths):
                if isinstance(item, Skipped):
                    self.skipped.append(item)
                    _log.warning("skipped %s: %s", item.document, item.reason)
                    continue
                page = item.page
                store.add(page.image)
                yield _document(page.text, page.digest, page.number, item.metadata)


def _document(text: str, digest: str, page: int, metadata: Mapping[str, object]) -> Document:
    """Return a page as a document.

    Its id depends on the content, so that a store holds a page once when it is added twice.
    """
    metadata = {"source": metadata["document"], **metadata}
    return Document(text, id=f"{digest[:32]}-{page}", metadata=metadata)
