"""Pages as files: images of pages go in, with the places on them; PNG files come out."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llava_tools.errors import RequestError
from llava_tools.images import ImageRef
from llava_tools.images.sources import shorten
from llava_tools.tools.display import draw_box
from llava_tools.tools.geometry import Box


@dataclass(frozen=True)
class PageView:
    """A page's image, with a place on it in pixels, or None."""

    document: str
    page: int
    image: ImageRef
    box: Box | None

    def export(self, folder: Path, rank: int) -> Path:
        """Write the page with its box as a PNG, named by rank, document and page."""
        stem = re.sub(r"[^\w.-]+", "_", Path(self.document).stem, flags=re.ASCII)[:60]
        path = folder / f"{rank:02}-{stem}-page-{self.page}.png"
        path.write_bytes(draw_box(self.image, self.box, max(self.image.size)))
        return path


def box_fields(box: Box | None, size: tuple[int, int]) -> dict[str, Any]:
    """Return a box as JSON can hold it: in pixels, and as fractions of the page's size."""
    edges = None if box is None else normalize_box(box, size)
    return {
        "size": list(size),
        "box": None if box is None else list(box),
        "normalized_box": edges and [round(edge, 4) for edge in edges],
    }


def normalize_box(box: Box, size: tuple[int, int]) -> tuple[float, float, float, float]:
    """Return a box as fractions, 0 to 1, of the width and height of its image."""
    width, height = size
    return box.x1 / width, box.y1 / height, box.x2 / width, box.y2 / height


def export_pages(pages: Iterable[PageView], folder: str | Path) -> list[Path]:
    """Write pages as PNG files into a folder; return their paths in order.

    The folder is created if it is missing; files of the same name are replaced.

    Raises:
        RequestError: The folder cannot be written to.
    """
    if folder == "":
        raise RequestError("The name of the folder is empty.", "Name a folder to write to.")
    folder = Path(os.path.expanduser(folder))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return [page.export(folder, rank) for rank, page in enumerate(pages, start=1)]
    except OSError as error:
        raise RequestError(
            f"{shorten(folder)} cannot be written to: {error.strerror}.", "Use another folder."
        ) from error
    except ValueError as error:  # a null byte
        raise RequestError(
            f"{shorten(folder)} is no name of a folder.", "Use another folder."
        ) from error
