"""Hostile model servers: each answer is read, or is one error of one line without a secret."""

from __future__ import annotations

import asyncio
import io
import logging
import os
import random
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, redirect_stderr, redirect_stdout
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

from langchain_llava import ChatLlava
from llama_index.llms.llava import Llava as LlamaIndexLlava
from llava_tools import Llava
from llava_tools.cli.main import main
from llava_tools.core.outputs import collect
from llava_tools.errors import EngineError, LlavaToolsError, ServerError
from llava_tools.evaluation.evaluate import evaluate
from llava_tools.evaluation.judging import judge
from llava_tools.evaluation.options import EvalOptions
from llava_tools.options import EngineOptions
from llava_tools.remote import client
from llava_tools.remote.backend import RemoteBackend
from llava_tools.testing import ScriptedBackend
from tests.evaluation.scripted_judge import write_mm_vet
from tests.hardening.attack import Attack, Tally
from tests.hardening.server_answers import (
    CALLS,
    IDS,
    KINDS,
    OWN,
    OWN_MODELS,
    REPLIES,
    RIGHT,
    SCORES,
    TEXT,
    Kind,
)
from tests.remote.hostile_server import HostileServer
from tests.remote.requests import ADD

KEY, HEADER, PASSWORD = "key-that-is-secret", "header-that-is-secret", "pass-that-is-secret"
#: What nothing may show; the last is the user's name and password as a header has them.
SECRETS = (KEY, HEADER, PASSWORD, "dXNlcjpwYXNz")
#: Characters of a message, seconds of a request, bytes by which it may raise the peak of memory.
LONGEST, SLOWEST, LARGEST = 2_500, 30.0, 400 * 2**20
_QUESTION = "What is this?"
_HEADERS = {"X-Team": HEADER}


def _ask(url: str) -> str:
    with Llava(base_url=url, api_key=KEY, default_headers=_HEADERS) as model:
        return model.ask(_QUESTION).text


def _stream(url: str) -> str:
    with (
        Llava(base_url=url, api_key=KEY, default_headers=_HEADERS) as model,
        closing(model.stream(_QUESTION)) as stream,
    ):
        return collect(stream, "").text


def _aask(url: str) -> str:
    async def ask() -> str:
        with Llava(base_url=url, api_key=KEY, default_headers=_HEADERS) as model:
            return (await model.aask(_QUESTION)).text

    return asyncio.run(ask())


@contextmanager
def _chat(url: str) -> Iterator[ChatLlava]:
    chat = ChatLlava(base_url=url, api_key=KEY, default_headers=_HEADERS)
    try:
        yield chat
    finally:
        chat.close()


def _invoke(url: str) -> str:
    with _chat(url) as chat:
        return chat.invoke(_QUESTION).text


def _chat_stream(url: str) -> str:
    with _chat(url) as chat:
        return "".join(chunk.text for chunk in chat.stream(_QUESTION))


def _batch(url: str) -> str:
    with _chat(url) as chat:
        first, second = chat.batch([_QUESTION, "Why?"])
        assert first.text == second.text
        return first.text


def _ainvoke(url: str) -> str:
    async def invoke() -> str:
        with _chat(url) as chat:
            return (await chat.ainvoke(_QUESTION)).text

    return asyncio.run(invoke())


def _choose(url: str) -> str:
    with Llava(base_url=url, api_key=KEY, default_headers=_HEADERS) as model:
        assert model.choose(_QUESTION, (), ["yes"]).label == "yes"
        return TEXT


def _token_ids(url: str) -> str:
    with _chat(url) as chat:
        assert all(number >= 0 for number in chat.get_token_ids("words"))
        return TEXT


def _tool_call(url: str) -> str:
    tool = {"name": ADD.name, "description": ADD.description, "parameters": ADD.parameters}
    with _chat(url) as chat:
        return chat.bind_tools([tool], tool_choice="any").invoke(_QUESTION).text


@contextmanager
def _llm(url: str) -> Iterator[LlamaIndexLlava]:
    llm = LlamaIndexLlava(base_url=url, api_key=KEY, default_headers=_HEADERS)
    try:
        yield llm
    finally:
        llm.close()


def _complete(url: str) -> str:
    with _llm(url) as llm:
        return str(llm.complete(_QUESTION).text)


def _stream_complete(url: str) -> str:
    with _llm(url) as llm:
        return "".join(response.delta or "" for response in llm.stream_complete(_QUESTION))


def _acomplete(url: str) -> str:
    async def complete() -> str:
        with _llm(url) as llm:
            return str((await llm.acomplete(_QUESTION)).text)

    return asyncio.run(complete())


class _CommandError(Exception):
    """A command ended with an error: its line, and its exit code."""


def _command(*words: str) -> str:
    """Run a command in this process and return what it printed."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main([*words, "--quiet"])
    if code:
        # `eval` prints its table and the files, too.
        raise _CommandError(err.getvalue().rstrip("\n"), code)
    assert err.getvalue() == "", err.getvalue()
    return out.getvalue()


def _ask_command(url: str) -> str:
    return _command("ask", "--base-url", url, _QUESTION).rstrip("\n")


#: The ways to ask a server: a URL to the text of its answer.
SURFACES: dict[str, Callable[[str], str]] = {
    "Llava.ask": _ask,
    "Llava.stream": _stream,
    "Llava.aask": _aask,
    "ChatLlava.invoke": _invoke,
    "ChatLlava.stream": _chat_stream,
    "ChatLlava.batch": _batch,
    "ChatLlava.ainvoke": _ainvoke,
    "LLM.complete": _complete,
    "LLM.stream_complete": _stream_complete,
    "LLM.acomplete": _acomplete,
    "llava-tools ask": _ask_command,
}


class _Judged:
    """Answers of an evaluation, which a judge at a URL scores by the command line."""

    def __init__(self, folder: Path) -> None:
        write_mm_vet(folder / "data" / "mm-vet")
        self._out = folder / "out"
        options = EvalOptions(tasks="mm_vet", data=folder / "data", limit=1)
        evaluate(options, EngineOptions(), ScriptedBackend(["one"]), self._out, None)

    def __call__(self, url: str) -> str:
        for path in self._out.glob("mm_vet/*"):
            if path.is_file() and path.name != "answers.jsonl":  # of the judge before
                path.unlink()
        shown = _command("eval", "--score", str(self._out), "--judge-url", url)
        written = "".join(
            path.read_text(encoding="utf-8") for path in self._out.rglob("*") if path.is_file()
        )
        for secret in SECRETS:
            assert secret not in written, "a file has a secret"
        return TEXT if "MM-Vet" in shown else shown


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
        except (LlavaToolsError, _CommandError) as raised:
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
    if isinstance(error, _CommandError):
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
            "tools": _tool_call,
            "choose": _choose,
            "ids": _token_ids,
            "judge": _Judged(folder),
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
