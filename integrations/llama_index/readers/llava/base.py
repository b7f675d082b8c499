"""`LlavaPageReader`: PDFs and images as LlamaIndex documents.

A page is an `ImageDocument` with its image and, if it has a text layer, a `Document` with its text.
They are apart, because LlamaIndex's splitters give each chunk of an `ImageDocument` the whole
image. The metadata of both name the file, the page and the image's handle, by which they belong
together. They are excluded from prompts and embeddings, since they do not describe what the page
shows. Only of an image without text the file's path is embedded, because LlamaIndex leaves nodes
without any content out of its indexes.
"""

from __future__ import annotations

import base64
import logging
import posixpath
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path, PurePath
from typing import Any, Literal

from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem
from llama_index.core.readers.base import BasePydanticReader
from llama_index.core.schema import Document, ImageDocument, MediaResource
from pydantic import ConfigDict, PrivateAttr, ValidationError

from llava_tools.errors import DocumentError, RequestError, refuse_unknown
from llava_tools.images.sources import shorten
from llava_tools.images.store import open_store
from llava_tools.model_fields import ImageStoreField
from llava_tools.options import validation_error
from llava_tools.retrieval import LoadedPage, Skipped, load_pages, page_id
from llava_tools.retrieval.files import SUFFIXES
from llava_tools.retrieval.pdf_process import release_files

_log = logging.getLogger(__name__)

Paths = str | PurePath | Sequence[str | PurePath]


class LlavaPageReader(BasePydanticReader):
    """Pages of PDFs and images, for any LlamaIndex index.

    The metadata are `document` (the file's path), `page` (from 1), `pages`, `handle`, `width` and
    `height`. Images also go to the image store, so that visual tools can open them by handle. Ids
    are UUIDs of path and page; a changed page keeps its id and has another `hash`.

    Setup:
        Install the extras `llama-index` and `documents`.

    Load:
        ```python
        from llama_index.readers.llava import LlavaPageReader

        documents = LlavaPageReader().load_data("examples/signs.pdf")
        ```

    Folders:
        `SimpleDirectoryReader("manuals", file_extractor={".pdf": LlavaPageReader()})`

    Raises:
        RequestError: An unknown option, or a value that is not possible.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    layout: Literal["apart", "together", "text"] = "apart"
    """`apart`: a page's image is one document and its text another. `together`: both are one
    `ImageDocument`, of which splitters copy the image into each chunk. `text`: texts only, for
    indexes of text; their handles still open images."""
    image_store: ImageStoreField = None
    """An `ImageStore` or the folder of one; by default the store of the process."""
    allowed_directories: tuple[Path, ...] | None = None
    """Folders outside of which no file is read, for paths that a model or a user names. None: your
    own code names the paths, and they may lead anywhere."""
    raise_on_error: bool = False
    """Raise the error of a file that cannot be read, instead of skipping it."""

    _skipped: list[Skipped] = PrivateAttr(default_factory=list)

    def __init__(self, **options: Any) -> None:
        refuse_unknown(options, {*type(self).model_fields, "class_name"}, "LlavaPageReader")
        try:
            super().__init__(**options)
        except ValidationError as error:
            raise validation_error(error, "LlavaPageReader") from None

    @classmethod
    def class_name(cls) -> str:
        """Return the name by which LlamaIndex serializes this class."""
        return "LlavaPageReader"

    @property
    def skipped(self) -> list[Skipped]:
        """The files of the last run that could not be read, with the reasons; each is logged."""
        return self._skipped

    def lazy_load_data(
        self,
        paths: Paths,
        extra_info: Mapping[str, Any] | None = None,
        fs: AbstractFileSystem | None = None,
    ) -> Iterable[Document]:
        """Yield the documents of each page, in order: its image, then its text if it has one.

        Args:
            paths: Files and folders, as your own code names them, or in `allowed_directories`.
            extra_info: More metadata for each document, which prompts and embeddings of its text
                contain.
            fs: The file system of the paths; by default the local one. Files of others are copied
                one by one while they are read.

        Raises:
            DocumentError: A path does not exist, or is not allowed; with `raise_on_error` also a
                file that cannot be read.
            RequestError: `fs` together with `allowed_directories`, which are local.
        """
        self._skipped = []
        listed = [paths] if isinstance(paths, str | PurePath) else list(paths)
        if fs is None or isinstance(fs, LocalFileSystem):
            pages: Iterator[LoadedPage | Skipped] = load_pages(
                list(map(Path, listed)), self.allowed_directories
            )
        elif self.allowed_directories is not None:
            raise RequestError(
                "allowed_directories are local, and fs is another file system.", "Leave one out."
            )
        else:
            pages = _load_copies(fs, listed)
        return self._documents(pages, dict(extra_info or {}))

    def _documents(
        self, pages: Iterable[LoadedPage | Skipped], extra_info: dict[str, Any]
    ) -> Iterator[Document]:
        store = open_store(self.image_store)
        for item in pages:
            if isinstance(item, LoadedPage):
                store.add(item.page.image)
                if self.layout != "text":
                    text = item.page.text if self.layout == "together" else ""
                    yield _image_document(item, text, extra_info)
                if self.layout != "together" and item.page.text:
                    yield _text_document(item, extra_info)
                continue
            if self.raise_on_error:
                raise DocumentError(f"{shorten(item.document)} cannot be read: {item.reason}")
            self._skipped.append(item)
            _log.warning("skipped %s", item)


def _image_document(item: LoadedPage, text: str, extra_info: dict[str, Any]) -> ImageDocument:
    metadata = {**extra_info, **item.metadata}
    return ImageDocument(
        id_=page_id(item.document.path, item.page.number),
        text_resource=MediaResource(text=text),  # vector stores do not read documents without one
        image=base64.b64encode(item.page.image.data),
        image_mimetype=item.page.image.media_type,
        metadata=metadata,
        excluded_embed_metadata_keys=[name for name in metadata if text or name != "document"],
        # Next to a text, LlamaIndex's prompt helper may cut the image off.
        excluded_llm_metadata_keys=list(metadata),
    )


def _text_document(item: LoadedPage, extra_info: dict[str, Any]) -> Document:
    return Document(
        id_=page_id(item.document.path, item.page.number, "&text"),
        text=item.page.text,
        metadata={**extra_info, **item.metadata},
        excluded_embed_metadata_keys=list(item.metadata),
        excluded_llm_metadata_keys=list(item.metadata),
    )


def _load_copies(
    fs: AbstractFileSystem, paths: Iterable[str | PurePath]
) -> Iterator[LoadedPage | Skipped]:
    """Yield the pages of files in another file system, under their names there."""
    for root in map(str, paths):
        if not fs.exists(root):
            raise DocumentError(f"There is no file or folder {root!r:.200}.", "Check the name.")
        for file in [root] if fs.isfile(root) else sorted(fs.find(root)):
            name = posixpath.basename(file)
            if file != root and posixpath.splitext(name)[1].lower() not in SUFFIXES:
                continue
            with tempfile.TemporaryDirectory() as folder:
                copy = Path(folder, _copy_name(name))
                fs.get_file(file, str(copy))
                try:
                    with closing(load_pages([copy])) as items:
                        for item in items:
                            yield item.renamed(file)
                finally:
                    release_files()


def _copy_name(name: str) -> str:
    r"""Return a name of a file in its folder on every system, unlike `..\a` or `C:a`."""
    return "copy of " + re.sub(r"[^\w. -]", "_", name)[-100:]
