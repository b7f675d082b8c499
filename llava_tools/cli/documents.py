"""`llava-tools index`."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from llava_tools.cli.inputs import expand_patterns
from llava_tools.cli.options import add_command
from llava_tools.cli.output import is_quiet, write, write_error, write_json
from llava_tools.cli.search import split_field
from llava_tools.embedding import Embedder
from llava_tools.errors import require
from llava_tools.images.sources import shorten

if TYPE_CHECKING:
    from llava_tools.retrieval import IndexProgress

#: Exit code if some files were left out of an index.
SOME_SKIPPED = 3


def add(commands: Any) -> None:
    """Add the command to the subparsers of `llava-tools`."""
    index = add_command(
        commands,
        "index",
        _index,
        "make PDFs and images searchable",
        ("index manuals/ photos/ --to my-index", "index report.pdf --to my-index --model 7b"),
    )
    index.add_argument("paths", nargs="+", metavar="PATH", help="PDFs, images, folders or patterns")
    index.add_argument(
        "--to", required=True, metavar="DIR", help="folder of the index; created if missing"
    )
    index.add_argument(
        "--model",
        help="its vision tower embeds images: tiny (a new index's default), 7b, 13b, a hub id or a "
        "folder",
    )
    index.add_argument(
        "--ocr", action="store_true", help="read pages without a text layer (extra: ocr)"
    )
    index.add_argument(
        "--metadata",
        action="append",
        metavar="NAME=VALUE",
        help="a field of these documents for --where of `search`; may be repeated",
    )
    index.add_argument("--json", action="store_true", help="the report as JSON")


def _index(arguments: argparse.Namespace) -> int:
    from llava_tools.retrieval import PageIndex, RapidOcr

    ocr = RapidOcr() if arguments.ocr else None
    embedder = None if arguments.model is None else Embedder(arguments.model)
    index = PageIndex(arguments.to, embedder)
    metadata = None if arguments.metadata is None else dict(map(split_field, arguments.metadata))
    with _progress_bar() as show:
        report = index.update(
            expand_patterns(arguments.paths), show, ocr=ocr, metadata=metadata
        )
    if arguments.json:
        skipped = [{"document": s.document, "reason": s.reason} for s in report.skipped]
        write_json(asdict(report) | {"skipped": skipped})
    else:
        write(
            f"{report.documents} documents in {shorten(arguments.to, quote=False)}: "
            f"{report.added} pages added, {report.unchanged} documents unchanged, "
            f"{report.removed} removed, {len(report.skipped)} skipped, {report.seconds:.1f} s"
        )
    for skip in report.skipped:
        write_error(f"skipped {skip.document}: {skip.reason}")
    return SOME_SKIPPED if report.skipped else 0


@contextmanager
def _progress_bar() -> Iterator[Any]:
    """Show pages, pages per second and the time left, if stderr is a terminal."""
    require("tqdm", extra="documents")
    from tqdm import tqdm

    with tqdm(unit="page", unit_scale=False, disable=is_quiet() or None, desc="indexing") as bar:

        def show(progress: IndexProgress) -> None:
            bar.total = progress.total
            bar.update(progress.done - bar.n)

        yield show
