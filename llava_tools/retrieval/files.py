"""The files to index: paths go in, files and the skipped ones come out.

Follows links in folders and visits each folder once, without hidden files and folders. Names that
are not UTF-8 are skipped: neither an index nor JSON can hold them. Opens folders, and no files.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

from llava_tools.core.unicode import well_formed
from llava_tools.errors import DocumentError, ImageError, on_one_line
from llava_tools.images.sources import shorten
from llava_tools.retrieval.pdf_process import DrawingLimitError

#: Suffixes of the files that are indexed in folders; a file that is named itself may have any.
SUFFIXES = frozenset(
    (".pdf", ".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".jp2")
)


@dataclass(frozen=True)
class Skipped:
    """A file that was left out.

    Attributes:
        document: Its absolute path.
        reason: Why, and what to do about it.
        keep: Whether an index keeps its earlier content: the file could not be read this time.
        digest: SHA-256 of its content if another attempt would take long and fail, too; or empty.
    """

    document: str
    reason: str
    keep: bool = False
    digest: str = ""

    def __str__(self) -> str:
        """Return it for a message: the path, printable and on one line, and the reason."""
        return f"{on_one_line(self.document)}: {self.reason}"

    @classmethod
    def from_error(
        cls, path: str, error: DocumentError | ImageError | OSError, digest: str = ""
    ) -> Skipped:
        """Return a file as skipped for an error; `digest` is that of its content, if known."""
        if isinstance(error, OSError):
            return cls(path, f"It cannot be read: {error.strerror}.", keep=True)
        return cls(path, str(error), digest=digest if isinstance(error, DrawingLimitError) else "")

    def as_dict(self) -> dict[str, str]:
        """Return document and reason, as JSON can hold them."""
        return {"document": self.document, "reason": self.reason}

    def renamed(self, path: str) -> Self:
        """Return it for a file that is called `path`, such as one that was copied."""
        return replace(self, document=path)


#: Device and inode of a folder.
_Folder = tuple[int, int]


@dataclass
class FileScan:
    """Files at and below `roots`: absolute paths, sorted, each once; and the skipped ones."""

    files: list[str] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    roots: list[str] = field(default_factory=list)
    _visited: set[_Folder] = field(default_factory=set, repr=False)

    @classmethod
    def of(cls, paths: Sequence[str | Path]) -> FileScan:
        """Find the files to index at and below paths; `DocumentError` if a path does not exist."""
        scan = cls()
        for path in paths:
            absolute = os.path.abspath(os.path.expanduser(path))
            if path == "" or not os.path.lexists(absolute):
                raise DocumentError(
                    f"There is no file or folder {shorten(path)}.", "Check the name."
                )
            scan._visit(absolute)
        scan.files = sorted(set(scan.files))
        return scan

    def _visit(self, path: str, parents: tuple[_Folder, ...] = ()) -> None:
        """Add a file, or walk a folder that is not one of its own `parents`; a root has none."""
        has_suffix = os.path.splitext(path)[1].lower() in SUFFIXES
        if parents and not has_suffix and not os.path.isdir(path):
            return
        if well_formed(path) != path:
            self.skipped.append(Skipped(path, "Its name is not UTF-8. Rename it."))
            return
        try:
            status = os.stat(path)
            if parents and _is_hidden(path, status):
                return
            if not stat.S_ISDIR(status.st_mode):
                if stat.S_ISREG(status.st_mode):
                    self.files.append(path)
                else:
                    self.skipped.append(Skipped(path, "It is a device or a pipe."))
                return
            folder = (status.st_dev, status.st_ino)
            if folder in parents:
                self.skipped.append(Skipped(path, "It links back to a folder that it is in."))
                return
            if folder in self._visited:
                return
            entries = sorted(os.listdir(path))
        except OSError as error:
            self.skipped.append(Skipped.from_error(path, error))
            return
        self._visited.add(folder)
        if not parents:
            self.roots.append(path)
        before = len(self.files) + len(self.skipped)
        for entry in entries:
            self._visit(os.path.join(path, entry), (*parents, folder))
        if not parents and len(self.files) + len(self.skipped) == before:
            self.skipped.append(Skipped(path, "There are no PDFs or images in it."))

    def is_gone(self, document: str) -> bool:
        """Return whether an indexed document no longer exists.

        If its folder is missing too, it counts as gone only below one of the `roots`: a drive that
        is not mounted must not empty an index.
        """
        try:
            os.stat(document)
        except (FileNotFoundError, NotADirectoryError):
            below_root = any(document.startswith(os.path.join(root, "")) for root in self.roots)
            return below_root or os.path.isdir(os.path.dirname(document))
        except OSError:
            return False
        return False


def _is_hidden(path: str, status: os.stat_result) -> bool:
    """Return whether a file or folder is hidden: by its name, or by its attributes on Windows."""
    attributes = getattr(status, "st_file_attributes", 0)
    return os.path.basename(path).startswith(".") or bool(attributes & stat.FILE_ATTRIBUTE_HIDDEN)
