"""Ctrl-C at any moment of any command: it ends with 130, silently."""

from __future__ import annotations

import json
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from llava_tools.evaluation.evaluate import evaluate
from llava_tools.evaluation.options import EvalOptions
from llava_tools.options import EngineOptions
from llava_tools.testing import ScriptedBackend
from tests.evaluation.scripted_judge import write_mm_vet
from tests.fake_server import FakeServer
from tests.hardening.attack import Attack, Tally

IMAGES = Path(__file__).parents[2] / "examples" / "images"
#: Seconds that a command may go on after an interrupt, on a machine that is busy.
LONGEST = 20.0


@dataclass(frozen=True)
class Command:
    """A command of `llava-tools`.

    Attributes:
        words: Its words.
        stdin: What it reads; None keeps its standard input open.
        ready: What it writes when it is ready, if nothing but an interrupt ends it.
        loads: Whether it loads torch, which takes seconds.
        goes_on: Whether an interrupt may end what it does at the moment, and not the command.
    """

    words: tuple[str, ...]
    stdin: str | None = ""
    ready: str = ""
    loads: bool = False
    goes_on: bool = False


def commands(folder: Path, url: str) -> dict[str, Command]:
    """Return commands by name, with their files in a folder, and a server at a URL."""
    image = str(IMAGES / "night.png")
    labelled = [{"image": image, "shows": "a star", "answer": a} for a in ("yes", "no") * 10]
    (folder / "labelled.json").write_text(json.dumps(labelled), encoding="utf-8")
    talk = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "A star."}]
    records = [{"id": str(number), "image": image, "conversations": talk} for number in range(4)]
    (folder / "records.json").write_text(json.dumps(records), encoding="utf-8")
    judged = ("--data", str(folder / "data"))
    evaluate(
        EvalOptions(tasks="mm_vet", data=folder / "data", limit=1),
        EngineOptions(), ScriptedBackend(["one"]), folder / "out", None,
    )  # fmt: skip
    serve = ("serve", "--port", "0", "--log-format", "none")
    tune = ("train", "tune", "--model", "tiny", "--data", str(folder / "records.json"))
    return {
        "ask a server": Command(("ask", image, "What?", "--base-url", url)),
        "completion": Command(("completion", "bash")),
        "eval --list": Command(("eval", "--list")),
        "chat with a server": Command(
            ("chat", "--base-url", url), "What?\nWhy?\n" * 20, goes_on=True
        ),
        "eval --score": Command(
            ("eval", "--score", str(folder / "out"), *judged, "--judge-url", url)
        ),
        "documents": Command(("documents", "list", str(folder / "index"))),
        "serve": Command((*serve, "--base-url", url), ready="Ctrl-C ends it"),
        "demo": Command(("demo", "--no-browser", "--base-url", url), ready="Ctrl-C ends it"),
        "mcp": Command(("mcp", "--base-url", url), None, ready=""),
        "info": Command(("info",)),
        "ask": Command(("ask", image, "What?"), loads=True),
        "chat": Command(("chat", image), "What?\n" * 3, loads=True, goes_on=True),
        "index": Command(
            ("index", str(IMAGES), "--to", str(folder / "new"), "--yes"), loads=True
        ),
        "search": Command(("search", str(folder / "index"), "a star"), loads=True),
        "ask --index": Command(("ask", "--index", str(folder / "index"), "What?"), loads=True),
        "eval": Command(
            ("eval", *judged, "--limit", "2", "--out", str(folder / "out2")), loads=True
        ),
        "bench": Command(("bench", "--rounds", "1", "--tokens", "4"), loads=True),
        "calibrate": Command(
            ("calibrate", "--data", str(folder / "labelled.json"), "--out",
             str(folder / "calibration.json")), loads=True,
        ),
        "train": Command((*tune, "--out", str(folder / "tuned")), loads=True),
        "chat-template": Command(("chat-template", "--model", "tiny"), loads=True),
    }  # fmt: skip


