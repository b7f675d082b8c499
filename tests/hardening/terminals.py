"""Foreign text in everything that is printed or logged: it moves no cursor and begins no line."""

from __future__ import annotations

import io
import logging
import os
import random
import re
import warnings
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

from llava_tools.errors import LlavaToolsError
from llava_tools.remote.backend import RemoteBackend
from tests.hardening.attack import Attack, Tally
from tests.hardening.terminal_cases import CASES, Case

#: What begins a line only if foreign text broke the line before.
FORGED = "llava-tools: FORGED"
#: Sequences that do something in a terminal, in a log or to a reader.
PIECES = (
    "\x1b[2J", "\x1b]0;title\x07", "\x1b]8;;http://h\x1b\\", "\x1bP", "\x9b2J", "\x9d0;t\x9c",
    "\x08" * 8, "\x07", "\x0b", "\x0c", "\x7f", "\x85", "\x00", "\x0e", "\u202e", "\u202d",
    "\u2066", "\u2069", "\u2028", "\u2029", "\r", f"\n{FORGED}", f"\r\n{FORGED}", f"\r{FORGED}",
    f"\u2028{FORGED}", f"\x85{FORGED}", f"\x0b{FORGED}",
)  # fmt: skip


class _Terminal(io.TextIOWrapper):
    """What is printed; it says that it is a terminal, or a pipe."""

    def __init__(self, is_terminal: bool) -> None:
        self._is_terminal = is_terminal
        self._written = io.BytesIO()
        super().__init__(self._written, encoding="utf-8", newline="", write_through=True)

    def isatty(self) -> bool:
        """Return whether it is a terminal."""
        return self._is_terminal

    @property
    def text(self) -> str:
        """What has been printed."""
        self.flush()
        return self._written.getvalue().decode()


def _outcome(case: Case, text: str, is_terminal: bool) -> str:
    """Run a case; return "harmless". Raises if what it shows is not."""
    out, err, log = (_Terminal(is_terminal) for _ in range(3))
    handler = logging.StreamHandler(log)
    root = logging.getLogger("llava_tools"), logging.getLogger("llama_index")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        stack.enter_context(warnings.catch_warnings())  # `main` shows them itself
        stack.enter_context(redirect_stdout(out))
        stack.enter_context(redirect_stderr(err))
        for logger in root:
            logger.addHandler(handler)
            stack.callback(logger.removeHandler, handler)
        try:
            case.run(text, folder)
        except LlavaToolsError as error:
            log.write(f"{error}\n{error.message}\n{error.hint}\n")
    for name, shown in (("stdout", out.text), ("stderr", err.text), ("the log", log.text)):
        _check(shown, name, lines=case.lines and name == "stdout")
    return "harmless"


def _check(shown: str, name: str, *, lines: bool) -> None:
    # A carriage return replaces the line of progress, and may begin a line, too.
    ends = "[\n\r]" if name == "stderr" else "\n"
    shown = shown.replace("\x1b[K", "")  # ours: it clears the rest of the line of progress
    for number, line in enumerate(re.split(ends, shown.replace("\r\n", "\n"))):
        bad = next((c for c in line if not (c.isprintable() or c == "\t")), None)
        assert bad is None, f"{name} has {bad!r} in line {number}: {line!r:.300}"
        assert lines or not line.startswith(FORGED), f"{name} has a forged line {number}"


def attack(count: int, seed: int) -> Tally:
    """Put sequences into each kind of foreign text in turn, for terminals and for pipes."""
    rng, tally = random.Random(seed), Tally()
    names = [name for name in CASES if os.name == "posix" or "document" not in name]
    defaults = RemoteBackend.__init__.__kwdefaults__
    with mock.patch.dict(defaults, {"retry_delays": ()}):
        for number in range(count):
            name = names[number % len(names)]
            pieces = rng.sample(PIECES, 4)
            text = "x".join(["", *pieces, "y"])
            run = partial(_outcome, CASES[name], text, rng.random() < 0.5)
            tally.add(run, f"{name}, {text!r}")
    return tally


ATTACK = Attack(
    "terminals", "control sequences in all text that others write, printed and logged", attack,
    1_200, 30,
)  # fmt: skip
