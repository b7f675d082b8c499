"""Which of a server's models a client means."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from itertools import islice
from typing import Any

from llava_tools.errors import ModelNotFoundError


def select_model(
    models: list[dict[str, Any]] | None, name: str | None, url: str
) -> tuple[str, dict[str, Any]]:
    """Return the model's name and its entry in the server's list, empty if there is no list."""
    if models is None:
        if name is None:
            raise ModelNotFoundError(
                f"The server at {url} does not list its models.",
                "Check base_url, which usually ends in /v1, or set model=….",
            )
        return name, {}
    entries = {str(model["id"]): model for model in models}
    roots = {str(entry.get("root") or name) for name, entry in entries.items()}
    if name is None and len(roots) == 1:  # further entries are further names of it
        name = next(iter(entries))
    for listed in (name, f"{name}:latest"):  # Ollama lists the tag that a name without one means
        if name is not None and listed in entries:
            return name, entries[listed]
    close = get_close_matches(name or "", _short_names(entries), n=1)
    hint = f"Did you mean {close[0]!r}? " if close else ""
    problem = f"has no {name!r}" if name else "does not serve exactly one model: set model=…"
    raise ModelNotFoundError(
        f"The server at {url} {problem}.",
        f"{hint}It serves: {', '.join(_short_names(entries)[:20]) or 'nothing'}.",
    )


def _short_names(names: Iterable[str]) -> list[str]:
    """Return the names that are worth comparing and showing: a server may list anything."""
    return [name for name in islice(names, 1000) if len(name) <= 200]
