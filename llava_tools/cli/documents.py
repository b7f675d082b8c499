"""`llava-tools index` and `llava-tools search`."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from llava_tools.cli.inputs import expand_patterns
from llava_tools.cli.options import add_command
from llava_tools.cli.output import is_quiet, write, write_error, write_json
from llava_tools.embedding import Embedder
from llava_tools.errors import require
from llava_tools.images.sources import shorten

if TYPE_CHECKING:
    from llava_tools.retrieval import IndexProgress

#: Exit code if some files were left out of an index.
SOME_SKIPPED = 3


def add(commands: Any) -> None:
    """Add both commands to the subparsers of `llava-tools`."""
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
    index.add_argument("--json", action="store_true", help="the report as JSON")
    search = add_command(
        commands,
        "search",
        _search,
        "find pages in an index",
        ('search my-index "descaling"', 'search my-index "a red pump" -k 1 --mode image --json'),
    )
    search.add_argument("index", metavar="DIR", help="an index, made by `llava-tools index`")
    search.add_argument("query", help="what to look for")
    search.add_argument("-k", type=int, default=5, metavar="N", help="number of pages (5)")
    search.add_argument("--mode", default="hybrid", help="hybrid, image or text (hybrid)")
    search.add_argument("--json", action="store_true", help="a list of pages, counted from 1")


def _index(arguments: argparse.Namespace) -> int:
    from llava_tools.retrieval import PageIndex

    embedder = None if arguments.model is None else Embedder(arguments.model)
    index = PageIndex(arguments.to, embedder)
    with _progress_bar() as show:
        report = index.update(expand_patterns(arguments.paths), show)
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


def _search(arguments: argparse.Namespace) -> int:
    from llava_tools.retrieval import PageIndex

    hits = PageIndex(arguments.index).search(arguments.query, arguments.k, mode=arguments.mode)
    if arguments.json:
        write_json([hit.as_dict() for hit in hits])
        return 0
    for rank, hit in enumerate(hits, start=1):
        write(f"{rank}. {hit.document}, page {hit.page}  ({hit.score:.3f})")
        if hit.snippet:
            write(f"   {hit.snippet}")
    return 0


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
