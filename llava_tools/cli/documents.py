"""`llava-tools index` and `search`, and what `ask --index` says: parse, call, print.

What reads documents is imported when a command needs it, so that others start without.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from llava_tools.embedding import Embedder
from llava_tools.errors import MissingExtraError, RequestError
from llava_tools.images.sources import short
from llava_tools.model import Llava

if TYPE_CHECKING:
    from llava_tools.retrieval import DocumentAnswer, Progress

#: Exit code where some files were left out: the rest is indexed.
SOME_SKIPPED = 3


def add_commands(commands: Any) -> None:
    """Add `index` and `search` to the commands of an argument parser."""
    index = commands.add_parser("index", help="make PDFs and pictures searchable")
    index.set_defaults(run=_index)
    index.add_argument("paths", nargs="+", metavar="PATH", help="PDFs, pictures, folders of them")
    index.add_argument(
        "--to", required=True, metavar="DIR", help="where the index is; made if it is not there"
    )
    index.add_argument(
        "--model",
        help="whose eye looks: tiny (a new index's default), 7b, 13b, a hub id or a folder",
    )
    index.add_argument("--json", action="store_true", help="what was done as JSON")
    search = commands.add_parser("search", help="find pages in an index")
    search.set_defaults(run=_search)
    search.add_argument("index", metavar="DIR", help="an index, made by `llava-tools index`")
    search.add_argument("query", help="what to look for")
    search.add_argument("-k", type=int, default=5, metavar="N", help="how many pages (5)")
    search.add_argument("--mode", default="hybrid", help="hybrid (default), picture or text")
    search.add_argument("--json", action="store_true", help="a list of pages, counted from 1")


def add_asking(parser: argparse.ArgumentParser) -> None:
    """Add the options of `ask` that are about an index."""
    parser.add_argument("--index", metavar="DIR", help="ask the pages of an index")
    parser.add_argument("-k", type=int, default=3, metavar="N", help="how many of its pages (3)")
    parser.add_argument(
        "--with-text", action="store_true", help="tell the model the pages' text layer as well"
    )
    parser.add_argument(
        "--no-zoom", action="store_true", help="ask whole pages only, which is faster"
    )


def ask_index(arguments: argparse.Namespace, model: Llava) -> int:
    """Answer the question of `ask --index`.

    Raises:
        RequestError: More than a question.
    """
    if len(arguments.words) != 1:
        raise RequestError(
            f"--index takes one question, not {len(arguments.words)} words.",
            f'Run: llava-tools ask --index {arguments.index} "What is the total?"',
        )
    from llava_tools.retrieval import PageIndex, ask

    found = ask(
        PageIndex(arguments.index),
        arguments.words[0],
        model,
        k=arguments.k,
        with_text=arguments.with_text,
        zoom=not arguments.no_zoom,
        max_tokens=arguments.max_tokens or 64,
    )
    if arguments.json:
        _print_json(found.as_dict())
    else:
        print(_told(found))  # noqa: T201
    return 0


def _told(found: DocumentAnswer) -> str:
    lines = [found.text]
    for citation in found.citations:
        place = f"  box {list(citation.box)}" if citation.box else ""
        lines.append(f"  {citation.document}, page {citation.page}{place}")
        lines += [f"    {citation.snippet}"] if citation.snippet else []
    return "\n".join(lines)


def _index(arguments: argparse.Namespace) -> int:
    from llava_tools.retrieval import PageIndex

    embedder = None if arguments.model is None else Embedder(arguments.model)
    index = PageIndex(arguments.to, embedder)
    with _bar() as show:
        report = index.update(arguments.paths, show)
    if arguments.json:
        told = {name: getattr(report, name) for name in report.__dataclass_fields__}
        skipped = [{"document": s.document, "reason": s.reason} for s in report.skipped]
        _print_json(told | {"skipped": skipped})
    else:
        print(  # noqa: T201
            f"{report.documents} documents in {short(arguments.to, quote=False)}: "
            f"{report.added} pages added, {report.unchanged} documents unchanged, "
            f"{report.removed} removed, {len(report.skipped)} skipped, {report.seconds:.1f} s"
        )
    for skip in report.skipped:
        sys.stderr.write(f"llava-tools: skipped {skip.document}: {skip.reason}\n")
    return SOME_SKIPPED if report.skipped else 0


def _search(arguments: argparse.Namespace) -> int:
    from llava_tools.retrieval import PageIndex

    hits = PageIndex(arguments.index).search(arguments.query, arguments.k, mode=arguments.mode)
    if arguments.json:
        _print_json([hit.as_dict() for hit in hits])
        return 0
    for rank, hit in enumerate(hits, start=1):
        print(f"{rank}. {hit.document}, page {hit.page}  ({hit.score:.3f})")  # noqa: T201
        if hit.snippet:
            print(f"   {hit.snippet}")  # noqa: T201
    return 0


@contextmanager
def _bar() -> Iterator[Any]:
    """Show pages, pages a second and the time left, where somebody watches."""
    try:
        from tqdm import tqdm
    except ImportError as error:
        raise MissingExtraError("tqdm", "documents") from error
    with tqdm(unit="page", unit_scale=False, disable=None, desc="indexing") as bar:

        def show(progress: Progress) -> None:
            bar.total = progress.total
            bar.update(progress.done - bar.n)

        yield show


def _print_json(value: object) -> None:
    print(json.dumps(value, ensure_ascii=False, indent=2))  # noqa: T201
