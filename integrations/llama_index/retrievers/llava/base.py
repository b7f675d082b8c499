"""`LlavaPageRetriever`: the pages of a `PageIndex` as scored LlamaIndex nodes.

A page is an `ImageNode`: its image, its text layer, and metadata that name the document, the page
and the image's handle. The metadata are excluded from prompts and embeddings.
"""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path
from typing import Any

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.callbacks import CallbackManager
from llama_index.core.schema import ImageNode, NodeWithScore, QueryBundle, TextNode
from llama_index.core.vector_stores.types import MetadataFilters

from llama_index.llms.llava import Llava as LlamaIndexLlava
from llama_index.retrievers.llava.filters import to_page_filter
from llama_index.tools.llava.request_sender import LlmSender
from llava_tools.images.store import ImageStore, ImageStoreLike, open_store
from llava_tools.model import Llava
from llava_tools.retrieval import Hit, PageIndex, page_id
from llava_tools.retrieval.search import SearchMode, check_search
from llava_tools.tools.find import open_page


class LlavaPageRetriever(BaseRetriever):
    """Retriever of the pages in an index that match a query, best first.

    The metadata of a node are `document` (the file's path), `page` (from 1), `handle`, `width`,
    `height` and `snippet`. A page whose file is gone or has changed comes as a `TextNode` without
    its image and handle; `note` in its metadata says why. The first query loads the index.

    Setup:
        Install the extras `torch`, `llama-index` and `documents`.

    Retrieve:
        ```python
        from llama_index.retrievers.llava import LlavaPageRetriever
        from llava_tools.retrieval import PageIndex

        PageIndex("my-index").update(["examples/signs.pdf"])
        retriever = LlavaPageRetriever("my-index", similarity_top_k=3)
        for hit in retriever.retrieve("a yellow star"):
            print(hit.metadata["document"], hit.metadata["page"], hit.score)
        ```

    Query engine:
        ```python
        from llama_index.core.query_engine import RetrieverQueryEngine
        from llama_index.llms.llava import Llava

        engine = RetrieverQueryEngine.from_args(retriever, llm=Llava(), multimodal=True)
        ```

    Args:
        index: The index, or its folder.
        similarity_top_k: Number of pages, 1 to 1000.
        mode: Search in images (`image`), texts (`text`) or both.
        filters: Conditions on `document`, `page`, `handle`, `width` and `height`. Pages that do not
            match are left out before the ranking.
        rerank: A model that looks at the best pages, three times as many, and puts those first that
            show the query. With a `llama_index.llms.llava.Llava`, its callbacks see the requests.
        with_images: Render each page, and keep its image in the image store under its handle.
        image_store: An `ImageStore` or the folder of one; by default the store of the process.
        callback_manager: LlamaIndex's callbacks.
        verbose: Whether LlamaIndex prints what it retrieves from nested objects.

    Raises:
        RequestError: An impossible number, mode, filter or query.
        IndexStoreError: There is no index there.
        ModelError: The embedder cannot be loaded.
    """

    def __init__(
        self,
        index: str | Path | PageIndex,
        *,
        similarity_top_k: int = 5,
        mode: SearchMode = "hybrid",
        filters: MetadataFilters | None = None,
        rerank: Llava | LlamaIndexLlava | None = None,
        with_images: bool = True,
        image_store: ImageStoreLike = None,
        callback_manager: CallbackManager | None = None,
        verbose: bool = False,
    ) -> None:
        check_search("any", similarity_top_k, mode)
        self._index = index if isinstance(index, PageIndex) else PageIndex(index)
        self._top_k = similarity_top_k
        self._mode: SearchMode = mode
        self._where = None if filters is None else to_page_filter(filters)
        self._rerank = LlmSender(rerank) if isinstance(rerank, LlamaIndexLlava) else rerank
        self._with_images = with_images
        self._image_store = image_store
        super().__init__(callback_manager=callback_manager, verbose=verbose)

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        hits = self._index.search(
            query_bundle.query_str,
            self._top_k,
            mode=self._mode,
            rerank=self._rerank,
            where=self._where,
        )
        store = open_store(self._image_store) if self._with_images else None
        return [NodeWithScore(node=self._node(hit, store), score=hit.score) for hit in hits]

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return await asyncio.to_thread(self._retrieve, query_bundle)

    def _node(self, hit: Hit, store: ImageStore | None) -> TextNode:
        if store is None:
            return TextNode(**_fields(hit, handle=hit.handle))
        image, note = open_page(self._index, hit)
        if image is None:
            return TextNode(**_fields(hit, note=note))
        return ImageNode(
            **_fields(hit, handle=store.add(image)),
            image=base64.b64encode(image.data).decode(),
            image_mimetype=image.media_type,
        )


def _fields(hit: Hit, **more: str) -> dict[str, Any]:
    """Return the fields of a page's node, with image or without; `more` are metadata."""
    width, height = hit.size
    metadata = {
        "document": hit.document,
        "page": hit.page,
        **more,
        "width": width,
        "height": height,
        "snippet": hit.snippet,
    }
    return {
        "id_": page_id(hit.document, hit.page),
        "text": hit.text,
        "metadata": metadata,
        "excluded_embed_metadata_keys": list(metadata),
        "excluded_llm_metadata_keys": list(metadata),
    }
