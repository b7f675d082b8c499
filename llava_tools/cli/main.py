"""`llava-tools`: ask about images and documents, see what this machine can run, measure, train.

Each command parses, calls the package and prints. Exit codes: 0 success, 1 the engine or a training
failed, 2 an impossible request (one line on stderr gives the reason), 3 some files were skipped,
130 interrupted.
"""

from __future__ import annotations

import argparse
import atexit
import gc
import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any, NoReturn

from llava_tools import __version__
from llava_tools.cli import ask, bench, documents, finetune, info
from llava_tools.cli.output import write_note
from llava_tools.errors import EngineError, LlavaToolsError


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    warnings.showwarning = _show_warning
    atexit.register(gc.freeze)  # the collection at exit takes seconds and finds nothing
    arguments = build_parser().parse_args(argv)
    try:
        code: int = arguments.run(arguments)
    except LlavaToolsError as error:
        write_note(f"error: {error}")
        return 1 if isinstance(error, EngineError) else 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of a pipe, such as `head`, has stopped
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code


class _Parser(argparse.ArgumentParser):
    """Reports errors in one line, without the usage."""

    def error(self, message: str) -> NoReturn:
        write_note(f"error: {message}. Run: {self.prog} --help")
        raise SystemExit(2)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    assert __doc__ is not None
    parser = _Parser(prog="llava-tools", description=__doc__.split("\n")[0].split(": ", 1)[1])
    parser.add_argument("--version", action="version", version=f"llava-tools {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)
    for command in (ask, documents, info, bench, finetune):
        command.add(commands)
    return parser


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: Any = None,
    line: str | None = None,
) -> None:
    """Show warnings of this package in one line, and no others."""
    if category.__module__.startswith("llava_tools"):
        write_note(f"note: {message}")


if __name__ == "__main__":
    sys.exit(main())
