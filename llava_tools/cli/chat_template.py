"""`llava-tools chat-template`: the prompt of a model as a template for servers."""

from __future__ import annotations

import argparse
from typing import Any

from llava_tools.chat.formats import FORMATS
from llava_tools.cli.options import add_command
from llava_tools.cli.output import write


def add(commands: Any) -> None:
    """Add the command to the subparsers of `llava-tools`."""
    template = add_command(
        commands,
        "chat-template",
        _chat_template,
        "print the prompt as a chat template for vLLM and other servers",
        ("chat-template > vicuna_v1.jinja", "chat-template llama3 > llama3.jinja"),
    )
    template.add_argument(
        "conversation",
        nargs="?",
        choices=tuple(FORMATS),
        default="vicuna_v1",
        help=f"format that the model was trained on: {', '.join(FORMATS)} (vicuna_v1)",
    )


def _chat_template(arguments: argparse.Namespace) -> int:
    from llava_tools.remote.chat_template import write_chat_template

    write(write_chat_template(FORMATS[arguments.conversation]), end="")
    return 0
