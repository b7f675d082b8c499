"""Pictures: anything that names or holds one goes in, a checked `ImageRef` comes out.

Paths, bytes, data URLs, http(s) URLs, PIL images, arrays and open files are read once, bounded
before anything is decoded, checked to be whole, and named by a digest of their content. A ref
keeps the encoded bytes and decodes when asked, so that a conversation full of pictures stays small.
Pixels are what a viewer shows: upright, over white, in 8-bit RGB. Colour profiles are not applied
(LLaVA was trained without), and of several frames or pages only the first is looked at.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import os
import re
import stat
import struct
import warnings
import zlib
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Protocol, TypeAlias, cast
from urllib.parse import unquote_to_bytes

from PIL import Image, ImageFile

from llava_tools.errors import ImageError
from llava_tools.fetch import Fetcher, displayed

#: The most encoded bytes that a picture may have.
MAX_BYTES = 50_000_000
#: The most pixels that a picture may decode to: 300 MB as RGB.
MAX_PIXELS = 100_000_000

#: What Pillow may try. Its other plug-ins are rare, start programs (EPS) or guess (TGA).
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM", "ICO", "QOI")

# What Pillow's readers raise on damaged files, found by fuzzing them.
_DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    AssertionError,
    EOFError,
    MemoryError,
    RuntimeError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
    Warning,  # where the program around us makes errors of them
)

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class ImageWarning(UserWarning):
    """Only a part of what was given is looked at, such as an animation's first frame."""


class SupportsArray(Protocol):
    """A numpy array, or what offers the same interface."""

    @property
    def __array_interface__(self) -> dict[str, object]: ...


