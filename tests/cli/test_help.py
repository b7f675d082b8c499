"""Help and typos: every example parses; a wrong flag or command names the nearest one."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from llava_tools.cli.main import build_parser, main

COMMANDS = (
    "ask",
    "chat",
    "index",
    "search",
    "demo",
    "mcp",
    "info",
    "bench",
    "eval",
    "train",
    "convert",
    "completion",
)
PAGE = Path(__file__).parents[2] / "docs" / "command_line.md"


def _exit(words: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[object, str, str]:
    with pytest.raises(SystemExit) as error:
        main(words)
    return error.value.code, *capsys.readouterr()


#: Commands with flags; `train` has those of its stages.
LEAVES = (*COMMANDS, "train align", "train tune")


@pytest.mark.parametrize("command", LEAVES)
def test_examples_in_help_parse(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = _exit([*command.split(), "--help"], capsys)
    assert code == 0
    examples = re.findall(r"^  llava-tools (.+)$", out.partition("examples:\n")[2], re.MULTILINE)
    assert examples
    for example in examples:
        words = shlex.split(re.split(r" [<>]", example)[0])
        assert shlex.join(words).startswith(command)
        assert build_parser().parse_args(words).run


def test_help_and_the_docs_list_commands_and_exit_codes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    _, out, _ = _exit(["--help"], capsys)
    page = PAGE.read_text()
    for command in COMMANDS:
        assert re.search(rf"^    {command}\b", out, re.MULTILINE)
        assert f"`{command}`" in page
    codes = re.findall(r"^  (\d+) ", out.partition("exit codes:\n")[2], re.MULTILINE)
    assert codes == re.findall(r"^\| (\d+) \|", page, re.MULTILINE) == ["0", "1", "2", "3", "130"]


@pytest.mark.parametrize("command", LEAVES)
def test_the_docs_have_every_flag(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = _exit([*command.split(), "--help"], capsys)
    flags = set(re.findall(r"--[a-z][\w-]*", out.partition("examples:\n")[0]))
    page = PAGE.read_text()
    assert not [flag for flag in flags if not re.search(rf"`{flag}\b(?!-)", page)]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["ask", "--bogus"], "there is no flag --bogus. Run: llava-tools ask --help"),
        (
            ["ask", "--modle=7b"],
            "there is no flag --modle. Did you mean --model? Run: llava-tools ask --help",
        ),
        (
            ["train", "tune", "--ful"],
            "there is no flag --ful. Did you mean --full? Run: llava-tools train tune --help",
        ),
        (
            ["--verison"],
            "there is no flag --verison. Did you mean --version? Run: llava-tools --help",
        ),
    ],
)
def test_h6_wrong_flag_names_this_commands_help_and_the_nearest_flag(
    words: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _exit(words, capsys) == (2, "", f"llava-tools: error: {line}\n")


def test_h6_wrong_command_names_the_nearest_one(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = _exit(["serach", "index", "x"], capsys)
    assert code == 2
    assert "Did you mean search? Run: llava-tools --help" in err
