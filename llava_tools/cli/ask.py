"""`llava-tools ask`: a question about images, or about the pages of an index."""

from __future__ import annotations

import argparse
import logging
from contextlib import closing
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from llava_tools.cli.inputs import command, names_file, open_images, split_question
from llava_tools.cli.options import add_answer_flags, add_command, get_flags
from llava_tools.cli.output import write, write_json, write_note, write_stream
from llava_tools.core.outputs import Chunk, collect
from llava_tools.core.requests import SamplingParams
from llava_tools.errors import RequestError
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
            'ask --index my-index "What is the total?"',
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
    ask.add_argument("-k", type=int, default=3, metavar="N", help="number of its pages (3)")
    ask.add_argument("--with-text", action="store_true", help="add the pages' text to the prompt")
    ask.add_argument("--no-zoom", action="store_true", help="ask whole pages only, which is faster")
    add_answer_flags(ask)
    ask.add_argument("--json", action="store_true", help="answer, usage and timings as JSON")


def _ask(arguments: argparse.Namespace) -> int:
    model = _ask_images(arguments) if arguments.index is None else _ask_index(arguments)
    if model.options.model == "tiny" and model.options.base_url is None and not arguments.json:
        write_note(TINY_NOTICE)
    return 0


def _ask_images(arguments: argparse.Namespace) -> Llava:
    names, question = split_question(arguments.inputs)
    model = Llava(**get_flags(arguments, EngineOptions))
    images = open_images(names, arguments.allowed_hosts)
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
    if arguments.json:
        write_json(
            {
                "answer": answer.text,
                "finish_reason": answer.finish_reason,
                "model": answer.model,
                "usage": asdict(answer.usage) | {"total_tokens": answer.usage.total_tokens},
                "timings": asdict(answer.timings),
            }
        )
    return model


def _ask_index(arguments: argparse.Namespace) -> Llava:
    questions = [word for word in arguments.inputs if not names_file(word)]
    correct = command("ask", "--index", arguments.index, " ".join(questions) or "What is this?")
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
    from llava_tools.retrieval import PageIndex, ask  # loads slowly

    model = Llava(**get_flags(arguments, EngineOptions))
    answer = ask(
        PageIndex(arguments.index),
        arguments.inputs[0],
        model,
        k=arguments.k,
        with_text=arguments.with_text,
        zoom=not arguments.no_zoom,
        max_tokens=getattr(arguments, "max_tokens", 64),
    )
    if arguments.json:
        write_json(answer.as_dict())
    else:
        write(_format(answer))
    return model


def _format(answer: DocumentAnswer) -> str:
    lines = [answer.text]
    for citation in answer.citations:
        place = f"  box {list(citation.box)}" if citation.box else ""
        lines.append(f"  {citation.document}, page {citation.page}{place}")
        lines += [f"    {citation.snippet}"] if citation.snippet else []
    return "\n".join(lines)
