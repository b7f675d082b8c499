"""Document pages: `LlavaPageRetriever` searches an index, `LlavaPageLoader` reads files.

A page becomes a `Document`: its content is the page's text layer (empty for an image), its metadata
name the document, the page and the handle of the page's image. While the image is in the image
store, the handle works as `file_id` of an image block for `ChatLlava` and as a tool's argument.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from langchain_core.callbacks import (
    AsyncCallbackManagerForRetrieverRun,
    CallbackManagerForRetrieverRun,
)
from langchain_core.document_loaders import BaseLoader
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables.config import patch_config
from pydantic import ConfigDict, Field, PrivateAttr

from langchain_llava.chat_models import ChatLlava
from langchain_llava.errors import translated_errors
from langchain_llava.options import CheckedOptions
from langchain_llava.request_sender import ChatSender, chat_model
from llava_tools.images.store import ImageStore, ImageStoreLike, open_store
from llava_tools.model import Llava
from llava_tools.retrieval import Hit, PageIndex, Skipped, load_pages, page_id
from llava_tools.retrieval.search import SearchMode
from llava_tools.tools.find import open_page

_log = logging.getLogger(__name__)


class LlavaPageRetriever(CheckedOptions, BaseRetriever):
    """Retriever of the pages in an index that match a query, best first.

    The metadata of a document are `document`, `source`, `page` (from 1), `score`, `handle` and
    `snippet`. A page whose file was deleted or changed after indexing has no `handle`, and a `note`
    that says why. A call may override `k`. The first query loads the index.

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
        RequestError: An unknown option, or an impossible query, number or mode.
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
    rerank: Llava | ChatLlava | None = Field(default=None, exclude=True, repr=False)
    """A model that looks at the 3 k best pages and puts those first that show the query."""
    with_images: bool = True
    """Render each page and keep its image in the image store under its handle."""
    image_store: ImageStore | Path | str | None = Field(default=None, exclude=True)
    """An `ImageStore` or the folder of one; by default the store of the process."""

    _opened: PageIndex | None = PrivateAttr(None)

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, k: int | None = None
    ) -> list[Document]:
        return self._search(query, k, run_manager)

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, k: int | None = None
    ) -> list[Document]:
        return await asyncio.to_thread(self._search, query, k, run_manager.get_sync())

    def _search(
        self, query: str, k: int | None, run_manager: CallbackManagerForRetrieverRun
    ) -> list[Document]:
        with translated_errors():
            index = self._index()
            limit = self.k if k is None else k
            judge = None
            if self.rerank is not None:
                config = patch_config(None, callbacks=run_manager.get_child())
                judge = ChatSender(chat_model(self.rerank), config, self.image_store)
            hits = index.search(query, limit, mode=self.mode, rerank=judge)
            store = open_store(self.image_store) if self.with_images else None
            metadata = [_metadata(index, hit, store) for hit in hits]
        return [
            _document(hit.text, hit.digest, hit.page, data)
            for hit, data in zip(hits, metadata, strict=True)
        ]

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
                    _log.warning("skipped %s", item)
                    continue
                page = item.page
                store.add(page.image)
                yield _document(page.text, page.digest, page.number, item.metadata)


def _metadata(index: PageIndex, hit: Hit, store: ImageStore | None) -> dict[str, object]:
    """Return the metadata of a hit's document; with a store, the page's image goes there."""
    metadata = hit.as_dict()
    metadata["width"], metadata["height"] = metadata.pop("size")  # vector stores take no lists
    if store is not None:
        image, note = open_page(index, hit)
        if image is None:
            del metadata["handle"]
            return {**metadata, "note": note}
        metadata["handle"] = store.add(image)
    return metadata


def _document(text: str, digest: str, page: int, metadata: Mapping[str, object]) -> Document:
    """Return a page as a document.

    Its id, a UUID as Qdrant needs it, depends on the content, so that a store holds a page once
    when it is added twice.
    """
    metadata = {"source": metadata["document"], **metadata}
    return Document(text, id=page_id(digest, page), metadata=metadata)
