"""`llava-tools completion`: bash completes commands, flags and file names."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from llava_tools.cli.main import main


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("llava-tools se", "search serve"),
        ("llava-tools sea", "search"),
        ("llava-tools ask --allow", "--allow-host"),
        ("llava-tools search my-index --mod", "--mode"),
        ("llava-tools ask pho", ""),
    ],
)
def test_bash_completes(line: str, expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "bash"]) == 0
    script = capsys.readouterr().out
    run = f"{script}\nCOMP_WORDS=({line}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))\n"
    run += '_llava_tools; echo "${COMPREPLY[*]}"'
    done = subprocess.run(["bash", "-c", run], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == expected


def test_zsh_runs_the_script_of_bash(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "bash"]) == 0
    script = capsys.readouterr().out
    assert main(["completion", "zsh"]) == 0
    assert capsys.readouterr().out.endswith(f"bashcompinit\n{script}")
