"""Pictures: placeholder until the real module lands."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image


@dataclass(frozen=True, eq=False)
class ImageRef:
    handle: str
    source: str
    data: bytes = field(repr=False)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ImageRef) and other.handle == self.handle

    def __hash__(self) -> int:
        return hash(self.handle)

    def rgb(self) -> Image.Image:
        return Image.open(io.BytesIO(self.data)).convert("RGB")


ImageSource = str | Path | bytes | Image.Image | ImageRef


def open_image(source: ImageSource) -> ImageRef:
    if isinstance(source, ImageRef):
        return source
    if isinstance(source, Image.Image):
        buffer = io.BytesIO()
        source.save(buffer, "PNG")
        source = buffer.getvalue()
    data = source if isinstance(source, bytes) else Path(source).read_bytes()
    return ImageRef("img_" + hashlib.sha256(data).hexdigest()[:24], str(source)[:80], data)
