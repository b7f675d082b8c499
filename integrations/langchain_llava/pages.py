"""Pages in LangChain: `LlavaPageRetriever` finds them in an index, `LlavaPageLoader` reads them from files.

A page is a `Document`: its text layer is the content (empty for an image), and its metadata name
the document, the page and the handle of its image. Handles lead to the image as long as it is
in the process's store: as `file_id` of an image block for `ChatLlava`, or as a tool's argument.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.document_loaders import BaseLoader
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from pydantic import ConfigDict, Field, PrivateAttr

from langchain_llava.errors import as_langchain
from llava_tools.images.store import shared_store
from llava_tools.model import Llava
from llava_tools.retrieval import PageIndex, Skipped, load
from llava_tools.retrieval.search import Hit, Mode

_log = logging.getLogger(__name__)


class LlavaPageRetriever(BaseRetriever):
    """Pages of an index that words are about, best first.

        PageIndex("my-index").update(["manuals/"])
        retriever = PageRetriever(index="my-index", k=3)
        for found in retriever.invoke("how to descale the machine"):
            print(found.metadata["document"], found.metadata["page"], found.page_content)

    The documents' metadata carry `document`, `source`, `page` (from 1), `score`, `handle` and
    `snippet`. `invoke(query, k=1)` asks for another number. Nothing is loaded until then.

    Raises:
        RequestError: An impossible query, number or mode.
        DocumentError: With `images`: a page's file is gone, or changed after it was indexed.
        IndexStoreError: There is no index there.
        ModelError: The embedder cannot be loaded.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    index: str | Path | PageIndex = Field(exclude=True)
    """Where to look: an index, or its folder."""
    k: int = 5
    """How many pages."""
    mode: Mode = "hybrid"
    """By images and texts, or by one of both (`image`, `text`)."""
    rerank: Llava | None = Field(default=None, exclude=True, repr=False)
    """Who looks at the 3 k best to put those first that show it."""
    images: bool = True
    """Draw each page and keep it in the image store, so that its handle leads to it."""

    _opened: PageIndex | None = PrivateAttr(None)

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, k: int | None = None
    ) -> list[Document]:
        with as_langchain():
            index = self._index()
            many = self.k if k is None else k
            hits = index.search(query, many, mode=self.mode, rerank=self.rerank)
            for hit in hits if self.images else ():
                shared_store().add(index.open(hit))
        return [_document(hit) for hit in hits]

    def _index(self) -> PageIndex:
        if isinstance(self.index, PageIndex):
            return self.index
        if self._opened is None:
            self._opened = PageIndex(self.index)
        return self._opened


class LlavaPageLoader(BaseLoader):
    """Pages of PDFs and images as documents, one by one, without an index.

    The documents' metadata carry `document`, `source`, `page` (from 1), `pages`, `handle`, `width`
    and `height`. Images go to the image store, which keeps the latest ones up to its bound.

    Args:
        paths: Files and folders, as your own code names them.

    Attributes:
        skipped: The files that could not be used, with the reasons; each is logged too.
    """

    def __init__(self, paths: str | Path | Sequence[str | Path]) -> None:
        self.paths = [paths] if isinstance(paths, str | Path) else list(paths)
        self.skipped: list[Skipped] = []

    def lazy_load(self) -> Iterator[Document]:
        """Yield the pages in order.

        Raises:
            DocumentError: A path does not exist. A file that cannot be used is skipped instead.
        """
        self.skipped = []
        with as_langchain():
            for item in load(self.paths):
                if isinstance(item, Skipped):
                    self.skipped.append(item)
                    _log.warning("skipped %s: %s", item.document, item.reason)
                    continue
                shared_store().add(item.page.image)
                metadata: dict[str, Any] = {"source": item.document.path, **item.metadata}
                yield Document(
                    item.page.text, id=_id(item.page.digest, item.page.number), metadata=metadata
                )


def _document(hit: Hit) -> Document:
    metadata = {"source": hit.document, **hit.as_dict()}
    return Document(hit.text, id=_id(hit.digest, hit.page), metadata=metadata)


def _id(digest: str, page: int) -> str:
    """Name a page by its content, so that a store that is filled twice holds it once."""
    return f"{digest[:32]}-{page}"
