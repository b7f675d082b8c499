"""`llava-tools`: ask about images and documents, see what this machine can run, measure, train.

Each command parses, calls the package and prints. `EXIT_CODES` lists the exit codes. The modules of
the commands are imported while `main` runs, so that it handles an interrupt of the import as well.
"""

from __future__ import annotations

import argparse
import atexit
import gc
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

from llava_tools import __version__

EXIT_CODES = """\
exit codes:
  0    done
  1    answering or training failed, the output could not be written, `search`
       found nothing, or `info` is about a model that is not loaded here
  2    the request is impossible; one line on stderr says why
  3    done, without some files that were skipped
  130  interrupted

`llava-tools COMMAND --help` shows examples."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line, by default the one of this process, and return its exit code."""
    interrupts: list[int] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        interrupts.append(number)
        if argv is None and _is_importing(frame):
            os._exit(130)  # torch's C++ code aborts the process if what it imports is interrupted
        raise KeyboardInterrupt

    if argv is None:
        sys.unraisablehook = _exit_if_interrupted
    in_main_thread = threading.current_thread() is threading.main_thread()
    previous = signal.signal(signal.SIGINT, interrupt) if in_main_thread else None
    try:
        return _run(argv)
    except BaseException as error:
        # An import that is interrupted may raise another error, such as ImportError.
        if interrupts or isinstance(error, KeyboardInterrupt):
            return 130
        code = _report(error)
        if code is None:
            raise
        return code
    finally:
        if in_main_thread:
            # At exit, Python would print a traceback for an interrupt.
            signal.signal(signal.SIGINT, signal.SIG_DFL if argv is None else previous)


def _is_importing(frame: FrameType | None) -> bool:
    """Return whether a frame is part of an import."""
    while frame is not None and frame.f_code.co_filename != "<frozen importlib._bootstrap>":
        frame = frame.f_back
    return frame is not None


def _exit_if_interrupted(ignored: sys.UnraisableHookArgs) -> None:
    """End the process for an interrupt that Python ignores: in a destructor, or a weak reference's.

    Other errors that Python ignores are printed as always.
    """
    if issubclass(ignored.exc_type, KeyboardInterrupt):
        os._exit(130)
    sys.__unraisablehook__(ignored)


def _run(argv: Sequence[str] | None) -> int:
    from llava_tools.cli import output

    warnings.showwarning = _show_warning
    atexit.register(gc.freeze)  # the collection at exit takes seconds and finds nothing
    output.replace_unencodable()
    try:
        arguments = build_parser().parse_args(sys.argv[1:] if argv is None else argv)
        output.set_quiet(arguments.quiet)
        with _log_to_stderr(arguments.verbose):
            code: int = arguments.run(arguments)
            return code
    finally:
        output.write("", end="")  # what argparse prints is still in the buffer


def _report(error: BaseException) -> int | None:
    """Print the line for an error and return the exit code; None if no input explains the error."""
    from llava_tools.cli import output
    from llava_tools.errors import EngineError, LlavaToolsError

    if isinstance(error, LlavaToolsError):
        output.write_error(f"error: {error}")
        return 1 if isinstance(error, EngineError) else 2
    if isinstance(error, BrokenPipeError):  # the reader of a pipe, such as `head`, has stopped
        output.discard_output()
        return 0
    if isinstance(error, output.WriteError):
        output.discard_output()
        output.write_error(f"error: the output cannot be written: {error}.")
        return 1
    return None


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    from llava_tools.cli import (
        ask,
        bench,
        calibrate,
        chat,
        chat_template,
        completion,
        convert,
        demo,
        documents,
        evaluate,
        finetune,
        info,
        mcp,
        search,
        serve,
    )
    from llava_tools.cli.options import Parser

    assert __doc__ is not None
    parser = Parser(
        prog="llava-tools",
        description=__doc__.split("\n")[0].split(": ", 1)[1].capitalize(),
        epilog=EXIT_CODES,
    )
    parser.add_argument("--version", action="version", version=f"llava-tools {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=Parser)
    # In the order of the help.
    first = (ask, chat, documents, search, demo, serve, mcp, info, bench, evaluate)
    last = (calibrate, finetune, convert, chat_template, completion)
    for command in (*first, *last):
        command.add(commands)
    return parser


@contextmanager
def _log_to_stderr(verbose: bool) -> Iterator[None]:
    """Write the log of the package to stderr, if `verbose`."""
    from llava_tools.core.log_lines import LineFormatter

    logger, handler = logging.getLogger("llava_tools"), logging.StreamHandler()
    handler.setFormatter(LineFormatter("%(relativeCreated)6d ms %(name)s: %(message)s"))
    if verbose:
        logger.addHandler(handler)
        logger.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        if verbose:
            logger.removeHandler(handler)
            logger.setLevel(logging.NOTSET)


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
        from llava_tools.cli.output import write_note

        write_note(str(message))


if __name__ == "__main__":
    sys.exit(main())
