"""Commands of the command line, and their flags, generated from the fields of option classes."""

from __future__ import annotations

import argparse
import re
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import MISSING, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn, get_args, get_type_hints

from llava_tools.chat.formats import FORMATS
from llava_tools.cli.output import write_error
from llava_tools.core.requests import SamplingParams
from llava_tools.options import DEFAULT_CONTEXT_LENGTH, EngineOptions

#: Help of the fields of `LoadOptions`: where a model of this process comes from and runs.
LOAD_HELP = {
    "device": "auto, cpu, cuda, cuda:1 or mps",
    "dtype": "auto, float32, float16 or bfloat16",
    "revision": "branch, tag or commit on the hub",
    "local_files_only": "never use the network",
}
#: Help of the fields of `EngineOptions`.
ENGINE_HELP = LOAD_HELP | {
    "quantization": "8bit or 4bit (CUDA, or a CPU with AVX512)",
    "conversation": f"format that the model was trained on: {', '.join(FORMATS)}; "
    "by default that of the checkpoint",
    "context_length": "most tokens of prompt and answer together; by default as many as the model "
    f"was built for, but at most {DEFAULT_CONTEXT_LENGTH}",
}
#: Help of the field `calibration`, for commands whose answers have probabilities.
CALIBRATION_HELP = "file of `calibrate`; by default calibration.json in the model's folder"


class Parser(argparse.ArgumentParser):
    """Reports errors in one line, without the usage; an unknown flag with the nearest one."""

    def __init__(self, **settings: Any) -> None:
        formatter = argparse.RawDescriptionHelpFormatter
        super().__init__(formatter_class=formatter, allow_abbrev=False, **settings)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Check the flags of a command before its other words, which may be missing as well."""
        is_command = self._subparsers is None
        for word in args or ():
            if word == "--" or not (is_command or word.startswith("-")):
                break  # what follows are no flags, or those of a command
            self._check_flag(word)
        return super().parse_known_args(args, namespace)

    def _check_flag(self, word: str) -> None:
        flag, names = word.partition("=")[0], flags_of(self)
        if re.fullmatch(r"--[\w-]+", flag) and flag not in names:
            known = [name[2:] for name in names]
            swapped = [name for name in known if sorted(name) == sorted(flag[2:])]
            near = swapped or get_close_matches(flag[2:], known, n=1)
            self.error(
                f"there is no flag {flag}." + (f" Did you mean --{near[0]}?" if near else "")
            )

    def error(self, message: str) -> NoReturn:
        """Print a message in one line, and exit with 2."""
        if choice := re.search(r"invalid choice: '(.*?)' \(choose from (.*)\)", message):
            near = get_close_matches(choice[1], re.findall(r"[\w-]+", choice[2]), n=1)
            message += f". Did you mean {near[0]}?" if near else ""
        end = "" if message.endswith((".", "?")) else "."
        write_error(f"error: {message}{end} Run: {self.prog} --help")
        raise SystemExit(2)


def flags_of(parser: argparse.ArgumentParser) -> list[str]:
    """Return the long flags of a parser."""
    return sorted(set(re.findall(r"(?<![\w-])--[a-z][\w-]*", parser.format_help())))


def add_command(
    commands: Any,
    name: str,
    run: Callable[[argparse.Namespace], int],
    text: str,
    examples: Sequence[str],
    description: str = "",
    usage: str | None = None,
) -> argparse.ArgumentParser:
    """Add a command to the subparsers of `llava-tools`.

    Args:
        commands: The subparsers.
        name: Of the command.
        run: Runs the command, and returns the exit code.
        text: Its line in the list of commands.
        examples: Commands for the end of its help.
        description: Paragraph for its help; by default `text`.
        usage: Replaces the line that lists all flags.
    """
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=text,
        description=textwrap.fill(description or f"{text[0].upper()}{text[1:]}.", width=78),
        usage=usage,
        epilog="\n".join(["examples:", *(f"  llava-tools {example}" for example in examples)]),
    )
    parser.set_defaults(run=run)
    parser.add_argument("-v", "--verbose", action="store_true", help="log to stderr")
    parser.add_argument("-q", "--quiet", action="store_true", help="no notes on stderr")
    return parser


def add_answer_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of commands that answer questions: the model, sampling, and access to hosts."""
    add_flags(
        parser,
        EngineOptions,
        model="tiny, 0.5b, 7b, 13b, a hub id or a folder",
        base_url="ask an OpenAI-compatible server, like http://localhost:8000/v1; "
        "its key, if any, comes from LLAVA_API_KEY",
        **ENGINE_HELP,
    )
    parser.add_argument("--system", metavar="TEXT", help="replaces LLaVA's system sentence")
    add_flags(
        parser,
        SamplingParams,
        max_tokens="length limit of the answer",
        temperature="0 for the likeliest answer",
        seed="makes sampling repeatable",
    )
    parser.add_argument(
        "--stop",
        action="append",
        default=[],
        metavar="TEXT",
        help="ends the answer; may be passed repeatedly",
    )
    parser.add_argument(
        "--allow-host",
        dest="allowed_hosts",
        action="append",
        default=[],
        metavar="HOST",
        help="a host, or HOST:PORT, in a private network that URLs of images may name; may be "
        "passed repeatedly",
    )


def add_flags(parser: argparse.ArgumentParser, options: type, **help: str) -> None:  # noqa: A002
    """Add a flag for each field of a dataclass that has a help text.

    The field sets the flag's type and the default in its help; a field without a default is
    required. A boolean field that is True by default becomes a flag `--no-…`.
    """
    types = get_type_hints(options)
    by_name = {field.name: field for field in fields(options)}
    for name, text in help.items():
        flag, default = f"--{name}", by_name[name].default
        settings: dict[str, Any]
        if isinstance(default, bool):
            flag = f"--no-{name}" if default else flag
            settings = {"action": "store_false" if default else "store_true"}
        else:
            text = text if default in (None, MISSING) else f"{text} ({default})"
            settings = {"type": _type(types[name]), "required": default is MISSING}
        flag = flag.replace("_", "-")
        parser.add_argument(flag, dest=name, default=argparse.SUPPRESS, help=text, **settings)


def _type(hint: Any) -> type:
    """Return the type of a flag's value: a string where a hint allows it, else a number or path."""
    types = get_args(hint) or (hint,)
    if str in types:
        return str
    return next((item for item in (int, float, Path) if item in types), str)


def get_flags(arguments: argparse.Namespace, options: type) -> dict[str, Any]:
    """Return the flags of the command line that are fields of a dataclass."""
    values = vars(arguments)
    return {field.name: values[field.name] for field in fields(options) if field.name in values}
