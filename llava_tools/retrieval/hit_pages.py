"""The pages of hits: their images, and where a text is on them.

A page comes from a file that still has the indexed content: the hit's own, or a copy. Without one,
it comes from the index, if that keeps images.
"""

from __future__ import annotations

from dataclasses import replace

from llava_tools.errors import DocumentError, ImageError
from llava_tools.images import ImageRef, open_image
from llava_tools.images.sources import shorten
from llava_tools.retrieval.ocr import find_words
from llava_tools.retrieval.pages import (
    Document,
    FileState,
    find_text,
    hash_file,
    page_source,
    read_page,
)
from llava_tools.retrieval.schema import DocumentRow
from llava_tools.retrieval.search import Hit
from llava_tools.retrieval.store import Store
from llava_tools.tools.geometry import Box


class HitPages:
    """Opens the pages of hits; a file is hashed again only if it changed since the last time."""

    def __init__(self) -> None:
        self._hashes: dict[str, tuple[str, FileState]] = {}

    def open(self, store: Store, hit: Hit) -> ImageRef:
        """Return a page's image; see `PageIndex.open`."""
        try:
            return read_page(self._document(store, hit), hit.page).image
        except (DocumentError, ImageError):
            kept = store.image(hit.digest, hit.page)
            if not kept:
                raise
            return replace(open_image(kept), source=page_source(hit.document, hit.page))

    def locate(self, store: Store, hit: Hit, text: str) -> Box | None:
        """Return where a page has a text; see `PageIndex.locate`."""
        try:
            box = find_text(self._document(store, hit), hit.page, text, hit.size)
        except DocumentError:
            if not store.image(hit.digest, hit.page):
                raise
            box = None
        return box or find_words(store.lines(hit.digest, hit.page), text)

    def _document(self, store: Store, hit: Hit) -> Document:
        """Return a page's document: the hit's file, or a copy, that still has the content."""
        rows = store.sources.get(hit.digest)
        if not rows:
            name = shorten(hit.document)
            raise DocumentError(f"{name} is no longer in the index.", "Search again.")
        errors = []
        for row in sorted(rows, key=lambda row: row.document != hit.document):
            try:
                return self._open_unchanged(row)
            except DocumentError as error:
                errors.append(error)
        raise errors[0]

    def _open_unchanged(self, row: DocumentRow) -> Document:
        """Return a document whose file still has the indexed content."""
        name = shorten(row.document)
        cached = self._hashes.get(row.document)
        try:
            if cached is None or cached[1] != FileState.of(row.document):
                cached = self._hashes[row.document] = hash_file(row.document)
        except OSError as error:
            raise DocumentError(
                f"{name} cannot be read any more: {error.strerror}.", "Index again."
            ) from error
        digest, state = cached
        if digest != row.digest:
            raise DocumentError(f"{name} changed after it was indexed.", "Index again.")
        return Document(row.document, digest, row.pages, state, row.is_pdf)
