"""`llava-tools ask`: a question about images, or about the pages of an index."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llava_tools.cli.options import ENGINE_HELP, add_flags, get_flags
from llava_tools.cli.output import write, write_json, write_note
from llava_tools.core.outputs import Chunk, collect
from llava_tools.core.requests import SamplingParams
from llava_tools.errors import RequestError
from llava_tools.model import Llava
from llava_tools.options import TINY_NOTICE, EngineOptions

if TYPE_CHECKING:
    from llava_tools.retrieval import DocumentAnswer


def add(commands: Any) -> None:
    """Add the command to the subparsers of `llava-tools`."""
    ask = commands.add_parser("ask", help="ask about images")
    ask.set_defaults(run=_ask)
    ask.add_argument(
        "inputs", nargs="+", metavar="IMAGE... QUESTION", help="images, then a question"
    )
    ask.add_argument("--index", metavar="DIR", help="ask the pages of an index")
    ask.add_argument("-k", type=int, default=3, metavar="N", help="number of its pages (3)")
    ask.add_argument("--with-text", action="store_true", help="add the pages' text to the prompt")
    ask.add_argument("--no-zoom", action="store_true", help="ask whole pages only, which is faster")
    add_flags(
        ask,
        EngineOptions,
        model="tiny, 7b, 13b, a hub id or a folder",
        base_url="ask an OpenAI-compatible server, like http://localhost:8000/v1; "
        "its key, if any, comes from LLAVA_API_KEY",
        **ENGINE_HELP,
    )
    ask.add_argument("--system", help="replaces LLaVA's system sentence")
    add_flags(
        ask,
        SamplingParams,
        max_tokens="length limit of the answer",
        temperature="0 for the likeliest answer",
        seed="makes sampling repeatable",
    )
    ask.add_argument(
        "--stop", action="append", default=[], help="ends the answer; may be passed repeatedly"
    )
    ask.add_argument("--json", action="store_true", help="answer, usage and timings as JSON")


def _ask(arguments: argparse.Namespace) -> int:
    *images, question = arguments.inputs
    if arguments.index is None and Path(question).is_file():
        raise RequestError(
            f"The question is missing: the last word, {question!r}, is a file.",
            f'Run: llava-tools ask {" ".join(arguments.inputs)} "What is this?"',
        )
    model = Llava(**get_flags(arguments, EngineOptions))
    if arguments.index is None:
        _ask_images(arguments, model, images, question)
    else:
        _ask_index(arguments, model)
    if model.options.model == "tiny" and model.options.base_url is None and not arguments.json:
        write_note(f"note: {TINY_NOTICE}")
    return 0


def _ask_images(
    arguments: argparse.Namespace, model: Llava, images: list[str], question: str
) -> None:
    sampling = get_flags(arguments, SamplingParams)
    stream = model.stream(question, images, system=arguments.system, **sampling)
    chunks: list[Chunk] = []
    try:
        for chunk in stream:
            chunks.append(chunk)
            if not arguments.json:
                write(chunk.text, end="")
    finally:
        stream.close()
    if not arguments.json:
        write("")
        return
    answer = collect(chunks, model.backend.model_name)
    write_json(
        {
            "answer": answer.text,
            "finish_reason": answer.finish_reason,
            "model": answer.model,
            "usage": asdict(answer.usage) | {"total_tokens": answer.usage.total_tokens},
            "timings": asdict(answer.timings),
        }
    )


def _ask_index(arguments: argparse.Namespace, model: Llava) -> None:
    if len(arguments.inputs) != 1:
        raise RequestError(
            f"--index takes one question, not {len(arguments.inputs)} words.",
            f'Run: llava-tools ask --index {arguments.index} "What is the total?"',
        )
    from llava_tools.retrieval import PageIndex, ask  # loads slowly

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


def _format(answer: DocumentAnswer) -> str:
    lines = [answer.text]
    for citation in answer.citations:
        place = f"  box {list(citation.box)}" if citation.box else ""
        lines.append(f"  {citation.document}, page {citation.page}{place}")
        lines += [f"    {citation.snippet}"] if citation.snippet else []
    return "\n".join(lines)
