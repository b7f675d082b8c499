"""Command-line flags, generated from the fields of option classes."""

from __future__ import annotations

import argparse
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, get_args, get_type_hints

#: Help of the fields of `LoadOptions`: where a model of this process comes from and runs.
LOAD_HELP = {
    "device": "auto, cpu, cuda, cuda:1 or mps",
    "dtype": "auto, float32, float16 or bfloat16",
    "revision": "branch, tag or commit on the hub",
    "local_files_only": "never use the network",
}
#: Help of the fields of `EngineOptions`.
ENGINE_HELP = LOAD_HELP | {"quantization": "8bit or 4bit (CUDA only)"}


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
    """Return the type of a flag's value: the number or path of a type hint, else a string."""
    types = get_args(hint) or (hint,)
    return next((item for item in (int, float, Path) if item in types), str)


def get_flags(arguments: argparse.Namespace, options: type) -> dict[str, Any]:
    """Return the flags of the command line that are fields of a dataclass."""
    values = vars(arguments)
    return {field.name: values[field.name] for field in fields(options) if field.name in values}
