"""Pages of files for those who keep them elsewhere: paths go in, pages come out one by one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from llava_tools.errors import DocumentError, ImageError
from llava_tools.retrieval.files import Skipped, find
from llava_tools.retrieval.ingest import skipped_for
from llava_tools.retrieval.pages import Document, PageImage, digest_of, open_document, read_pages


@dataclass(frozen=True)
class Loaded:
    """A page, and the document that it belongs to."""

    document: Document
    page: PageImage

    @property
    def metadata(self) -> dict[str, str | int]:
        """The document first, page (from 1), pages, and handle, width and height of its image."""
        width, height = self.page.image.size
        return {
            "document": self.document.path,
            "page": self.page.number,
            "pages": self.document.pages,
            "handle": self.page.image.handle,
            "width": width,
            "height": height,
        }


def load(paths: Sequence[str | Path]) -> Iterator[Loaded | Skipped]:
    """Yield the pages of files and folders in order, and each file that cannot be used.

    One page is in memory at a time. A file that breaks in the middle is `Skipped` behind the pages
    that came out of it.

    Raises:
        DocumentError: A path does not exist.
        MissingExtraError: pypdfium2 is not installed.
    """
    found = find(paths)
    yield from found.skipped
    for path in found.files:
        try:
            document = open_document(path, *digest_of(path))
            for page in read_pages(document):
                yield Loaded(document, page)
        except (DocumentError, ImageError, OSError) as error:
            yield skipped_for(path, error)
