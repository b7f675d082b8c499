"""Images as resources: `image://{handle}`, those of the session alone."""

from __future__ import annotations

import base64
import re

from mcp import MCPError
from mcp_types import (
    INVALID_PARAMS,
    BlobResourceContents,
    ListResourcesResult,
    ListResourceTemplatesResult,
    ReadResourceResult,
    Resource,
    ResourceTemplate,
)

from llava_tools.errors import ImageError
from llava_tools.images.ref import HANDLE_PATTERN
from llava_tools.images.store import ImageStore
from llava_tools.server.mcp.jpeg import MAX_RESULT_BYTES, fit_jpeg

#: Images in a list, at most: those that were used last.
MAX_LISTED = 500

_URI = re.compile(f"image://({HANDLE_PATTERN})/?")


def image_uri(handle: str) -> str:
    """Return the URI of an image."""
    return f"image://{handle}"


def handle_of(name: object) -> object:
    """Return the handle in the URI of an image, and anything else as it is."""
    match = _URI.fullmatch(name) if isinstance(name, str) else None
    return name if match is None else match[1]


def list_templates() -> ListResourceTemplatesResult:
    """Return the form of all URIs."""
    template = ResourceTemplate(
        uri_template=image_uri("{handle}"),
        name="image",
        description="An image of this session by its handle (img_...).",
    )
    return ListResourceTemplatesResult(resource_templates=[template])


def list_images(store: ImageStore) -> ListResourcesResult:
    """Return the images of a session, the last used first."""
    # In this order, since each image that is read counts as used.
    listed = [_describe(store, handle) for handle in store.handles()[-MAX_LISTED:]]
    return ListResourcesResult(resources=listed[::-1])


def read_image(store: ImageStore, uri: str) -> ReadResourceResult:
    """Return an image: its file as it is, or a smaller JPEG where that would exceed a result.

    Raises:
        MCPError: The URI is of no image of this session, or the image is damaged.
    """
    match = _URI.fullmatch(uri)
    try:
        if match is None:
            raise ImageError(f"{uri!r:.100} names no image.", f"Use {image_uri('img_…')}.")
        image = store.get(match[1])
        data, media_type = image.portable()
        text = base64.b64encode(data).decode()
        if len(text) > MAX_RESULT_BYTES:
            text, media_type = fit_jpeg(image, None, MAX_RESULT_BYTES), "image/jpeg"
    except ImageError as error:
        raise MCPError(INVALID_PARAMS, str(error), {"uri": uri}) from error
    contents = BlobResourceContents(uri=uri, mime_type=media_type, blob=text)
    return ReadResourceResult(contents=[contents])


def _describe(store: ImageStore, handle: str) -> Resource:
    image = store.get(handle)
    width, height = image.size
    return Resource(
        uri=image_uri(handle),
        name=handle,
        description=f"{width} x {height} pixels",
        mime_type=image.media_type,
    )
