"""Pages of files without an index: paths go in, pages come out one by one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from llava_tools.errors import DocumentError, ImageError
from llava_tools.retrieval.files import FileScan, Skipped
from llava_tools.retrieval.pages import Document, PageImage, hash_file, open_document, read_pages


@dataclass(frozen=True)
class LoadedPage:
    """A page, and its document."""

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


def load_pages(paths: Sequence[str | Path]) -> Iterator[LoadedPage | Skipped]:
    """Yield the pages of files and folders in order, and each file that cannot be used.

    One page is in memory at a time. If a file breaks in the middle, its readable pages come first,
    then the `Skipped`.

    Raises:
        DocumentError: A path does not exist.
        MissingExtraError: pypdfium2 is not installed.
    """
    scan = FileScan.of(paths)
    yield from scan.skipped
    for path in scan.files:
        try:
            document = open_document(path, *hash_file(path))
            for page in read_pages(document):
                yield LoadedPage(document, page)
        except (DocumentError, ImageError, OSError) as error:
            yield Skipped.from_error(path, error)