@dataclass(frozen=True, eq=False)
class ImageRef:
    """A checked picture, named by its content. Make one with `open_image`.

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
        """The encoded picture: the original file, or a PNG of what was given as pixels."""
        return self._content if isinstance(self._content, bytes) else self._png

    @cached_property
    def _png(self) -> bytes:
        assert isinstance(self._content, Image.Image)
        buffer = io.BytesIO()
        self._content.save(buffer, "PNG")
        return buffer.getvalue()

    def rgb(self) -> Image.Image:
        """Decode the picture as a viewer shows it, in 8-bit RGB; the caller owns the result.

        Raises:
            ImageError: It is damaged in a way that only decoding finds.
        """
        if not isinstance(self._content, bytes):
            return self._content.copy()
        try:
            image = _plugin_image(self._content)
            if image is None:
                raise _damaged(self.source, "its format is not known any more")
            _scale_colour_key(image, self._content)
            return _shown(image, self._orientation)
        except _DAMAGE as error:
            if isinstance(error, ImageError):
                raise
            raise _damaged(self.source, error) from error


ImageSource: TypeAlias = (
    str | Path | bytes | bytearray | memoryview | Image.Image | ImageRef | BinaryIO | SupportsArray
)


def open_image(
    source: ImageSource, *, allow_paths: bool = True, fetcher: Fetcher | None = None
) -> ImageRef:
    """Read and check a picture.

    Args:
        source: A path, an http(s) or `data:` URL, encoded bytes, a binary file, a PIL image, a
            uint8 array (height x width, or x 3 or 4), or an `ImageRef`, which is returned as it
            is. A PIL image fresh from `Image.open` is turned upright like its file; any other is
            taken with the pixels that it has.
        allow_paths: Whether strings and `Path`s may name local files. Say False for names that
            come from a model or over a network.
        fetcher: How URLs are fetched; by default from public hosts only.

    Raises:
        ImageError: It cannot be had, is no picture, is cut off, or is too large.

    Warns:
        ImageWarning: It has several frames or pages, of which the first is taken.
    """
    if isinstance(source, ImageRef):
        return source
    if isinstance(source, Image.Image):
        return _from_pixels(source, "PIL image")
    if isinstance(source, bytes | bytearray | memoryview):
        size = source.nbytes if isinstance(source, memoryview) else len(source)
        _check_bytes(size, "bytes")
        return _from_bytes(bytes(source), "bytes")
    if isinstance(source, str):
        scheme = re.match(r"([a-zA-Z][a-zA-Z0-9+.-]+):", source)
        kind = scheme[1].lower() if scheme else ""
        if kind == "data":
            return _from_bytes(_data_url(source), "data URL")
        if kind in ("http", "https"):
            name = displayed(source)
            data = (fetcher or Fetcher(max_bytes=MAX_BYTES)).get(source)
            _check_bytes(len(data), name)
            return _from_bytes(data, name)
        if kind == "file":
            raise ImageError(
                f"{_short(source)} is a file: URL, which is not read.",
                "Give the path itself." if allow_paths else _REMOTE_HINT,
            )
        if kind and "://" in source:
            raise ImageError(
                f"{_short(source)} has a scheme that is not read.",
                "Use http(s), or download it and give its bytes.",
            )
    if isinstance(source, str | Path):
        if not allow_paths:
            raise ImageError(
                f"{_short(source)} looks like a local path, which is not allowed here.",
                _REMOTE_HINT,
            )
        return _from_bytes(_read_path(source), _short(source, quote=False))
    if hasattr(source, "read"):
        given = getattr(source, "name", None)
        name = _short(given, quote=False) if isinstance(given, str) else "file object"
        return _from_bytes(_read_file(cast(BinaryIO, source), name), name)
    if hasattr(source, "__array_interface__"):
        return _from_array(source)
    raise ImageError(
        f"{_short(repr(source), quote=False)} ({type(source).__name__}) is not a picture.",
        "Give a path, a URL, bytes, a PIL image or a uint8 array.",
    )


_REMOTE_HINT = "Give an http(s) URL or a base64 data URL."


def _short(value: object, *, quote: bool = True) -> str:
    """Return a name for messages: printable, on one line, at most some 80 characters."""
    text = str(value)
    if len(text) > 80:
        text = f"{text[:40]}…{text[-39:]}"
    safe = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
    return repr(safe) if quote else safe


def _damaged(name: str, why: object) -> ImageError:
    reason = _short(why, quote=False).rstrip(".")
    return ImageError(f"{name} is damaged or cut off ({reason}).", "Get the file again.")


# ---- getting the bytes ----------------------------------------------------------------------


def _check_bytes(size: int, name: str) -> None:
    if size > MAX_BYTES:
        raise ImageError(
            f"{name} has {size:,} bytes, more than the {MAX_BYTES:,} that are read.",
            "Save it smaller: LLaVA looks at 336 x 336 pixels.",
        )


def _read_file(file: BinaryIO, name: str) -> bytes:
    """Read to the end, or to one byte more than is allowed."""
    parts: list[bytes] = []
    left = MAX_BYTES + 1
    while left > 0:
        try:
            part = file.read(left)
        except (OSError, ValueError) as error:
            raise ImageError(f"{name} cannot be read: {error}.", "Open it again.") from error
        if not isinstance(part, bytes):
            raise ImageError(
                f"{name} gives {type(part).__name__} instead of bytes.", "Open it with mode 'rb'."
            )
        if not part:
            break
        parts.append(part)
        left -= len(part)
    if left <= 0:
        raise ImageError(
            f"{name} has more than the {MAX_BYTES:,} bytes that are read.",
            "Save it smaller: LLaVA looks at 336 x 336 pixels.",
        )
    return b"".join(parts)


def _read_path(source: str | Path) -> bytes:
    name = _short(source)
    try:
        path = Path(source).expanduser()
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise ImageError(f"{name} is a folder, not a picture.", "Name a file in it.")
        if not stat.S_ISREG(status.st_mode):
            raise ImageError(f"{name} is a device or a pipe.", "Open it and give its bytes.")
        _check_bytes(status.st_size, name)
        with path.open("rb") as file:
            return _read_file(file, _short(source, quote=False))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ImageError(f"There is no file {name}.", _nearest(path)) from error
    except PermissionError as error:
        raise ImageError(f"{name} may not be read.", "Check its permissions.") from error
    except (OSError, ValueError, RuntimeError) as error:
        if isinstance(error, ImageError):
            raise
        hint = "Check the name."
        if len(str(source)) > 200:
            hint = "If this is base64, put 'data:image/png;base64,' before it."
        reason = getattr(error, "strerror", None) or error
        raise ImageError(f"{name} is not a usable path: {reason}.", hint) from error


def _nearest(path: Path) -> str:
    """Return what to do about a missing file, with the likeliest name in its folder."""
    try:
        with os.scandir(path.parent) as entries:
            names = [entry.name for entry in islice(entries, 2000)]
    except OSError:
        return f"Its folder {_short(path.parent)} cannot be read either."
    lower = {name.lower(): name for name in names}
    near = get_close_matches(path.name.lower(), lower, n=1)
    return f"Did you mean {_short(lower[near[0]])}?" if near else "Check the name."


_DATA_URL = re.compile(
    r"""data:
    (?P<type>[^;,"\s]*)
    (?P<parameters>(?:;\s*[^;,="\s]+=(?:"(?:[^"\\]|\\.)*"|[^;,"\s]*))*)
    (?P<base64>\s*;\s*base64)?
    ,""",
    re.IGNORECASE | re.VERBOSE,
)


def _data_url(url: str) -> bytes:
    """Decode a base64 data URL (RFC 2397, with the white space that the URL standard forgives)."""
    name = _short(url[:60] + "…" if len(url) > 60 else url)
    example = "Write data:image/png;base64,…"
    header = _DATA_URL.match(url)
    if header is None:
        raise ImageError(f"{name} is not a well-formed data URL.", example)
    media_type = header["type"].lower()
    if media_type and not media_type.startswith(("image/", "application/octet-stream")):
        raise ImageError(f"{name} says that it holds {media_type}, not a picture.", example)
    if not header["base64"]:
        raise ImageError(f"{name} does not say ';base64'.", example)
    _check_bytes((len(url) - header.end()) // 4, "data URL")  # percent-encoding is at most 3 to 1
    body = re.sub(rb"\s+", b"", unquote_to_bytes(url[header.end() :]))
    body = body.rstrip(b"=") if len(body) % 4 == 0 else body
    try:
        data = base64.b64decode(body + b"=" * (-len(body) % 4), validate=True)
    except binascii.Error as error:
        raise ImageError(f"{name} is not valid base64 ({error}).", "Encode it again.") from error
    _check_bytes(len(data), "data URL")
    return data


# ---- checking -------------------------------------------------------------------------------


def _from_bytes(data: bytes, name: str) -> ImageRef:
    """Check encoded bytes by their header, their bounds and their end."""
    if not data:
        raise ImageError(f"{name} is empty.", "Give a file with a picture (and rewind it).")
    try:
        image = _plugin_image(data)
        if image is None:
            raise _not_a_picture(data, name)
        _check_pixels(image.size, name)
        _check_whole(image, data)
        orientation = _orientation(image, data)
        several = _several(image)
        media_type = image.get_format_mimetype() or "application/octet-stream"
    except Image.DecompressionBombError as error:
        raise _too_many_pixels(name, "too many") from error
    except _DAMAGE as error:
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


def _plugin_image(data: bytes) -> ImageFile.ImageFile | None:
    """Read the header, or return None where no allowed format knows it.

    This is `Image.open` without its own pixel bound, which is a global that warns or raises
    depending on the program around us; `_check_pixels` takes its place.
    """
    Image.preinit()
    if any(name not in Image.OPEN for name in FORMATS):
        Image.init()
    for name in FORMATS:
        factory, accept = Image.OPEN.get(name, (None, None))
        if factory is None:
            continue
        try:
            accepted = accept is None or accept(data[:16])
            if accepted and not isinstance(accepted, str):  # a string says why it cannot
                return factory(io.BytesIO(data), "")
        except (SyntaxError, IndexError, TypeError, struct.error):
            continue
    return None


def _check_pixels(size: tuple[int, int], name: str) -> None:
    width, height = size
    if width * height > MAX_PIXELS:
        raise _too_many_pixels(name, f"{width:,} x {height:,}")
    if width < 1 or height < 1:
        raise ImageError(f"{name} has no pixels ({width} x {height}).", "Give another picture.")


def _too_many_pixels(name: str, pixels: str) -> ImageError:
    return ImageError(
        f"{name} has {pixels} pixels, more than the {MAX_PIXELS:,} that are decoded.",
        "Save it smaller: LLaVA looks at 336 x 336 pixels.",
    )


def _check_whole(image: ImageFile.ImageFile, data: bytes) -> None:
    """Raise what Pillow raises if the picture is cut off.

    Decoding is the sure way and the slow one: 110 ms for a 4 MB JPEG of 12 megapixels. A JPEG that
    has its end (5 ms) and a PNG whose checksums hold are not cut off; only the others are decoded.
    """
    if image.format in ("JPEG", "MPO") and _jpeg_ends(data):
        return
    if image.format == "PNG" and _png_ends(data):
        return
    image.load()
    if image.format == "JPEG2000" and b"\xff\xd9" not in data:  # decoded as far as it goes
        raise OSError("the end of its codestream is missing")


def _jpeg_ends(data: bytes) -> bool:
    """Follow a JPEG's segments to its first scan, and look for the end-of-image marker behind.

    Inside a scan, 0xFF is always followed by a zero or a restart marker; before it, an embedded
    thumbnail has an end of its own.
    """
    position = 2
    while position + 4 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xFF:  # filling
            position += 1
            continue
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        if marker == 0xDA:
            return data.find(b"\xff\xd9", position) >= 0
    return False


def _png_ends(data: bytes) -> bool:
    """Follow a PNG's chunks to its end, comparing their checksums."""
    view, position = memoryview(data), 8
    while position + 12 <= len(data):
        length = int.from_bytes(view[position : position + 4], "big")
        end = position + 8 + length
        if zlib.crc32(view[position + 4 : end]) != int.from_bytes(view[end : end + 4], "big"):
            return False
        if data[position + 4 : position + 8] == b"IEND":
            return True
        position = end + 4
    return False


def _orientation(image: ImageFile.ImageFile, data: bytes) -> int:
    """Return the EXIF orientation, 1 (upright) to 8; damaged EXIF counts as upright."""
    if image.format == "TIFF":  # Pillow turns these itself
        return 1
    if image.format == "PNG" and "exif" not in image.info and b"eXIf" in data:
        image.load()  # the chunk may stand behind the pixels
    try:
        # Not `image.getexif()`: for a PNG that would decode all of it, EXIF or not.
        value = Image.Image.getexif(image).get(0x0112, 1)
    except _DAMAGE:
        return 1
    return value if value in _UPRIGHT else 1


def _several(image: ImageFile.ImageFile) -> str:
    """Return what to say of a picture with several frames or pages, or nothing."""
    try:
        several = image.format != "MPO" and bool(getattr(image, "is_animated", False))
    except _DAMAGE:
        return ""
    if not several:
        return ""
    if image.format == "TIFF":
        return "has several pages; only the first is looked at."
    return f"is an animated {image.format}; only its first frame is looked at."


def _not_a_picture(data: bytes, name: str) -> ImageError:
    """Return the error for bytes that no format knows, saying what they look like."""
    head = data[:2048].lstrip(b"\xef\xbb\xbf \t\r\n")
    lower = head.lower()
    if data[4:8] == b"ftyp" and data[8:12] in (b"heic", b"heix", b"hevc", b"heim", b"mif1"):
        looks, hint = "is a HEIC picture", "Convert it to JPEG, or open it with pillow-heif."
    elif b"<svg" in lower and lower.startswith(b"<"):
        looks, hint = "is an SVG drawing", "Render it to PNG first, for example with cairosvg."
    elif lower.startswith(b"%pdf"):
        looks, hint = "is a PDF", "Render its pages to pictures first, for example with pypdfium2."
    elif lower.startswith((b"<!doctype html", b"<html")):
        looks, hint = "is a web page", "Give the address of the picture itself."
    else:
        hint = f"Use one of {', '.join(FORMATS)}."
        looks = "looks like text" if _is_text(data[:2048]) else "has no known picture format"
    return ImageError(f"{name} is not a picture that can be read: it {looks}.", hint)


def _is_text(head: bytes) -> bool:
    text = head.decode("utf-8", "ignore")
    return len(text.encode()) >= len(head) - 3 and all(c.isprintable() or c.isspace() for c in text)


# ---- pixels ---------------------------------------------------------------------------------


def _from_pixels(image: Image.Image, name: str) -> ImageRef:
    """Copy a PIL image's pixels as a viewer would show them."""
    _check_pixels(image.size, name)
    orientation, several = 1, ""
    try:
        if isinstance(image, ImageFile.ImageFile):
            image.load()
            orientation = _orientation(image, b"")
            several = _several(image) if image.tell() == 0 else ""
        pixels = _shown(image, orientation)
    except _DAMAGE as error:
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
    _check_pixels((shape[1], shape[0]), "array")
    return _from_pixels(Image.fromarray(array), "array")


def _shown(image: Image.Image, orientation: int) -> Image.Image:
    """Return 8-bit RGB pixels as a viewer shows them, in an image of their own."""
    image.load()
    if image.mode == "LAB":
        shown = _lab(image)
    elif image.mode == "F" or image.mode.startswith("I"):
        shown = _deep_grey(image).convert("RGB")
    elif image.has_transparency_data:
        over = image.convert("LA") if image.mode == "La" else image
        shown = Image.new("RGBA", image.size, "white")
        shown.alpha_composite(over.convert("RGBA"))
        shown = shown.convert("RGB")
    else:
        shown = image.convert("RGB")
    if orientation in _UPRIGHT:
        shown = shown.transpose(_UPRIGHT[orientation])
    shown.info = {}  # an orientation left there would turn the picture a second time
    return shown


def _scale_colour_key(image: Image.Image, data: bytes) -> None:
    """Bring a PNG's transparent colour to 8 bit, as Pillow did with the pixels but not with it."""
    key = image.info.get("transparency")
    if image.format != "PNG" or key is None:
        return
    depth = data[24]  # in the header chunk, which always comes first
    if image.mode == "L" and depth in (2, 4):
        image.info["transparency"] = key * (255 // (2**depth - 1))
    elif image.mode == "RGB" and depth == 16:
        image.info["transparency"] = tuple(value >> 8 for value in key)


def _deep_grey(image: Image.Image) -> Image.Image:
    """Scale 16-bit, 32-bit and float greyscale to 8 bit; Pillow's `convert` would clip it.

    Values within 0..65535 (0..1 for floats) are taken to use that range; others are stretched.
    """
    key = image.info.get("transparency")
    if image.mode.startswith("I;16"):
        image = image.convert("I")
    low, high = cast(tuple[float, float], image.getextrema())
    if image.mode == "I" and low >= 0 and high <= 65535:
        table = [round(value / 257) for value in range(65536)]
        if isinstance(key, int) and 0 <= key <= 65535:
            table[key] = 255  # PNG's transparent grey, over white
        return image.point(table, "L")
    if image.mode == "F" and low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    scale = 255 / (high - low) if high > low else 0.0
    if image.mode == "I":
        image = image.convert("F")
    return image.point(lambda value: value * scale + (0.5 - low * scale)).convert("L")


def _lab(image: Image.Image) -> Image.Image:
    from PIL import ImageCms  # rarely needed, and a library of its own

    to_srgb = ImageCms.buildTransform(
        ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), "LAB", "RGB"
    )
    return cast(Image.Image, ImageCms.applyTransform(image, to_srgb))
