"""`llava-tools ask --evidence FILE.png`: draws which part of the image the answer depends on."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llava_tools.core.backend import Backend
from llava_tools.core.requests import Message, Request
from llava_tools.errors import OutputError, RequestError, escape_line
from llava_tools.evidence import EvidenceMap, measure
from llava_tools.images import ImageRef
from llava_tools.images.sources import shorten


def check_file(name: str, images: Sequence[ImageRef]) -> Path:
    """Return the path of the file, once all is checked that can be before the answer.

    Raises:
        RequestError: The question has not one image, or the file cannot have that name.
    """
    if len(images) != 1:
        raise RequestError(
            f"--evidence draws on the image of a question, and this one has {len(images)} images.",
            "Name one image.",
        )
    path = Path(os.path.expanduser(name))
    if path.suffix.lower() != ".png" or os.path.isdir(path):
        raise RequestError(
            f"--evidence writes a PNG file, and {shorten(name)} is no name of one.",
            "Use a name like evidence.png.",
        )
    if not os.path.isdir(path.parent):
        raise RequestError(
            f"There is no folder {shorten(path.parent)} for the file of --evidence.",
            "Create it, or use another.",
        )
    return path


def draw(
    backend: Backend, image: ImageRef, question: str, system: str | None, answer: str, path: Path
) -> EvidenceMap:
    """Measure what the answer to a question depends on, and write the drawing.

    Raises:
        RequestError: The model does not run in this process, or the file cannot be written.
        EngineError: The answer is empty, or the engine could not finish.
    """
    if not (answer := answer.strip()):
        raise OutputError("The answer is empty, so it depends on nothing.", "Ask in other words.")
    system_messages = () if system is None else (Message("system", (system,)),)
    request = Request((*system_messages, Message("user", (image, question))))
    evidence = measure(backend, request, answer)
    try:
        evidence.draw().save(path, "PNG")
    except OSError as error:
        raise RequestError(
            f"{shorten(path)} cannot be written: {error.strerror}.", "Use another file."
        ) from error
    return evidence


def as_dict(evidence: EvidenceMap, path: Path) -> dict[str, Any]:
    """Return what `--json` has of a map."""
    region = evidence.region
    return {
        "box": None if region is None else list(region),
        "size": list(evidence.image.size),
        "exported": str(path),
    }


def as_text(evidence: EvidenceMap, path: Path) -> str:
    """Return the lines below an answer."""
    width, height = evidence.image.size
    place = "no single part of the image"
    if evidence.region is not None:
        place = f"box {list(evidence.region)} of {width} x {height}"
    return f"  depends on {place}\n    {escape_line(str(path))}\n"
