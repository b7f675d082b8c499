"""`open_image` turns a path, bytes, a URL, pixels or an open file into a checked `ImageRef`.

A source is read once, bounded before anything is decoded, checked to be complete, and named by a
digest of its content. An `ImageRef` keeps the encoded bytes and decodes them on demand, so that a
conversation full of images stays small. Pixels are what a viewer shows: upright, over white, 8-bit
RGB. Colour profiles are not applied, since LLaVA was trained without. Of several frames or pages,
only the first is used.
"""

from __future__ import annotations

import hashlib
import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, Protocol, TypeAlias, TypeGuard, cast

from PIL import Image, ImageFile

from llava_tools.errors import ImageError
from llava_tools.images.fetch import Fetcher
from llava_tools.images.limits import (
    check_pixels,
    check_work,
    decode_limit,
    loaded,
    too_many_pixels,
)
from llava_tools.images.pixels import as_rgb, scale_colour_key, upright
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

#: The form of `ImageRef.handle`, as a regular expression.
HANDLE_PATTERN = "img_[0-9a-f]{24}"
#: Pixels of the longer side of an image in a notebook.
SHOWN_SIZE = 400
#: Media types that models of all providers take.
_PORTABLE = ("image/png", "image/jpeg", "image/webp", "image/gif")


class ImageWarning(UserWarning):
    """Only a part of an image is used, such as the first frame of an animation."""


class SupportsArray(Protocol):
    """A numpy array, or an object with the same interface."""

    @property
    def __array_interface__(self) -> dict[str, object]: ...


@dataclass(frozen=True)
class ImageRef:
    """A checked image, named by its content. Made by `open_image`.

    Attributes:
        handle: `img_` and 24 hex digits; equal content has equal handles.
        source: Where it came from, for messages.
        size: Width and height in pixels as a viewer shows it; half of them for a JPEG of more than
            40 million pixels, which is decoded at that size.
        media_type: Of `data`, such as `image/jpeg`.
    """

    handle: str = field(init=False)
    source: str = field(compare=False)
    size: tuple[int, int] = field(compare=False)
    media_type: str = field(compare=False)
    _content: bytes | Image.Image = field(compare=False, repr=False)
    _orientation: int = field(default=1, compare=False, repr=False)

    def __post_init__(self) -> None:
        # Computed here and nowhere else, so that no image can have the handle of another.
        object.__setattr__(self, "handle", f"img_{_digest(self._content)}")

    @property
    def data(self) -> bytes:
        """The encoded image: the original file, or a PNG if the source was pixels."""
        return self._content if isinstance(self._content, bytes) else self._png

    @cached_property
    def _png(self) -> bytes:
        assert isinstance(self._content, Image.Image)
        return _encode_png(self._content)

    @property
    def nbytes(self) -> int:
        """Memory that the image takes now: the file, or pixels and their PNG once it exists."""
        if isinstance(self._content, bytes):
            return len(self._content)
        encoded = self.__dict__.get("_png", b"")
        return 3 * self._content.width * self._content.height + len(encoded)

    def portable(self) -> tuple[bytes, str]:
        """Return the encoded image and its media type, in a format that other models take.

        PNG, JPEG, WebP and GIF stay as they are; others become PNG.

        Raises:
            ImageError: The image is damaged in a way that only decoding finds.
        """
        if self.media_type in _PORTABLE:
            return self.data, self.media_type
        with self.decoded() as image:
            return _encode_png(image), "image/png"

    @contextmanager
    def decoded(self) -> Iterator[Image.Image]:
        """Decode the image as `rgb` does for the length of a block, which may use no other one.

        Waits while other threads decode as much as memory is meant for (`limits.DecodeLimit`).

        Raises:
            ImageError: The image is damaged in a way that only decoding finds.
        """
        with decode_limit.hold(self.size):
            yield self.rgb()

    def _repr_png_(self) -> bytes:
        """Return the image for a notebook, at most `SHOWN_SIZE` pixels wide and high."""
        with self.decoded() as image:
            image.thumbnail((SHOWN_SIZE, SHOWN_SIZE))
            return _encode_png(image)

    def rgb(self) -> Image.Image:
        """Decode the image as a viewer shows it, in 8-bit RGB; the caller owns the result.

        Raises:
            ImageError: The image is damaged in a way that only decoding finds.
        """
        if not isinstance(self._content, bytes):
            return self._content.copy()
        # The decoded image is freed before its pixels are turned: both would be 512 MB.
        return upright(self._decode(self._content), self._orientation)

    def _decode(self, content: bytes) -> Image.Image:
        try:
            image = read_header(content, self.source)
            if image is None:
                raise _damaged(self.source, "its format is not known any more")
            check_work(image, content, self.source)
            scale_colour_key(image, content)
            return as_rgb(loaded(image, self.source))
        except ImageError:
            raise
        except DAMAGE as error:
            raise _damaged(self.source, error) from error


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


def is_handle(value: object) -> TypeGuard[str]:
    """Return whether a value has the form of an image's handle."""
    return isinstance(value, str) and re.fullmatch(HANDLE_PATTERN, value) is not None


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
        raise _damaged(handle, "its content has another digest")
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
        raise _damaged(name, error) from error
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
        raise _damaged(name, error) from error
    if note:
        warnings.warn(f"{name} {note}", ImageWarning, stacklevel=3)
    return ImageRef(source=name, size=pixels.size, media_type="image/png", _content=pixels)


def _encode_png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def _digest(content: bytes | Image.Image) -> str:
    """Return 24 hexadecimal digits of the SHA-256 of a file or of pixels."""
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()[:24]
    digest = hashlib.sha256(f"RGB {content.width}x{content.height} ".encode())
    digest.update(content.tobytes())
    return digest.hexdigest()[:24]


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


def _damaged(name: str, reason: object) -> ImageError:
    text = shorten(reason, quote=False).rstrip(".")
    return ImageError(f"{name} is damaged or cut off ({text}).", "Get the file again.")
