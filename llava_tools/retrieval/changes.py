"""What changed since an index was written: files go in; documents to read and rows come out.

Files are compared by their content, so a file that moved or was copied is not read again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from llava_tools.errors import DocumentError, ImageError
from llava_tools.retrieval.files import Skipped
from llava_tools.retrieval.pages import Document, hash_file, open_document
from llava_tools.retrieval.refused import load_refused, refused_reasons
from llava_tools.retrieval.schema import DocumentRow
from llava_tools.retrieval.store import Store


@dataclass(frozen=True)
class DocumentJob:
    """A document to read, except its `stored` pages; `duplicates` are files of the same content.

    `metadata` is that of their rows.
    """

    document: Document
    stored: frozenset[int]
    metadata: str
    duplicates: tuple[str, ...] = ()

    @property
    def paths(self) -> tuple[str, ...]:
        """The document's files."""
        return (self.document.path, *self.duplicates)

    @property
    def missing_pages(self) -> int:
        """Pages to read."""
        return self.document.pages - len(self.stored)


@dataclass(frozen=True)
class IndexChanges:
    """Documents to read, rows of new files whose content is stored, and files without work."""

    jobs: list[DocumentJob]
    copies: list[DocumentRow]
    unchanged: int
    skipped: list[Skipped]

    @property
    def pages(self) -> int:
        """Pages to read."""
        return sum(job.missing_pages for job in self.jobs)


def find_changes(
    store: Store | None,
    files: Sequence[str],
    metadata: str | None = None,
    refused: Mapping[str, str] | None = None,
) -> IndexChanges:
    """Compare files with an index, None for a new one.

    Args:
        store: The index.
        files: Absolute paths.
        metadata: That of the files; None keeps what they had.
        refused: Reasons, by digest, of files that are not tried again, besides the index's own.
    """
    rows = store.documents() if store else {}
    complete = _complete_contents(store, rows.values()) if store else {}
    reasons = (load_refused(store) if store else {}) | dict(refused or {})
    jobs: dict[str, DocumentJob] = {}
    copies: list[DocumentRow] = []
    skipped: list[Skipped] = []
    unchanged = 0
    for path in files:
        digest, row = "", rows.get(path)
        fields = metadata if metadata is not None else row.metadata if row else "{}"
        try:
            digest, state = hash_file(path)
            if digest in complete:
                content = complete[digest]
                new = replace(content, document=path, modified=state.modified, metadata=fields)
                if new != row:
                    copies.append(new)
                unchanged += row is not None and row.digest == digest and row.complete
            elif digest in reasons:
                skipped.append(Skipped(path, reasons[digest], digest=digest))
            elif digest in jobs:
                job = jobs[digest]
                jobs[digest] = replace(job, duplicates=(*job.duplicates, path))
            else:
                document = open_document(path, digest, state)
                numbers = frozenset(store.page_numbers(digest) if store else ())
                jobs[digest] = DocumentJob(document, numbers, fields)
        except (DocumentError, ImageError, OSError) as error:
            skipped.append(Skipped.from_error(path, error, digest))
            reasons |= refused_reasons(skipped[-1:])  # copies fail the same way
    return IndexChanges(list(jobs.values()), copies, unchanged, skipped)


def _complete_contents(store: Store, rows: Iterable[DocumentRow]) -> dict[str, DocumentRow]:
    """Return a row of each digest of which all pages are stored.

    An index that was mended may have fewer pages than its complete files.
    """
    stored = store.page_counts()
    return {row.digest: row for row in rows if row.complete and stored[row.digest] >= row.pages}
