"""`llava-tools`: ask about images and documents, see what this machine can run, measure, train.

Thin: parse, call, print. Exit codes: 0 done, 1 the engine or a training failed, 2 a request that
cannot be answered (one line on stderr says why), 3 done but for files that were skipped, 130
interrupted.
"""

from __future__ import annotations

import argparse
import atexit
import gc
import json
import os
import sys
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

from llava_tools import __version__
from llava_tools.cli import bench, finetune
from llava_tools.cli.documents import add_asking, add_commands, ask_index
from llava_tools.cli.options import add_engine, engine
from llava_tools.core.outputs import Chunk, collect
from llava_tools.errors import EngineError, LlavaToolsError, RequestError
from llava_tools.info import LLAVA_NOTICE, Report, report, sizes
from llava_tools.model import Llava
from llava_tools.options import TINY_NOTICE


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    warnings.showwarning = _show_warning
    atexit.register(gc.freeze)  # nothing is left to be collected, and looking for it takes seconds
    arguments = _parser().parse_args(argv)
    try:
        code: int = arguments.run(arguments)
    except EngineError as error:
        return _say(f"error: {error}", 1)
    except LlavaToolsError as error:
        return _say(f"error: {error}", 2)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader, `head` for one, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code


class _Parser(argparse.ArgumentParser):
    """Errors in one line, without the usage in front."""

    def error(self, message: str) -> NoReturn:
        raise SystemExit(_say(f"error: {message}. Run: {self.prog} --help", 2))


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="llava-tools", description=__doc__.split("\n")[0].split(": ", 1)[1])
    parser.add_argument("--version", action="version", version=f"llava-tools {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)
    ask = commands.add_parser("ask", help="ask about pictures")
    ask.set_defaults(run=_ask)
    ask.add_argument(
        "words", nargs="+", metavar="IMAGE... QUESTION", help="pictures, then a question"
    )
    add_asking(ask)
    ask.add_argument(
        "--model", default="tiny", help="tiny (default), 7b, 13b, a hub id or a folder"
    )
    ask.add_argument(
        "--base-url",
        metavar="URL",
        help="ask an OpenAI-compatible server, like http://localhost:8000/v1; "
        "its key, if any, is taken from LLAVA_API_KEY",
    )
    add_engine(ask)
    ask.add_argument("--system", help="replaces LLaVA's system sentence")
    ask.add_argument("--max-tokens", type=int)
    ask.add_argument("--temperature", type=float, default=0.0)
    ask.add_argument("--seed", type=int)
    ask.add_argument("--stop", action="append", default=[], help="may be given more than once")
    ask.add_argument("--json", action="store_true", help="answer, usage and timings as JSON")
    add_commands(commands)
    info = commands.add_parser("info", help="what fits this machine, and the licences")
    info.set_defaults(run=_info)
    info.add_argument("--json", action="store_true")
    bench.add(commands)
    finetune.add(commands)
    return parser


def _ask(arguments: argparse.Namespace) -> int:
    *images, question = arguments.words
    if arguments.index is None and Path(question).is_file():
        raise RequestError(
            f"The question is missing: the last word, {question!r}, is a file.",
            f'Run: llava-tools ask {" ".join(arguments.words)} "What is this?"',
        )
    options = engine(arguments)
    options["base_url"] = arguments.base_url
    model = Llava(arguments.model, **options)
    if arguments.index is not None:
        code = ask_index(arguments, model)
        _note_tiny(arguments)
        return code
    stream = model.stream(
        question,
        images,
        system=arguments.system,
        max_tokens=arguments.max_tokens,
        temperature=arguments.temperature,
        seed=arguments.seed,
        stop=arguments.stop,
    )
    seen: list[Chunk] = []
    try:
        for delta in stream:
            seen.append(delta)
            if not arguments.json:
                print(delta.text, end="", flush=True)  # noqa: T201
    finally:
        stream.close()
    if not arguments.json:
        print()  # noqa: T201
        _note_tiny(arguments)
        return 0
    answer = collect(seen, model.backend.model_name)
    _print_json(
        {
            "answer": answer.text,
            "finish_reason": answer.finish_reason,
            "model": answer.model,
            "usage": asdict(answer.usage) | {"total_tokens": answer.usage.total_tokens},
            "timings": asdict(answer.timings),
        }
    )
    return 0


def _note_tiny(arguments: argparse.Namespace) -> None:
    if arguments.model == "tiny" and arguments.base_url is None and not arguments.json:
        _say(f"note: {TINY_NOTICE}", 0)


def _info(arguments: argparse.Namespace) -> int:
    found = report()
    if arguments.json:
        licences = {name: size.licence for name, size in sizes().items()}
        _print_json(asdict(found) | {"licences": licences, "notice": LLAVA_NOTICE})
    else:
        print(_table(found))  # noqa: T201
    return 0


def _table(found: Report) -> str:
    """Lay the report out for a terminal."""
    known = sizes()
    lines = [
        f"Device      {found.device}, {found.free_bytes / 1e9:.1f} GB free",
        f"Downloaded  {', '.join(found.downloaded)}",
        f"Loaded      {', '.join(found.loaded) or 'nothing in this process'}",
        "",
        f"{'model':7}{'size':>9}  {'precision':10}{'needs':>9}  runs here",
    ]
    for fit in found.fits:
        count = known[fit.model].parameters
        size = f"{count / 1e9:.1f} B" if count > 1e9 else f"{count / 1e6:.1f} M"
        verdict = "yes" if fit.fits else f"no, {fit.why_not}"
        needs = f"{fit.bytes_needed / 1e9:.2f} GB"
        lines.append(f"{fit.model:7}{size:>9}  {fit.precision:10}{needs:>9}  {verdict}")
    lines += ["", *(f"{name:7}{size.licence}" for name, size in known.items())]
    return "\n".join([*lines, "", LLAVA_NOTICE, TINY_NOTICE])


def _print_json(value: dict[str, Any]) -> None:
    print(json.dumps(value, ensure_ascii=False, indent=2))  # noqa: T201


def _say(text: str, code: int) -> int:
    sys.stderr.write(f"llava-tools: {text}\n")
    return code


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: Any = None,
    line: str | None = None,
) -> None:
    """Show what we say about an image as one line; other packages' warnings are not for here."""
    if category.__module__.startswith("llava_tools"):
        _say(f"note: {message}", 0)


if __name__ == "__main__":
    sys.exit(main())
