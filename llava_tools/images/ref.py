"""Images: anything that names or holds one goes in, a checked `ImageRef` comes out.

Paths, bytes, data URLs, http(s) URLs, PIL images, arrays and open files are read once, bounded
before anything is decoded, checked to be whole, and named by a digest of their content. A ref
keeps the encoded bytes and decodes when asked, so that a conversation full of images stays small.
Pixels are what a viewer shows: upright, over white, in 8-bit RGB. Colour profiles are not applied
(LLaVA was trained without), and of several frames or pages only the first is looked at.
"""

from __future__ import annotations

import hashlib
import io
import re
import warnings
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, Protocol, TypeAlias, cast

from PIL import Image, ImageFile

from llava_tools.errors import ImageError
from llava_tools.images.fetch import Fetcher, displayed
from llava_tools.images.pixels import as_shown, scale_colour_key
from llava_tools.images.sources import (
    MAX_BYTES,
    check_bytes,
    read_data_url,
    read_file,
    read_path,
    short,
)
from llava_tools.images.validation import (
    DAMAGE,
    FORMATS,
    MAX_PIXELS,
    check_pixels,
    check_whole,
    not_a_image,
    read_header,
    read_orientation,
    several_frames,
    too_many_pixels,
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


class ImageWarning(UserWarning):
    """Only a part of what was given is looked at, such as an animation's first frame."""


class SupportsArray(Protocol):
    """A numpy array, or what offers the same interface."""

    @property
    def __array_interface__(self) -> dict[str, object]: ...


@dataclass(frozen=True, eq=False)
class ImageRef:
    """A checked image, named by its content. Make one with `open_image`.

    Attributes:
        handle: `img_` and 24 hex digits; equal content has equal handles.
        source: Where it came from, for messages.
        size: Width and height in pixels as a viewer shows it.
        media_type: Of `data`, such as `image/jpeg`.
    """

    handle: str
    source: str
    size: tuple[int, int]
    media_type: str
    _content: bytes | Image.Image = field(repr=False)
    _orientation: int = field(default=1, repr=False)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ImageRef) and other.handle == self.handle

    def __hash__(self) -> int:
        return hash(self.handle)

    @property
    def data(self) -> bytes:
        """The encoded image: the original file, or a PNG of what was given as pixels."""
        return self._content if isinstance(self._content, bytes) else self._png

    @cached_property
    def _png(self) -> bytes:
        assert isinstance(self._content, Image.Image)
        buffer = io.BytesIO()
        self._content.save(buffer, "PNG")
        return buffer.getvalue()

    @property
    def nbytes(self) -> int:
        """Memory that the image takes now: the file, or pixels and their PNG once it is made."""
        if isinstance(self._content, bytes):
            return len(self._content)
        encoded = self.__dict__.get("_png", b"")
        return 3 * self._content.width * self._content.height + len(encoded)

    def rgb(self) -> Image.Image:
        """Decode the image as a viewer shows it, in 8-bit RGB; the caller owns the result.

        Raises:
            ImageError: It is damaged in a way that only decoding finds.
        """
        if not isinstance(self._content, bytes):
            return self._content.copy()
        try:
            image = read_header(self._content)
            if image is None:
                raise _damaged(self.source, "its format is not known any more")
            scale_colour_key(image, self._content)
            return as_shown(image, self._orientation)
        except DAMAGE as error:
            if isinstance(error, ImageError):
                raise
            raise _damaged(self.source, error) from error


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
            is. A PIL image fresh from `Image.open` is turned upright like its file; any other is
            taken with the pixels that it has.
        allow_paths: Whether strings and `Path`s may name local files. Say False for names that
            come from a model or over a network.
        fetcher: How URLs are fetched; by default from public hosts only.

    Raises:
        ImageError: It cannot be had, is no image, is cut off, or is too large.

    Warns:
        ImageWarning: It has several frames or pages, of which the first is taken.
    """
    if isinstance(source, ImageRef):
        return source
    if isinstance(source, Image.Image):
        return _from_pixels(source, "PIL image")
    if isinstance(source, bytes | bytearray | memoryview):
        size = source.nbytes if isinstance(source, memoryview) else len(source)
        check_bytes(size, "bytes")
        return _from_bytes(bytes(source), "bytes")
    if isinstance(source, str):
        scheme = re.match(r"([a-zA-Z][a-zA-Z0-9+.-]+):", source)
        kind = scheme[1].lower() if scheme else ""
        if kind == "data":
            return _from_bytes(read_data_url(source), "data URL")
        if kind in ("http", "https"):
            name = displayed(source)
            data = (fetcher or Fetcher(max_bytes=MAX_BYTES)).get(source)
            check_bytes(len(data), name)
            return _from_bytes(data, name)
        if kind == "file":
            raise ImageError(
                f"{short(source)} is a file: URL, which is not read.",
                "Give the path itself." if allow_paths else _REMOTE_HINT,
            )
        if kind and "://" in source:
            raise ImageError(
                f"{short(source)} has a scheme that is not read.",
                "Use http(s), or download it and give its bytes.",
            )
    if isinstance(source, str | Path):
        if not allow_paths:
            raise ImageError(
                f"{short(source)} looks like a local path, which is not allowed here.",
                _REMOTE_HINT,
            )
        return _from_bytes(read_path(source), short(source, quote=False))
    if hasattr(source, "read"):
        given = getattr(source, "name", None)
        name = short(given, quote=False) if isinstance(given, str) else "file object"
        return _from_bytes(read_file(cast(BinaryIO, source), name), name)
    if hasattr(source, "__array_interface__"):
        return _from_array(source)
    raise ImageError(
        f"{short(repr(source), quote=False)} ({type(source).__name__}) is not a picture.",
        "Give a path, a URL, bytes, a PIL image or a uint8 array.",
    )


_REMOTE_HINT = "Give an http(s) URL or a base64 data URL."


def _from_bytes(data: bytes, name: str) -> ImageRef:
    """Check encoded bytes by their header, their bounds and their end."""
    if not data:
        raise ImageError(f"{name} is empty.", "Give a file with a picture (and rewind it).")
    try:
        image = read_header(data)
        if image is None:
            raise not_a_image(data, name)
        check_pixels(image.size, name)
        check_whole(image, data)
        orientation = read_orientation(image, data)
        several = several_frames(image)
        media_type = image.get_format_mimetype() or "application/octet-stream"
    except Image.DecompressionBombError as error:
        raise too_many_pixels(name, "too many") from error
    except DAMAGE as error:
        if isinstance(error, ImageError):
            raise
        raise _damaged(name, error) from error
    if several:
        warnings.warn(f"{name} {several}", ImageWarning, stacklevel=3)
    width, height = image.size
    return ImageRef(
        handle="img_" + hashlib.sha256(data).hexdigest()[:24],
        source=name,
        size=(height, width) if orientation >= 5 else (width, height),
        media_type="image/jpeg" if media_type == "image/mpo" else media_type,
        _content=data,
        _orientation=orientation,
    )


def _from_pixels(image: Image.Image, name: str) -> ImageRef:
    """Copy a PIL image's pixels as a viewer would show them."""
    check_pixels(image.size, name)
    orientation, several = 1, ""
    try:
        if isinstance(image, ImageFile.ImageFile):
            image.load()
            orientation = read_orientation(image, b"")
            several = several_frames(image) if image.tell() == 0 else ""
        pixels = as_shown(image, orientation)
    except DAMAGE as error:
        raise _damaged(name, error) from error
    if several:
        warnings.warn(f"{name} {several}", ImageWarning, stacklevel=3)
    digest = hashlib.sha256(f"RGB {pixels.width}x{pixels.height} ".encode() + pixels.tobytes())
    return ImageRef(
        handle="img_" + digest.hexdigest()[:24],
        source=name,
        size=pixels.size,
        media_type="image/png",
        _content=pixels,
    )


def _from_array(array: SupportsArray) -> ImageRef:
    interface = array.__array_interface__
    shape, kind = cast(tuple[int, ...], interface["shape"]), interface["typestr"]
    if kind != "|u1" or not (len(shape) == 2 or (len(shape) == 3 and shape[2] in (3, 4))):
        raise ImageError(
            f"An array of shape {shape} and type {kind} is not a picture.",
            "Give uint8 values, height x width or height x width x 3.",
        )
    check_pixels((shape[1], shape[0]), "array")
    return _from_pixels(Image.fromarray(array), "array")


def _damaged(name: str, why: object) -> ImageError:
    reason = short(why, quote=False).rstrip(".")
    return ImageError(f"{name} is damaged or cut off ({reason}).", "Get the file again.")
