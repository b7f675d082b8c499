"""Prints results on stdout, and notes and errors on stderr."""

from __future__ import annotations

import json
import sys


def write(text: str, end: str = "\n") -> None:
    """Print a text."""
    print(text, end=end, flush=True)  # noqa: T201


def write_json(value: object) -> None:
    """Print a value as JSON."""
    write(json.dumps(value, ensure_ascii=False, indent=2))


def write_note(text: str) -> None:
    """Print a line on stderr."""
    sys.stderr.write(f"llava-tools: {text}\n")
