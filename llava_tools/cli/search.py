"""`llava-tools search` and `llava-tools documents`."""

from __future__ import annotations

import argparse
import gc
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import date
from typing import TYPE_CHECKING, Any

from llava_tools.cli.options import add_command
from llava_tools.cli.output import SOME_SKIPPED, write, write_error, write_json
from llava_tools.errors import DocumentError, ImageError, RequestError, escape_line, on_one_line
from llava_tools.images.sources import shorten

if TYPE_CHECKING:
    from llava_tools.retrieval import Conditions, Hit, PageIndex, Skipped
    from llava_tools.retrieval.exporting import PageView

#: Exit code if no page is found, as of grep.
NOTHING_FOUND = 1
_DATE = re.compile(r"\d{4}(-\d\d(-\d\d(T\d\d(:\d\d){0,2})?)?)?", re.ASCII)


def add(commands: Any) -> None:
    """Add both commands to the subparsers of `llava-tools`."""
    search = add_command(
        commands,
        "search",
        _search,
        "find pages in an index",
        (
            'search my-index "descaling"',
            "search my-index '\"error code\" E17' --folder manuals/ --since 2026-01",
            'search my-index "a red pump" -k 1 --mode image --json',
            "search my-index --image photo.jpg",
            "search my-index 'pump housing' --export found/",
        ),
        "Finds pages in an index. Phrases in quotation marks must be on the page. If nothing is "
        "near, the exit code is 1.",
    )
    search.add_argument("index", metavar="DIR", help="an index, made by `llava-tools index`")
    search.add_argument("query", nargs="?", help="what to look for")
    search.add_argument("--image", metavar="FILE", help="find pages that look like this image")
    search.add_argument("-k", type=int, default=5, metavar="N", help="number of pages (5)")
    search.add_argument("--mode", default="hybrid", help="hybrid, image or text (hybrid)")
    _add_filters(search)
    search.add_argument(
        "--export", metavar="DIR", help="write the pages there, with the query's words framed"
    )
    search.add_argument("--json", action="store_true", help="a list of pages, counted from 1")
    documents = add_command(
        commands,
        "documents",
        _documents,
        "list, measure or remove what an index holds",
        (
            "documents list my-index --type pdf",
            "documents stats my-index --json",
            "documents remove my-index manuals/old.pdf",
        ),
    )
    documents.add_argument("action", choices=("list", "stats", "remove"), help="what to do")
    documents.add_argument("index", metavar="DIR", help="an index, made by `llava-tools index`")
    documents.add_argument(
        "paths", nargs="*", metavar="PATH", help="files and folders to remove from the index"
    )
    _add_filters(documents, of_pages=False)
    documents.add_argument("--json", action="store_true", help="the result as JSON")


def _add_filters(parser: argparse.ArgumentParser, *, of_pages: bool = True) -> None:
    parser.add_argument("--folder", metavar="DIR", help="only documents in this folder")
    parser.add_argument("--type", metavar="TYPE", help="only documents of a type, such as pdf")
    parser.add_argument("--since", metavar="DATE", help="changed then or later, as 2026-11-28")
    parser.add_argument("--until", metavar="DATE", help="changed then or earlier, as 2026-11")
    parser.add_argument(
        "--where",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="only documents with this metadata; may be repeated",
    )
    if of_pages:
        parser.add_argument("--pages", metavar="A-B", help="only pages of these numbers, as 1-3")


def page_filter(arguments: argparse.Namespace) -> Conditions | None:
    """Return the filter that the flags name, None without any; `RequestError` if impossible."""
    from llava_tools.retrieval import Condition, Conditions

    parts = []
    if arguments.folder is not None:
        parts.append(Condition("document", "below", arguments.folder))
    if arguments.type is not None:
        parts.append(Condition("type", "==", arguments.type.lower().removeprefix(".")))
    if arguments.since is not None:
        parts.append(Condition("modified", ">=", _date("--since", arguments.since)))
    if arguments.until is not None:
        parts.append(Condition("modified", "<=", _date("--until", arguments.until)))
    for name, value in map(split_field, arguments.where):
        # A number may be stored as a text or as a number.
        values: tuple[str | float, ...] = (value,)
        if (number := _number(value)) is not None:
            values = (value, number)
        parts.append(Condition(f"metadata.{name}", "in", values))
    if (pages := getattr(arguments, "pages", None)) is not None:
        first, separator, last = pages.partition("-")
        ends = (first or "1", last or "1000000") if separator else (first, first)
        if not all(end.isdecimal() for end in ends) or not 1 <= int(ends[0]) <= int(ends[1]):
            raise RequestError(f"--pages {pages!r:.60} are no pages.", "Use 7, 1-3, -3 or 7-.")
        parts += [Condition("page", ">=", int(ends[0])), Condition("page", "<=", int(ends[1]))]
    return Conditions(tuple(parts)) if parts else None


