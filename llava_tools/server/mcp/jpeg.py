"""Images as JPEGs that fit into a result."""

from __future__ import annotations

import base64
import io
import math

from llava_tools.images import ImageRef
from llava_tools.tools.display import draw_frame
from llava_tools.tools.geometry import Box

#: Bytes of a result as JSON, at most. Claude Desktop refuses more than 1,048,576, and the client of
#: the SDK reads no longer event; the rest is for what goes around the result.
MAX_RESULT_BYTES = 1_000_000
#: Pixels of the longer side of an image in a result, at most.
MAX_SIDE = 1024
_QUALITY = 85


def fit_jpeg(image: ImageRef, box: Box | None, max_bytes: int, max_side: int = MAX_SIDE) -> str:
    """Return an image as a JPEG in base64, with a frame around a box.

    It has at most `max_side` pixels a side, and fewer where it would exceed `max_bytes` in base64.
    """
    canvas = draw_frame(image, box, max_side)
    while True:
        buffer = io.BytesIO()
        canvas.save(buffer, "JPEG", quality=_QUALITY)
        data = base64.b64encode(buffer.getvalue()).decode()
        if len(data) <= max_bytes or canvas.size == (1, 1):
            return data
        # The bytes grow about as the pixels do.
        scale = min(0.9, math.sqrt(max(1, max_bytes) / len(data)))
        canvas = canvas.resize([max(1, int(scale * side)) for side in canvas.size])
