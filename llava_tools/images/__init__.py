"""Images: any source of one goes in, a checked `ImageRef` comes out."""

from llava_tools.images.loading import ImageSource, ImageWarning, SupportsArray, open_image
from llava_tools.images.ref import ImageRef

__all__ = ["ImageRef", "ImageSource", "ImageWarning", "SupportsArray", "open_image"]
