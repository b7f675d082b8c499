"""Images: any source of one goes in, a checked `ImageRef` comes out."""

from llava_tools.images.ref import ImageRef, ImageSource, ImageWarning, SupportsArray, open_image
from llava_tools.images.sources import MAX_BYTES
from llava_tools.images.validation import FORMATS, MAX_PIXELS

__all__ = [
    "FORMATS",
    "MAX_BYTES",
    "MAX_PIXELS",
    "ImageRef",
    "ImageSource",
    "ImageWarning",
    "SupportsArray",
    "open_image",
]
