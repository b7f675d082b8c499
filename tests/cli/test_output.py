"""Standard output that is full, closed, or cannot encode an answer."""

from __future__ import annotations

import ast
import errno
import io
import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import IO

import pytest

from llava_tools.cli import output
from llava_tools.cli.main import main
from llava_tools.cli.output import write, write_error, write_json
from llava_tools.core.log_lines import LineFormatter
from llava_tools.testing import ScriptedBackend

FULL = Path("/dev/full")


def _run(*words: str, stdout: int | IO[str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "llava_tools", *words]
    return subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True)


@pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")
@pytest.mark.parametrize("words", [["completion", "bash"], ["ask", "--help"], ["--version"]])
def test_h5_full_disk_is_one_line(words: list[str]) -> None:
    with FULL.open("w") as full:
        done = _run(*words, stdout=full)
    assert done.returncode == 1
    line = "llava-tools: error: the output cannot be written: No space left on device.\n"
    assert done.stderr == line


@pytest.mark.skipif(os.name == "nt", reason="needs a POSIX shell")
def test_h5_closed_output_is_one_line() -> None:
    line = f"{sys.executable} -m llava_tools completion bash >&-"
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "standard output is closed" in done.stderr


def test_h5_reader_that_stops_ends_it_silently() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = _run("completion", "bash", stdout=writer)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


def test_h5_characters_that_cannot_be_encoded_are_replaced(
    backend: ScriptedBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend, "_script", ["café ☕"])
    raw = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(raw, encoding="ascii"))
    assert main(["ask", "Hello?", "-q"]) == 0
    assert raw.getvalue() == b"caf? ?\n"


def test_h5_json_keeps_every_character(monkeypatch: pytest.MonkeyPatch) -> None:
    for encoding in ("ascii", "utf-8"):
        raw = io.BytesIO()
        monkeypatch.setattr("sys.stdout", io.TextIOWrapper(raw, encoding=encoding))
        write_json({"text": "café ☕"})
        assert json.loads(raw.getvalue().decode(encoding)) == {"text": "café ☕"}


#: A window title, a cleared screen, a reversed direction, the 8-bit form, a line that is rewritten.
SEQUENCES = "\x1b]0;title\x07 \x1b[2J \u202egnp.exe \x9b31m good\rbad \x7f"
SHOWN = r"\x1b]0;title\x07 \x1b[2J \u202egnp.exe \x9b31m good\rbad \x7f"


def test_i7_escape_sequences_reach_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    text = f"{SEQUENCES}\n\tcafé 👩‍🔬 می‌خواهم\r\n"
    write(text, end="")
    write_error(text)
    shown = f"{SHOWN}\n\tcafé 👩‍🔬 می‌خواهم\r\n"
    printed = capsys.readouterr()
    assert printed.out == shown
    line = shown.replace("\r", "\\r").replace("\n", "\\n")
    assert printed.err == f"llava-tools: {line}\n"


def test_i7_json_keeps_its_value_without_raw_control_characters(
    capsys: pytest.CaptureFixture[str],
) -> None:
    value = {SEQUENCES: [SEQUENCES, "café"]}
    write_json(value)
    printed = capsys.readouterr().out
    assert json.loads(printed) == value
    assert all(character.isprintable() or character == "\n" for character in printed)


def test_i7_answers_and_names_of_documents_are_shown_harmlessly(
    backend: ScriptedBackend, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(backend, "_script", [f"red {SEQUENCES}"])
    assert main(["ask", "Which colour?"]) == 0
    assert main(["ask", f"{SEQUENCES}.png", "Which colour?"]) != 0
    printed = capsys.readouterr()
    assert "red \\x1b]0;title" in printed.out
    for text in (printed.out, printed.err):
        assert all(character.isprintable() or character == "\n" for character in text)


@pytest.mark.parametrize(("system", "code"), [("win32", 0), ("linux", 1)])
def test_windows_reports_a_reader_that_stopped_as_an_invalid_argument(
    system: str, code: int, backend: ScriptedBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr("sys.stdout", Closed())
    monkeypatch.setattr("sys.platform", system)
    assert main(["ask", "Hello?", "-q"]) == code


#: Modules that write to a standard stream themselves, besides `cli.output`: their own words, and a
#: child process's answer to its parent.
WRITERS = {
    "cli/evaluate.py",  # a line of progress with a code at its end
    "cli/index_plan.py",  # a question without a line feed
    "cli/output.py",
    "engine/loading/template_process.py",  # the child's answer
    "finetune/__init__.py",  # for programs that train without the command line
}


def test_one_module_writes_what_others_wrote() -> None:
    package = Path(output.__file__).parent.parent
    writers = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if (
            isinstance(node, ast.Attribute)
            and node.attr in ("write", "writelines", "buffer")
            and ast.unparse(node.value) in ("sys.stdout", "sys.stderr")
        )
        or (isinstance(node, ast.Name) and node.id == "print")
        or (isinstance(node, ast.Call) and "sys.stdout" in map(ast.unparse, node.args))
    }
    assert writers == WRITERS


def test_log_lines_cannot_be_forged() -> None:
    formatter = LineFormatter("%(name)s: %(message)s")
    record = logging.makeLogRecord({"name": "a", "msg": "b\x1b[2J\nc: %s", "args": ("\x9b",)})
    assert formatter.format(record) == r"a: b\x1b[2J\nc: \x9b"
    try:
        raise ValueError("\x1b[2J")
    except ValueError:
        record.exc_info = sys.exc_info()
    first, *trace = formatter.format(record).split("\n")
    assert first == r"a: b\x1b[2J\nc: \x9b"
    assert trace[-1] == r"ValueError: \x1b[2J"


def test_an_error_is_one_line_whatever_it_holds(capsys: pytest.CaptureFixture[str]) -> None:
    output.write_error("skipped a\nllava-tools: error: b\u2028c\r\n")
    assert capsys.readouterr().err == (
        "llava-tools: skipped a\\nllava-tools: error: b\\u2028c\\r\\n\n"
    )
