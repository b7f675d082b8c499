"""The golden files: one JSON object of cases for each group."""

from __future__ import annotations

import difflib
import json
import re
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
_CALL_ID = re.compile(r"\bcall_[0-9a-f]{24}\b")


def write(value: object) -> str:
    """Return data as the golden files hold it, random ids of calls replaced by `call_1`, ..."""
    text = json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False)
    known: dict[str, str] = {}
    return _CALL_ID.sub(lambda found: known.setdefault(found[0], f"call_{len(known) + 1}"), text)


def path_of(group: str) -> Path:
    return FOLDER / f"{group}.json"


def load(group: str) -> dict[str, Any]:
    """Return the stored cases of a group; none where there is no file."""
    path = path_of(group)
    stored: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.exists() else {}
    return stored


def save(group: str, results: dict[str, Any]) -> None:
    clean = {name: json.loads(write(result)) for name, result in results.items()}
    path_of(group).write_text(write(clean) + "\n", "utf-8")


def difference(stored: str, found: str) -> str:
    """Return a diff of two results, empty where they are equal."""
    lines = difflib.unified_diff(
        stored.splitlines(), found.splitlines(), "stored", "found", lineterm="", n=4
    )
    return "\n".join(lines)
