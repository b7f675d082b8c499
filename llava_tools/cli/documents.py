"""`llava-tools index`."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from llava_tools.cli.index_plan import confirm, describe_plan, show_progress, warn_of_toy
from llava_tools.cli.inputs import expand_patterns
from llava_tools.cli.options import add_command
from llava_tools.cli.output import SOME_SKIPPED, write, write_error, write_json, write_note
from llava_tools.cli.search import split_field
from llava_tools.embedding import Embedder
from llava_tools.errors import ForeignIndexError, IndexStoreError
from llava_tools.images.sources import shorten

if TYPE_CHECKING:
    from llava_tools.retrieval import IndexPlan


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
        "--to",
        required=True,
        metavar="DIR",
        help="folder of the index, or s3://BUCKET/NAME; created if missing",
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
    index.add_argument(
        "--keep-images",
        action="store_true",
        default=None,
        help="a new index keeps JPEGs of the pages (some 200 kB each), and needs no other files",
    )
    index.add_argument(
        "--plan", action="store_true", help="print documents, pages, time and size, and stop"
    )
    index.add_argument("-y", "--yes", action="store_true", help="begin without a confirmation")
    index.add_argument("--json", action="store_true", help="the report, or the plan, as JSON")


def _index(arguments: argparse.Namespace) -> int:
    from llava_tools.retrieval import PageIndex, RapidOcr

    ocr = RapidOcr() if arguments.ocr else None
    embedder = None if arguments.model is None else Embedder(arguments.model)
    index = PageIndex(arguments.to, embedder)
    metadata = None if arguments.metadata is None else dict(map(split_field, arguments.metadata))
    paths = expand_patterns(arguments.paths)
    keep_images = arguments.keep_images
    try:
        plan = index.plan(paths, keep_images=keep_images, ocr=ocr, metadata=metadata)
    except IndexStoreError as error:
        if arguments.plan or isinstance(error, ForeignIndexError):
            raise
        write_note(f"{error.message} Trying to mend it.")
        plan = None
    if plan is not None and not _approve(plan, arguments):
        return 0
    with show_progress() as show:
        options: Any = {"keep_images": keep_images, "ocr": ocr, "metadata": metadata}
        report = index.update(paths if plan is None else plan, show, **options)
    if arguments.json:
        skipped = [item.as_dict() for item in report.skipped]
        write_json(asdict(report) | {"skipped": skipped})
    else:
        write(
            f"{report.documents} documents in {shorten(arguments.to, quote=False)}: "
            f"{report.added} pages added, {report.unchanged} documents unchanged, "
            f"{report.removed} removed, {len(report.skipped)} skipped, {report.seconds:.1f} s"
        )
    for skip in report.skipped:
        write_error(f"skipped {skip}")
    return SOME_SKIPPED if report.skipped else 0


def _approve(plan: IndexPlan, arguments: argparse.Namespace) -> bool:
    """Show a plan, and return whether to begin."""
    if arguments.plan and arguments.json:
        write_json(plan.as_dict())
    elif arguments.plan:
        write("\n".join(describe_plan(plan)))
    else:
        for line in describe_plan(plan):
            write_note(line)
    warn_of_toy(plan)
    if arguments.plan:
        return False
    if arguments.yes or confirm(plan):
        return True
    write_note("nothing was indexed")
    return False
