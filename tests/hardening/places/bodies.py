"""What the bodies of clients have in common."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

from tests.hardening.places.place import PHOTO

DATA = base64.b64encode(PHOTO).decode()
URL = f"data:image/png;base64,{DATA}"
IMAGE = {"type": "image_url", "image_url": {"url": URL}}
QUESTION = {"role": "user", "content": "What?"}
WELL = {"role": "user", "content": "Well?"}
Make = Callable[[str], dict[str, Any]]


def text_block(text: str, kind: str = "text") -> dict[str, Any]:
    return {"type": kind, "text": text}
