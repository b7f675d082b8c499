"""`open_image` turns a path, bytes, a URL, pixels or an open file into a checked `ImageRef`.

A source is read once, bounded before anything is decoded, checked to be complete, and named by a
digest of its content. An `ImageRef` keeps the encoded bytes and decodes them on demand, so that a
conversation full of images stays small. Pixels are what a viewer shows: upright, over white, 8-bit
RGB. Colour profiles are not applied, since LLaVA was trained without. Of several frames or pages,
only the first is used.
"""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import BinaryIO, Protocol, TypeAlias, cast

from PIL import Image, ImageFile

from llava_tools.errors import ImageError
from llava_tools.images.fetch import Fetcher
from llava_tools.images.limits import check_pixels, check_work, decode_limit, too_many_pixels
from llava_tools.images.pixels import as_rgb, upright
from llava_tools.images.ref import ImageRef, damaged
from llava_tools.images.sources import (
    MAX_BYTES,
    check_bytes,
    read_data_url,
    read_file,
    read_path,
    shorten,
)
from llava_tools.images.urls import display_url
from llava_tools.images.validation import (
    DAMAGE,
    check_complete,
    frames_note,
    not_an_image,
    read_header,
    read_orientation,
)


class ImageWarning(UserWarning):
    """Only a part of an image is used, such as the first frame of an animation."""


class SupportsArray(Protocol):
    """A numpy array, or an object with the same interface."""

    @property
    def __array_interface__(self) -> dict[str, object]: ...


_REMOTE_HINT = "Give an http(s) URL or a base64 data URL."

ImageSource: TypeAlias = (
    str | Path | bytes | bytearray | memoryview | Image.Image | ImageRef | BinaryIO | SupportsArray
)


def open_image(
    source: ImageSource, *, allow_paths: bool = True, fetcher: Fetcher | None = None
) -> ImageRef:
    """Read and check an image.

    Args:
        source: A path, an http(s) or `data:` URL, encoded bytes, a binary file, a PIL image, a
            uint8 array (height x width, or x 3 or 4), or an `ImageRef`, which is returned as it
            is. A PIL image fresh from `Image.open` is turned upright like its file; any other
            keeps its pixels as they are.
        allow_paths: Whether strings and `Path`s may name local files. Pass False for names that
            come from a model or over a network.
        fetcher: How URLs are fetched; by default from public hosts only.

    Raises:
        ImageError: The source is unreachable, no image, cut off, or too large.

    Warns:
        ImageWarning: The image has several frames or pages; the first is used.
    """
    if isinstance(source, ImageRef):
        return source
    if isinstance(source, Image.Image):
        return _from_pixels(source, "PIL image")
    if isinstance(source, bytes | bytearray | memoryview):
        size = source.nbytes if isinstance(source, memoryview) else len(source)
        check_bytes(size, "bytes")
        return _from_bytes(bytes(source), "bytes")
    if isinstance(source, str) and (scheme := re.match(r"([a-zA-Z][a-zA-Z0-9+.-]+):", source)):
        match scheme[1].lower():
            case "data":
                return _from_bytes(read_data_url(source), "data URL")
            case "http" | "https":
                name = display_url(source)
                data = (fetcher or Fetcher(max_bytes=MAX_BYTES)).get(source)
                check_bytes(len(data), name)
                return _from_bytes(data, name)
            case "file":
                raise ImageError(
                    f"{shorten(source)} is a file: URL, which is not read.",
                    "Give the path itself." if allow_paths else _REMOTE_HINT,
                )
            case _ if "://" in source:
                raise ImageError(
                    f"{shorten(source)} has a scheme that is not read.",
                    "Use http(s), or download it and give its bytes.",
                )
    if isinstance(source, str | Path):
        if not allow_paths:
            raise ImageError(
                f"{shorten(source)} looks like a local path, which is not allowed here.",
                _REMOTE_HINT,
            )
        return _from_bytes(read_path(source), shorten(source, quote=False))
    if hasattr(source, "read"):
        path = getattr(source, "name", None)
        name = shorten(path, quote=False) if isinstance(path, str) else "file object"
        return _from_bytes(read_file(cast(BinaryIO, source), name), name)
    if hasattr(source, "__array_interface__"):
        return _from_array(source)
    raise ImageError(
        f"{shorten(repr(source), quote=False)} ({type(source).__name__}) is not an image.",
        "Give a path, a URL, bytes, a PIL image or a uint8 array.",
    )


def restore_image(data: bytes, handle: str) -> ImageRef:
    """Return the image of a handle from its `ImageRef.data`, checked as by `open_image`.

    Raises:
        ImageError: The bytes are damaged, or those of another image.
    """
    image = _from_bytes(data, handle, warn=False)
    if image.handle != handle:  # the handle of pixels, whose data are a PNG of them
        with image.decoded() as pixels:
            image = _from_pixels(pixels, handle)
    if image.handle != handle:
        raise damaged(handle, "its content has another digest")
    return image


def _from_bytes(data: bytes, name: str, *, warn: bool = True) -> ImageRef:
    """Check encoded bytes: their header, their bounds and their end."""
    if not data:
        raise ImageError(f"{name} is empty.", "Give a file with an image (and rewind it).")
    try:
        image = read_header(data, name)
        if image is None:
            raise not_an_image(data, name)
        check_work(image, data, name)
        with decode_limit.hold(image.size):
            check_complete(image, data)
            check_pixels(image.size, name)  # once decoded, a GIF may be larger than its screen
            orientation = read_orientation(image, data)
            note = frames_note(image)
        media_type = image.get_format_mimetype() or "application/octet-stream"
    except Image.DecompressionBombError as error:
        raise too_many_pixels(name) from error
    except ImageError:
        raise
    except DAMAGE as error:
        raise damaged(name, error) from error
    if note and warn:
        warnings.warn(f"{name} {note}", ImageWarning, stacklevel=3)
    width, height = image.size
    return ImageRef(
        source=name,
        size=(height, width) if orientation >= 5 else (width, height),
        media_type="image/jpeg" if media_type == "image/mpo" else media_type,
        _content=data,
        _orientation=orientation,
    )


def _from_pixels(image: Image.Image, name: str) -> ImageRef:
    """Copy a PIL image's pixels as a viewer would show them."""
    check_pixels(image.size, name)
    orientation, note = 1, ""
    try:
        if isinstance(image, ImageFile.ImageFile):
            image.load()
            orientation = read_orientation(image, b"")
            note = frames_note(image) if image.tell() == 0 else ""
        pixels = upright(as_rgb(image), orientation)
        pixels = pixels.copy() if pixels is image else pixels
    except DAMAGE as error:
        raise damaged(name, error) from error
    if note:
        warnings.warn(f"{name} {note}", ImageWarning, stacklevel=3)
    return ImageRef(source=name, size=pixels.size, media_type="image/png", _content=pixels)


def _from_array(array: SupportsArray) -> ImageRef:
    interface = array.__array_interface__
    shape, dtype = cast(tuple[int, ...], interface["shape"]), interface["typestr"]
    if dtype != "|u1" or not (len(shape) == 2 or (len(shape) == 3 and shape[2] in (3, 4))):
        raise ImageError(
            f"An array of shape {shape} and type {dtype} is not an image.",
            "Give uint8 values, height x width or height x width x 3.",
        )
    check_pixels((shape[1], shape[0]), "array")
    return _from_pixels(Image.fromarray(array), "array")
