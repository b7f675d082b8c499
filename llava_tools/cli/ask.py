"""`llava-tools ask`: a question about images, or about the pages of an index."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llava_tools.cli import evidence
from llava_tools.cli.inputs import command, names_file, open_images, split_question
from llava_tools.cli.options import add_answer_flags, add_command, get_flags
from llava_tools.cli.output import (
    SOME_SKIPPED,
    write,
    write_error,
    write_json,
    write_note,
    write_stream,
)
from llava_tools.core.backend import evidence_backend, scores_labels
from llava_tools.core.outputs import Chunk, collect
from llava_tools.core.requests import SamplingParams
from llava_tools.errors import RequestError, escape_line, on_one_line
from llava_tools.images.sources import shorten
from llava_tools.model import Llava
from llava_tools.options import TINY_NOTICE, EngineOptions

if TYPE_CHECKING:
    from llava_tools.retrieval import DocumentAnswer

_log = logging.getLogger(__name__)


def add(commands: Any) -> None:
    """Add the command to the subparsers of `llava-tools`."""
    ask = add_command(
        commands,
        "ask",
        _ask,
        "ask about images, or about the pages of an index",
        (
            'ask photo.jpg "What is this?"',
            'ask before.png after.png "What changed?" --model 7b --json',
            'ask - "What is this?" < photo.jpg',
            'ask photo.jpg "What is this?" --evidence evidence.png',
            'ask --index my-index "What is the total?"',
            'ask --index my-index "How is it descaled?" --long --export cited/',
        ),
        usage="%(prog)s [FLAG ...] [IMAGE ...] QUESTION",
    )
    ask.add_argument(
        "inputs",
        nargs="+",
        metavar="IMAGE... QUESTION",
        help="images (paths, patterns, URLs, or - for standard input), then a question",
    )
    ask.add_argument("--index", metavar="DIR", help="ask the pages of an index")
    ask.add_argument(
        "-k", "--top", dest="k", type=int, default=3, metavar="N", help="number of its pages (3)"
    )
    ask.add_argument("--mode", default="hybrid", help="search by: hybrid, image or text (hybrid)")
    ask.add_argument("--rerank", action="store_true", help="the model chooses among 3 times N")
    ask.add_argument("--long", action="store_true", help="answer in sentences, not in a phrase")
    ask.add_argument(
        "--text",
        action=argparse.BooleanOptionalAction,
        help="give the model the pages' text, or not (all models but tiny read it)",
    )
    ask.add_argument("--no-zoom", action="store_true", help="ask whole pages only, which is faster")
    ask.add_argument(
        "--min-evidence",
        type=float,
        metavar="N",
        help="0 to answer even if the pages' texts do not have the question's words (0.36)",
    )
    ask.add_argument(
        "--export", metavar="DIR", help="write the cited pages there, with their boxes drawn"
    )
    ask.add_argument(
        "--evidence",
        metavar="FILE.png",
        help="draw there which part of the image the answer depends on (takes longer)",
    )
    add_answer_flags(ask)
    ask.add_argument("--json", action="store_true", help="answer, usage and timings as JSON")


def _ask(arguments: argparse.Namespace) -> int:
    model = Llava(**get_flags(arguments, EngineOptions))
    ask = _ask_images if arguments.index is None else _ask_index
    code = ask(arguments, model)
    if model.options.model == "tiny" and model.options.base_url is None and not arguments.json:
        write_note(TINY_NOTICE)
    return code


def _ask_images(arguments: argparse.Namespace, model: Llava) -> int:
    names, question = split_question(arguments.inputs)
    images = open_images(names, arguments.allowed_hosts)
    path = None
    if arguments.evidence is not None:
        path = evidence.check_file(arguments.evidence, images)
        evidence_backend(model.backend)
    sampling = get_flags(arguments, SamplingParams)
    stream = model.stream(question, images, system=arguments.system, **sampling)
    chunks: list[Chunk] = []
    if arguments.json:
        with closing(stream):
            chunks.extend(stream)
    else:
        write_stream(stream, chunks)
    answer = collect(chunks, model.backend.model_name)
    _log.info(
        "prompt of %d tokens, %d of them cached; %d tokens in %.2f s, the first after %.2f s",
        answer.usage.prompt_tokens,
        answer.usage.cached_tokens,
        answer.usage.completion_tokens,
        answer.timings.total,
        answer.timings.first_token,
    )
    value = {
        "answer": answer.text,
        "finish_reason": answer.finish_reason,
        "model": answer.model,
        "usage": asdict(answer.usage) | {"total_tokens": answer.usage.total_tokens},
        "timings": asdict(answer.timings),
    }
    if path is not None:
        found = evidence.draw(
            model.backend, images[0], question, arguments.system, answer.text, path
        )
        value["evidence"] = evidence.as_dict(found, path)
        if not arguments.json:
            write(evidence.as_text(found, path), end="")
    if arguments.json:
        write_json(value)
    return 0


def _ask_index(arguments: argparse.Namespace, model: Llava) -> int:
    questions = [word for word in arguments.inputs if not names_file(word)]
    correct = command("ask", "--index", arguments.index, " ".join(questions) or "What is this?")
    if arguments.evidence is not None:
        raise RequestError(
            "--evidence is about the image of a question, not about the pages of an index.",
            "Use --export to write the cited pages with their boxes.",
        )
    if len(arguments.inputs) > 1:
        raise RequestError(
            f"--index takes one question, not {len(arguments.inputs)} words.", f"Run: {correct}"
        )
    if not questions:
        raise RequestError(
            f"The question is missing: {shorten(arguments.inputs[0])} is a file, and --index takes "
            "a question about its pages.",
            f"Run: {correct}",
        )
    answer = _stream_index(arguments, model)
    images = answer.export(arguments.export) if arguments.export is not None else []
    if arguments.json:
        value = answer.as_dict()
        for citation, path in zip(value["citations"], images, strict=False):
            citation["exported"] = str(path)
        write_json(value)
    else:
        write(_format_citations(answer, images), end="")
    for skip in answer.skipped:
        write_error(f"skipped {skip}")
    if not arguments.no_zoom and not scores_labels(model.backend):
        write_note("The server does not score labels: whole pages were used, without zooming in.")
    return SOME_SKIPPED if answer.skipped else 0


def _stream_index(arguments: argparse.Namespace, model: Llava) -> DocumentAnswer:
    """Print the answer while it is generated, unless it is for JSON, and return it."""
    from llava_tools.retrieval import DocumentAnswer, PageIndex, stream  # loads slowly

    names = ("max_tokens", "min_evidence")
    values = {name: getattr(arguments, name, None) for name in names}
    options = {name: value for name, value in values.items() if value is not None}
    parts = stream(
        PageIndex(arguments.index),
        arguments.inputs[0],
        model,
        k=arguments.k,
        mode=arguments.mode,
        rerank=arguments.rerank,
        short=not arguments.long,
        with_text=arguments.text,
        zoom=False if arguments.no_zoom else None,
        **options,
    )
    with closing(parts):
        for part in parts:
            if isinstance(part, DocumentAnswer):
                if not arguments.json:
                    write("")
                return part
            if not arguments.json:
                write(part, end="")
    raise AssertionError("a stream ends with its answer")


def _format_citations(answer: DocumentAnswer, images: Sequence[Path]) -> str:
    """Return the sources: of each sentence, if the answer is in sentences; then exported images."""
    lines = []
    for citation in answer.claims or answer.citations:
        width, height = citation.image.size
        place = f"  box {list(citation.box)} of {width} x {height}" if citation.box else ""
        if answer.claims:
            lines.append(f"  {citation.answer}")
        name = on_one_line(citation.document)
        lines.append(f"  {name}, page {citation.page}{place}")
        lines += [f"    {escape_line(citation.snippet)}"] if citation.snippet else []
    lines += [f"    {escape_line(str(path))}" for path in images]
    return "".join(f"{line}\n" for line in lines)
