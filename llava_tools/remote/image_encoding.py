"""Images as data URLs: padded and resized as LLaVA 1.5 looks at them, encoded once each."""

from __future__ import annotations

import base64
import io
import threading
from collections import OrderedDict

from PIL import Image

from llava_tools.images import ImageRef

#: Pixels a side that LLaVA 1.5 looks at.
SIDE = 336
#: CLIP's mean colour, with which LLaVA's official code pads.
_PADDING = (122, 116, 104)
#: Data URLs kept, at most some 450 KB each.
KEEP = 128


class ImageEncoder:
    """Makes data URLs of images, and keeps those used last.

    Servers run the checkpoint's image processor, which cuts off the edges of what is not square.
    An image that is padded and resized here as in LLaVA's training leaves that processor nothing
    to do, whatever the size of the file it came from.

    Args:
        side: Width and height of what is sent.
    """

    def __init__(self, side: int = SIDE) -> None:
        self._side = side
        self._known: OrderedDict[str, str] = OrderedDict()  # least recently used first
        self._lock = threading.Lock()

    def __call__(self, image: ImageRef) -> str:
        """Return an image's data URL.

        Raises:
            ImageError: The image cannot be decoded.
        """
        with self._lock:
            url = self._known.pop(image.handle, None) or self._encode(image)
            self._known[image.handle] = url
            if len(self._known) > KEEP:
                self._known.popitem(last=False)
            return url

    def _encode(self, image: ImageRef) -> str:
        buffer = io.BytesIO()
        squared(image.rgb(), self._side).save(buffer, "PNG")
        return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def squared(image: Image.Image, side: int) -> Image.Image:
    """Return an RGB image padded to a square and resized, as LLaVA's official code does."""
    longest = max(image.size)
    square = Image.new("RGB", (longest, longest), _PADDING)
    square.paste(image, ((longest - image.width) // 2, (longest - image.height) // 2))
    return square.resize((side, side), Image.Resampling.BICUBIC)
