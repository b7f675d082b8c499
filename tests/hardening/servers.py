"""Hostile model servers: each answer is read, or is one error of one line without a secret."""

from __future__ import annotations

import io
import logging
import os
import random
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

from llava_tools.errors import EngineError, LlavaToolsError, ServerError
from llava_tools.evaluation.judging import judge
from llava_tools.remote import client
from llava_tools.remote.backend import RemoteBackend
from tests.hardening.attack import Attack, Tally
from tests.hardening.server_answer import RIGHT, TEXT, Kind
from tests.hardening.server_answers import KINDS
from tests.hardening.server_clients import (
    KEY,
    PASSWORD,
    SECRETS,
    SURFACES,
    CommandError,
    Judged,
    choose,
    token_ids,
    tool_call,
)
from tests.hardening.task_answers import CALLS, IDS, OWN, OWN_MODELS, REPLIES, SCORES
from tests.remote.hostile_server import HostileServer

#: Characters of a message, seconds of a request, bytes by which it may raise the peak of memory.
LONGEST, SLOWEST, LARGEST = 2_500, 30.0, 400 * 2**20


def _outcome(kind: Kind, surface: Callable[[str], str], *, password: bool) -> str:
    """Ask; return how it ended, by name. Raises if that, its time or its memory is not allowed."""
    places = {"own": {"chat": kind.answer, "models": OWN_MODELS}}
    place = places.get(kind.where, {kind.where: kind.answer})
    log = io.StringIO()
    handler = logging.StreamHandler(log)
    # What is allowed to end by time alone ends soon.
    limits = {"read_timeout": 0.3, "answer_timeout": 0.4} if kind.is_slow else {}
    defaults = RemoteBackend.__init__.__kwdefaults__
    with (
        HostileServer(**{"chat": RIGHT, **place}) as server,
        mock.patch.dict(defaults, {"retry_delays": (), **limits}),
        _logging_to(handler),
    ):
        url = server.url
        if password:  # in place of the key
            url = url.replace("://", f"://user:{PASSWORD}@")
        before, start = _peak(), time.monotonic()
        error: Exception | None = None
        text = ""
        try:
            text = surface(url)
        except (LlavaToolsError, CommandError) as raised:
            error = raised
        seconds, grown = time.monotonic() - start, _peak() - before
        if error is None:
            assert None in kind.allowed, f"read as {text:.80}"
            assert text == TEXT, f"read as {text:.80}"
            outcome = "text"
        else:
            outcome = _check_error(error, kind)
            shown = "".join(traceback.format_exception(error)) + repr(error)
            _check_secrets(shown)
        _check_secrets(log.getvalue())
        assert seconds < SLOWEST, f"{seconds:.1f} s"
        assert grown < LARGEST, f"{grown / 1e6:.0f} MB"
        return outcome


def _check_error(error: Exception, kind: Kind) -> str:
    """Check that an error is of the right class and one harmless line; return the class's name."""
    classes = tuple(allowed for allowed in kind.allowed if allowed is not None)
    if isinstance(error, CommandError):
        message, code = error.args
        codes = {1 if issubclass(allowed, EngineError) else 2 for allowed in classes}
        assert code in codes, f"exit code {code}: {message:.200}"
        outcome = f"exit code {code}"
    else:
        # LangChain's are subclasses, which are its errors, too.
        own = next(c for c in type(error).__mro__ if c.__module__ == LlavaToolsError.__module__)
        assert own in classes, f"{error!r:.300}"
        message, outcome = str(error), own.__name__
    assert message.isprintable(), f"{message!r:.300}"
    assert len(message) <= LONGEST, f"{len(message)} characters"
    return outcome


def _check_secrets(shown: str) -> None:
    for secret in SECRETS:
        at = shown.find(secret)
        assert at < 0, f"shows a secret: {shown[max(at - 80, 0) : at + 40]!r}"


@contextmanager
def _logging_to(handler: logging.Handler) -> Iterator[None]:
    """Log everything of the package, and what the HTTP library says at INFO."""
    levels = {"llava_tools": logging.DEBUG, "httpx": logging.INFO, "httpcore": logging.INFO}
    loggers = {logging.getLogger(name): level for name, level in levels.items()}
    before = {logger: logger.level for logger in loggers}
    for logger, level in loggers.items():
        logger.addHandler(handler)
        logger.setLevel(level)
    try:
        yield
    finally:
        for logger, level in before.items():
            logger.removeHandler(handler)
            logger.setLevel(level)


def _peak() -> int:
    """Return the most bytes that this process has had; 0 where that is not counted."""
    if sys.platform == "win32":
        return 0
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _cut(number: int) -> Kind:
    """Return an answer that ends, or breaks off, after so many bytes."""
    data = RIGHT[:number]
    # The reason why it finished is in the last event before the end mark.
    finished = number >= RIGHT.index(b"\n\ndata: [DONE]")
    return Kind(data, (None if finished else ServerError,))


def _cases(seed: int) -> Iterator[tuple[str, Kind, str]]:
    """Yield each kind once, on surfaces in turn; then on all other surfaces."""
    rng = random.Random(seed)
    kinds: Mapping[str, Kind] = KINDS
    names = list(kinds)
    rng.shuffle(names)
    surfaces = list(SURFACES)
    for turn in range(len(surfaces)):
        for number, name in enumerate(names):
            yield name, kinds[name], surfaces[(number + turn) % len(surfaces)]
        if turn == 0:
            yield from ((name, kind, "tools") for name, kind in CALLS.items())
            yield from ((name, kind, "judge") for name, kind in REPLIES.items())
            yield from ((name, kind, "choose") for name, kind in SCORES.items())
            yield from ((name, kind, "ids") for name, kind in IDS.items())
            yield from ((name, kind, "Llava.ask") for name, kind in OWN.items())
    offsets = list(range(len(RIGHT)))
    rng.shuffle(offsets)
    for number in offsets:
        yield f"cut after {number} bytes", _cut(number), rng.choice(surfaces)


def attack(count: int, seed: int) -> Tally:
    """Ask hostile servers through every surface in turn."""
    tally = Tally()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        keys = {"LLAVA_API_KEY": KEY, judge.KEY_VARIABLE: KEY}
        stack.enter_context(mock.patch.dict(os.environ, keys))
        defaults = judge.ServerJudge.__init__.__kwdefaults__
        stack.enter_context(mock.patch.dict(defaults, {"retry_delays": ()}))
        stack.enter_context(mock.patch.object(judge, "READ_TIMEOUT", 1.0))
        stack.enter_context(mock.patch.object(client, "_LIST_TIMEOUT", 1.0))
        surfaces = SURFACES | {
            "tools": tool_call,
            "choose": choose,
            "ids": token_ids,
            "judge": Judged(folder),
        }
        for number, (name, kind, surface) in enumerate(_cases(seed)):
            if number == count:
                break
            run = partial(_outcome, kind, surfaces[surface], password=number % 2 == 0)
            tally.add(run, f"{name}, {surface}")
    return tally


ATTACK = Attack(
    "servers", "answers of hostile model servers, through every surface", attack, 1_200, 90
)