def run(words: tuple[str, ...]) -> list[str]:
    """Return the words of a process that runs a command, and writes its stacks at SIGABRT."""
    return [sys.executable, "-X", "faulthandler", "-m", "llava_tools", *words]


@contextmanager
def _process(command: Command, *flags: str) -> Iterator[subprocess.Popen[str]]:
    """Start a command. A process that starts in the background would ignore interrupts."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(
            run((*command.words, *flags)), encoding="utf-8", errors="replace",
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
    finally:
        signal.signal(signal.SIGINT, previous)
    with process:
        try:
            if command.stdin is not None:
                assert process.stdin is not None
                process.stdin.write(command.stdin)
                process.stdin.close()
                process.stdin = None
            yield process
        finally:
            process.kill()


def _duration(command: Command) -> tuple[float, int | None]:
    """Return the seconds that a command takes, and its exit code; None if it never ends."""
    start = time.monotonic()
    with _process(command) as process:
        if command.stdin is None or command.ready:
            assert process.stderr is not None
            if command.ready:
                while command.ready not in process.stderr.readline():
                    assert process.poll() is None, command
            return time.monotonic() - start + 0.5, None
        process.communicate(timeout=300)
        return time.monotonic() - start, process.returncode


def _outcome(command: Command, moment: float, code: int | None) -> str:
    """Interrupt a command after so many seconds; return how it ended, by name."""
    with _process(command, "--quiet") as process:
        try:
            _, err = process.communicate(timeout=moment)
            return _check_done(process.returncode, code, err)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
        try:
            _, err = process.communicate(timeout=LONGEST + (60 if command.goes_on else 0))
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it goes on: {_stacks(process)}") from None
    own = set(re.findall(r"/llava_tools/(\S+)\"", err))
    if "Traceback" in err and own <= {"__init__.py"}:
        return "before it began"  # Python itself was starting: it imports the package before `run`
    if process.returncode == code:
        return _check_done(process.returncode, code, err)
    assert process.returncode in (130, -signal.SIGINT), f"{process.returncode}: {err[-600:]}"
    assert err == "", err[-1500:]
    return "interrupted"


def _stacks(process: subprocess.Popen[str]) -> str:
    """End a process, and return what it printed, with the stacks of its threads.

    Without stacks, the interpreter had ended, and a library was still unloading.
    """
    process.send_signal(signal.SIGABRT)
    try:
        out, err = process.communicate(timeout=LONGEST)
    except subprocess.TimeoutExpired:  # it waits for its disk, or ignores signals
        process.kill()
        out, err = process.communicate()
    return f"{out[-600:]!r}, {err[-6000:]!r}"


def _check_done(returned: int, code: int | None, err: str) -> str:
    assert returned == code, f"{returned}: {err[-600:]}"
    assert "Traceback" not in err, err[-1500:]
    return "done"


def attack(count: int, seed: int) -> Tally:
    """Interrupt commands at moments spread evenly over the time that they take."""
    rng, tally = random.Random(seed), Tally()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        write_mm_vet(folder / "data" / "mm-vet")
        server = stack.enter_context(FakeServer(lambda body: "0.5"))
        known = commands(folder, server.url)
        if count < 200:  # what starts soon
            known = {name: known[name] for name in ("ask a server", "completion", "eval --list")}
        else:
            words = ("index", str(IMAGES), "--to", str(folder / "index"), "--yes")
            subprocess.run(run(words), check=True, capture_output=True)
        each = -(-count // len(known))
        for name, command in known.items():
            seconds, code = _duration(command)
            for number in range(each):
                moment = seconds * (number + rng.random()) / each
                what = f"{name}, {moment:.3f} of {seconds:.3f} s"
                tally.add(partial(_outcome, command, moment, code), what)
    return tally


ATTACK = Attack("interrupts", "Ctrl-C at any moment of any command", attack, 200, 18)
