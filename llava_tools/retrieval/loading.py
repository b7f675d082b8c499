"""Pages of files without an index: paths go in, pages come out one by one."""

from __future__ import annotations

import os
import uuid
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from llava_tools.errors import DocumentError, ImageError
from llava_tools.images.access import resolve_directories
from llava_tools.images.opening import directory_of, leads_to_another_computer
from llava_tools.images.sources import shorten
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

    def renamed(self, path: str) -> Self:
        """Return the page of a document that is called `path`, such as one that was copied."""
        return replace(self, document=replace(self.document, path=path))


def page_id(document: str, page: int, part: str = "") -> str:
    """Return the id of a page, or of a part of it: always the same UUID for the same arguments.

    Vector stores such as Qdrant take UUIDs only. With the path as `document`, stores replace a page
    that has changed; with the digest, they hold equal pages once.
    """
    name = f"{document}#page={page}{part}".encode("utf-8", "backslashreplace").decode()
    return str(uuid.uuid5(uuid.NAMESPACE_URL, name))


def load_pages(
    paths: Sequence[str | Path], allowed_directories: Iterable[str | Path] | None = None
) -> Generator[LoadedPage | Skipped, None, None]:
    """Yield the pages of files and folders in order, and each file that cannot be used.

    One page is in memory at a time. If a file breaks in the middle, its readable pages come first,
    then the `Skipped`.

    Args:
        paths: Files and folders.
        allowed_directories: Folders outside of which nothing is read, for paths that others name.
            None: the paths are your own, and may lead anywhere.

    Raises:
        DocumentError: A path does not exist, or is outside of the allowed directories; a file below
            it that a link leads out of them is skipped instead.
        RequestError: An allowed directory does not exist.
        MissingExtraError: pypdfium2 is not installed.
    """
    allowed = None if allowed_directories is None else resolve_directories(allowed_directories)
    for root in paths:
        if not _is_allowed(root, allowed):
            raise DocumentError(
                f"{shorten(root)} is outside of the allowed directories.",
                "Name a file in one of allowed_directories.",
            )
    scan = FileScan.of(paths)
    yield from scan.skipped
    for path in scan.files:
        if not _is_allowed(path, allowed):
            yield Skipped(path, "It links to a file outside of the allowed directories.")
            continue
        try:
            document = open_document(path, *hash_file(path, allowed))
            for page in read_pages(document):
                yield LoadedPage(document, page)
        except (DocumentError, ImageError, OSError) as error:
            yield Skipped.from_error(path, error)


def _is_allowed(path: str | Path, directories: Sequence[Path] | None) -> bool:
    if directories is None:
        return True
    if leads_to_another_computer(path, directories):
        return False
    resolved = Path(os.path.realpath(Path(path).expanduser()))
    return directory_of(resolved, directories) is not None
