"""Recorded answers with what the official evaluation code of their benchmark makes of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "data"


def read_recorded(name: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return the answers in `data/NAME.jsonl`, and its last line, the figures of all of them."""
    text = (FOLDER / f"{name}.jsonl").read_text(encoding="utf-8")
    *lines, totals = [json.loads(line) for line in text.splitlines()]
    return lines, totals
