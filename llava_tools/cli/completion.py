"""`llava-tools completion`: a script that completes commands and flags in bash or zsh."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from functools import partial
from typing import Any

from llava_tools.cli.options import add_command, flags_of
from llava_tools.cli.output import write

# zsh runs it through bashcompinit. File names are what either shell completes without a match.
_SCRIPT = """\
_llava_tools() {{
    local word="${{COMP_WORDS[COMP_CWORD]}}" list=""
    if [ "$COMP_CWORD" -eq 1 ]; then
        list="{commands}"
    elif [ "${{word#-}}" != "$word" ]; then
        case "${{COMP_WORDS[1]}}" in
{cases}
        esac
    fi
    COMPREPLY=($(compgen -W "$list" -- "$word"))
}}
complete -o default -F _llava_tools llava-tools"""
_ZSH = "autoload -Uz compinit bashcompinit\ncompinit\nbashcompinit"


def add(commands: Any) -> None:
    """Add the command to the subparsers of `llava-tools`."""
    completion = add_command(
        commands,
        "completion",
        partial(_completion, commands.choices),
        "print a script that completes commands and flags",
        ("completion bash >> ~/.bashrc", "completion zsh >> ~/.zshrc"),
    )
    completion.add_argument("shell", choices=("bash", "zsh"), help="bash or zsh")


def _completion(
    commands: Mapping[str, argparse.ArgumentParser], arguments: argparse.Namespace
) -> int:
    cases = [
        f'            {name}) list="{" ".join(flags_of(parser))}" ;;'
        for name, parser in commands.items()
    ]
    script = _SCRIPT.format(commands=" ".join([*commands, "--help"]), cases="\n".join(cases))
    write(script if arguments.shell == "bash" else f"{_ZSH}\n{script}")
    return 0