def _date(flag: str, text: str) -> str:
    """Return a date, of which the day, or month and day, may be missing; or raise."""
    with suppress(ValueError):
        if _DATE.fullmatch(text):
            date.fromisoformat(text[:10] + "-01-01"[len(text) - 4 :])
            return text
    raise RequestError(f"{flag} {shorten(text)} is no date.", "Use 2026, 2026-11 or 2026-11-28.")


def split_field(text: str) -> tuple[str, str]:
    """Return name and value of a field, NAME=VALUE; `RequestError` for another text."""
    name, separator, value = text.partition("=")
    if not separator or not name:
        raise RequestError(f"{text!r:.60} is no field.", "Use NAME=VALUE.")
    return name, value


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


@contextmanager
def _without_collector() -> Iterator[None]:
    """Pause the garbage collector: while LanceDB is imported, it takes a seventh of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@_without_collector()
def _search(arguments: argparse.Namespace) -> int:
    from llava_tools.retrieval import PageIndex

    index = PageIndex(arguments.index)
    hits = index.search(
        arguments.query,
        arguments.k,
        image=arguments.image,
        mode=arguments.mode,
        where=page_filter(arguments),
    )
    values = [hit.as_dict() for hit in hits]
    skipped = (
        [] if arguments.export is None or not hits else _export(index, hits, values, arguments)
    )
    if arguments.json:
        write_json(values)
    for rank, value in enumerate(() if arguments.json else values, start=1):
        name = on_one_line(value["document"])
        write(f"{rank}. {name}, page {value['page']}  ({value['score']:.3f})")
        for line in (value["snippet"], value.get("exported")):
            if line:
                write(f"   {escape_line(line)}")
    for skip in skipped:
        write_error(f"skipped {skip}")
    if not hits:
        wanted = arguments.image if arguments.query is None else arguments.query
        write_error(f"nothing found: no page of the index is near to {shorten(wanted)}.")
        return NOTHING_FOUND
    return SOME_SKIPPED if skipped else 0


def _export(
    index: PageIndex, hits: list[Hit], values: list[dict[str, Any]], arguments: argparse.Namespace
) -> list[Skipped]:
    """Write pages, and add their boxes and files to `values`; return the files without a page."""
    from llava_tools.retrieval import Skipped
    from llava_tools.retrieval.exporting import box_fields, export_pages

    exported: list[dict[str, Any]] = []
    skipped: dict[str, Skipped] = {}

    def views() -> Iterator[PageView]:  # one at a time is in memory
        for hit, value in zip(hits, values, strict=True):
            value["exported"] = None
            try:
                view = _view(index, hit, arguments.query or "")
            except (DocumentError, ImageError) as error:
                skipped[hit.document] = Skipped.from_error(hit.document, error)
                continue
            value |= box_fields(view.box, view.image.size)
            exported.append(value)
            yield view

    paths = export_pages(views(), arguments.export)
    for value, path in zip(exported, paths, strict=True):
        value["exported"] = str(path)
    return list(skipped.values())


def _view(index: PageIndex, hit: Hit, query: str) -> PageView:
    """Return a page with the place of the first phrase in quotation marks, or of the query."""
    from llava_tools.retrieval.exporting import PageView
    from llava_tools.retrieval.text_index import phrases

    image = index.open(hit)
    (text, *_) = phrases(query) or [query]
    return PageView(hit.document, hit.page, image, index.locate(hit, text) if text else None)


def _documents(arguments: argparse.Namespace) -> int:
    from llava_tools.retrieval import PageIndex

    index = PageIndex(arguments.index)
    where = page_filter(arguments)
    if arguments.action == "remove":
        return _remove(index, arguments, where)
    if arguments.paths:
        raise RequestError("Paths are for `remove`.", "Use --folder to list some documents only.")
    if arguments.action == "stats":
        stats = index.stats().as_dict()
        if arguments.json:
            write_json(stats)
        else:
            for name, value in stats.items():
                write(f"{name.replace('_', ' ')}: {value}")
        return 0
    documents = index.documents(where)
    if arguments.json:
        write_json([document.as_dict() for document in documents])
    for document in () if arguments.json else documents:
        state = "" if document.complete else ", incomplete"
        name = on_one_line(document.document)
        write(f"{name}  ({document.pages} pages, {document.modified}{state})")
    return 0


def _remove(index: PageIndex, arguments: argparse.Namespace, where: Conditions | None) -> int:
    if not arguments.paths or where is not None:
        raise RequestError("`remove` takes paths.", "Name the files or folders to remove.")
    removed = index.remove(arguments.paths)
    if arguments.json:
        write_json(removed)
    else:
        write(f"{len(removed)} documents removed from the index; the files stay.")
    return 0
