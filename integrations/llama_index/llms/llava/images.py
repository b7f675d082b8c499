"""Images of LlamaIndex's blocks and nodes, as sources that llava_tools opens.

A `Path` in the result was put into a field for paths. Strings are URLs, or paths that only the
metadata name: those may come from a document, so they are opened only where messages may name them.
"""

from __future__ import annotations

import base64
import binascii
from io import IOBase
from pathlib import Path
from typing import BinaryIO, cast

from llama_index.core.base.llms.types import ImageBlock
from llama_index.core.schema import BaseNode, ImageNode, MediaResource, Node
from pydantic import AnyUrl

from llava_tools.errors import ImageError
from llava_tools.images import ImageRef, ImageSource
from llava_tools.images.access import ImageResolver
from llava_tools.images.ref import is_handle
from llava_tools.images.sources import shorten

#: LlamaIndex's classes that hold an image or name one; a `Node` in its `image_resource`.
ImageInput = ImageBlock | ImageNode | Node
#: Media type of an `ImageBlock` that holds an image's handle instead of its bytes.
HANDLE_TYPE = "application/x-llava-handle"


def open_image_block(item: ImageInput, resolver: ImageResolver) -> ImageRef:
    """Return the image of a message's block, or that of its handle.

    Raises:
        ImageError: The image is not allowed, unknown, or not usable.
    """
    handle = image_handle(item)
    return resolver.open_block(image_source(item)) if handle is None else resolver.get(handle)


def image_handle(item: ImageInput) -> str | None:
    """Return the handle that an `ImageBlock` holds; None if it holds an image."""
    if not isinstance(item, ImageBlock) or item.image_mimetype != HANDLE_TYPE:
        return None
    content = _image_bytes(item.image) if isinstance(item.image, bytes) else None
    handle = content.decode("ascii", "replace") if isinstance(content, bytes) else None
    if not is_handle(handle):
        raise ImageError(
            f"An image block of type {HANDLE_TYPE} holds no handle.",
            "Make it with image_block or with_handles.",
        )
    return handle


def image_source(item: ImageInput) -> ImageSource:
    """Return the bytes, else the path, else the URL, else the metadata's `file_path`.

    Raises:
        ImageError: It has none of them.
    """
    image, path, url = _fields(item)
    if image:
        return _image_bytes(image)
    if path:
        return Path(path)
    if url:
        return _checked_url(str(url))
    if not isinstance(item, ImageBlock) and (named := item.metadata.get("file_path")):
        return str(named)
    raise ImageError("An image block holds no image.", "Give it an image, a path or a url.")


def holds_image(node: BaseNode) -> bool:
    """Return whether a node has an image: its bytes, a path or a URL."""
    return isinstance(node, ImageNode | Node) and any(_fields(node))


def _fields(
    item: ImageInput,
) -> tuple[bytes | IOBase | None, str | Path | None, AnyUrl | str | None]:
    """Return image, path and URL."""
    if isinstance(item, ImageBlock):
        return item.image, item.path, item.url
    if isinstance(item, Node):
        resource = item.image_resource or MediaResource()
        return resource.data, resource.path, resource.url
    return (item.image or "").encode(errors="replace"), item.image_path, item.image_url


def _checked_url(url: str) -> str:
    if "://" not in url and not url.lower().startswith("data:"):
        raise ImageError(
            f"An image's url is {shorten(url)}, which is no URL.",
            "Put the paths of local files into the field for paths.",
        )
    return url


def _image_bytes(image: bytes | IOBase) -> ImageSource:
    """Return a block's `image`: a file, rewound, or bytes, which LlamaIndex keeps as base64."""
    if isinstance(image, IOBase):
        if image.seekable():
            image.seek(0)
        return cast(BinaryIO, image)
    try:
        return base64.b64decode(image, validate=True)
    except binascii.Error:
        return image
