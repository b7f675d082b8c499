"""Images: anything that names or holds one goes in, a checked `ImageRef` comes out."""

from llava_tools.images.ref import (
    FORMATS,
    MAX_BYTES,
    MAX_PIXELS,
    ImageRef,
    ImageSource,
    ImageWarning,
    SupportsArray,
    open_image,
)

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
