"""Images as data URLs, padded and resized as LLaVA 1.5 was trained; recent ones are cached."""

from __future__ import annotations

import base64
import io
import threading
from collections import OrderedDict

from PIL import Image

from llava_tools.images import ImageRef

#: Width and height of LLaVA 1.5's input images, in pixels.
IMAGE_SIZE = 336
#: CLIP's mean colour, with which LLaVA's official code pads.
_PADDING = (122, 116, 104)
#: Data URLs in the cache, each at most some 450 KB.
CACHE_SIZE = 128


class ImageEncoder:
    """Encodes images as data URLs of `size` by `size` pixels and caches the most recently used.

    Servers run the checkpoint's image processor, which crops an image that is not square. It does
    not change an image that is padded and resized here, as in LLaVA's training. The data's size
    does not depend on the original file.
    """

    def __init__(self, size: int = IMAGE_SIZE) -> None:
        self._size = size
        self._urls: OrderedDict[str, str] = OrderedDict()  # by handle, least recently used first
        self._lock = threading.Lock()

    def __call__(self, image: ImageRef) -> str:
        """Return an image's data URL; `ImageError` if the image cannot be decoded."""
        with self._lock:
            url = self._urls.pop(image.handle, None)
            if url is None:
                buffer = io.BytesIO()
                with image.decoded() as pixels:
                    pad_and_resize(pixels, self._size).save(buffer, "PNG")
                url = f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
            self._urls[image.handle] = url
            if len(self._urls) > CACHE_SIZE:
                self._urls.popitem(last=False)
            return url


def pad_and_resize(image: Image.Image, size: int) -> Image.Image:
    """Return an RGB image padded to a square and resized, as LLaVA's official code does."""
    longest = max(image.size)
    square = Image.new("RGB", (longest, longest), _PADDING)
    square.paste(image, ((longest - image.width) // 2, (longest - image.height) // 2))
    return square.resize((size, size), Image.Resampling.BICUBIC)
