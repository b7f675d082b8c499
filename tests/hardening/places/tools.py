"""Texts in the arguments of the visual tools."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

#: Arguments with a text, by the name of the tool, or its name and a further word.
ARGUMENTS: dict[str, Callable[[str, str], dict[str, Any]]] = {
    "look": lambda image, text: {"image": image, "question": text},
    "count": lambda image, text: {"image": image, "things": text},
    "locate": lambda image, text: {"image": image, "thing": text},
    "choose": lambda image, text: {"image": image, "question": text, "labels": ["a", "b"]},
    "choose label": lambda image, text: {
        "image": image, "question": "What?", "labels": [text, "b"],
    },
    "compare": lambda image, text: {"images": [image, image], "question": text},
    "zoom": lambda image, text: {"image": image, "box": [0, 0, 2, 2], "question": text},
}  # fmt: skip
