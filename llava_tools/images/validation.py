"""Checks encoded images: their header, their size, and whether they are complete.

Pixels are decoded only for formats that offer no cheaper way to find a file that is cut off.
"""

from __future__ import annotations

import io
import struct
import zlib

from PIL import Image, ImageFile

from llava_tools.errors import ImageError
from llava_tools.images.containers import SOS, container_fault, jpeg_segments, png_chunks

#: Formats that Pillow may try. Its other plug-ins are rare, start programs (EPS), guess (TGA),
#: decode before a size can be checked (ICO) or decode in Python (QOI).
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM")

# The errors of Pillow's readers on damaged files, found by fuzzing.
DAMAGE = (
    OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, AttributeError,
    AssertionError, EOFError, MemoryError, RuntimeError, struct.error, zlib.error,
    Image.DecompressionBombError,
    Warning,  # if the calling program turns warnings into errors
)  # fmt: skip


def read_header(data: bytes, name: str) -> ImageFile.ImageFile | None:
    """Read the header, or return None if it is of none of the allowed formats.

    Like `Image.open` without Pillow's pixel limit, a global that the calling program may have
    changed; `check_work` sets ours.

    Args:
        data: The encoded image.
        name: Its name, for errors.

    Raises:
        ImageError: Its parts are too many to read.
    """
    Image.preinit()
    for format_ in FORMATS:
        if format_ not in Image.OPEN:
            Image.init()  # imports forty plug-ins; PNG and JPEG do without
        factory, accept = Image.OPEN.get(format_, (None, None))
        if factory is None:
            continue
        try:
            accepted = accept is None or accept(data[:16])
            if accepted and not isinstance(accepted, str):  # a string is a reason for refusal
                if fault := container_fault(data, format_):
                    raise ImageError(f"{name} {fault}.", "Save it again, as a PNG or a JPEG.")
                return factory(io.BytesIO(data), "")
        except (SyntaxError, IndexError, TypeError, struct.error):
            continue
    return None


def check_complete(image: ImageFile.ImageFile, data: bytes) -> None:
    """Raise Pillow's error if the image is cut off.

    Decoding always finds a missing end, but takes 110 ms for a 4 MB JPEG of 12 megapixels. A JPEG
    with an end-of-image marker (5 ms) and a PNG with valid checksums are complete; only others are
    decoded.
    """
    ends = {"JPEG": _jpeg_ends, "MPO": _jpeg_ends, "PNG": _png_ends}.get(image.format or "")
    if ends is not None and ends(data):
        return
    image.load()
    if image.format == "JPEG2000" and b"\xff\xd9" not in data:  # decoded as far as it goes
        raise OSError("the end of its codestream is missing")


def _jpeg_ends(data: bytes) -> bool:
    """Return whether an end-of-image marker follows a JPEG's first scan.

    Segments before the scan are skipped, since an embedded thumbnail has an end of its own. Inside
    a scan, 0xFF is always followed by a zero or a restart marker.
    """
    scans = (end for marker, _, end in jpeg_segments(data) if marker == SOS)
    return data.find(b"\xff\xd9", next(scans, len(data))) >= 0


def _png_ends(data: bytes) -> bool:
    """Return whether a PNG's chunks have valid checksums up to its end."""
    view = memoryview(data)
    for kind, begin, end in png_chunks(data):
        if zlib.crc32(view[begin - 4 : end]) != int.from_bytes(view[end : end + 4], "big"):
            return False
        if kind == b"IEND":
            return True
    return False


def read_orientation(image: ImageFile.ImageFile, data: bytes) -> int:
    """Return the EXIF orientation, 1 (upright) to 8; damaged EXIF counts as upright."""
    if image.format == "TIFF":  # Pillow turns these itself
        return 1
    if image.format == "PNG" and "exif" not in image.info and b"eXIf" in data:
        image.load()  # the chunk may stand behind the pixels
    try:
        # Not `image.getexif()`: for a PNG that would decode all of it, EXIF or not.
        value = Image.Image.getexif(image).get(0x0112, 1)
    except DAMAGE:
        return 1
    return value if value in range(1, 9) else 1


def frames_note(image: ImageFile.ImageFile) -> str:
    """Return a warning for an image with several frames or pages, else an empty string."""
    try:
        if image.format == "MPO" or not getattr(image, "is_animated", False):
            return ""
    except DAMAGE:
        return ""
    if image.format == "TIFF":
        return "has several pages; only the first is looked at."
    return f"is an animated {image.format}; only its first frame is looked at."


def not_an_image(data: bytes, name: str) -> ImageError:
    """Return the error for bytes of no allowed format; it names what they look like."""
    head = data[:2048].lstrip(b"\xef\xbb\xbf \t\r\n")
    lower = head.lower()
    if data[4:8] == b"ftyp" and data[8:12] in (b"heic", b"heix", b"hevc", b"heim", b"mif1"):
        looks, hint = "is a HEIC image", "Convert it to JPEG, or open it with pillow-heif."
    elif data[4:12] in (b"ftypavif", b"ftypavis"):
        looks, hint = "is an AVIF image", "Install Pillow 11.3 or newer, or convert it to JPEG."
    elif b"<svg" in lower and lower.startswith(b"<"):
        looks, hint = "is an SVG drawing", "Render it to PNG first, for example with cairosvg."
    elif lower.startswith(b"%pdf"):
        looks, hint = "is a PDF", "Render its pages to images first, for example with pypdfium2."
    elif lower.startswith((b"<!doctype html", b"<html")):
        looks, hint = "is a web page", "Give the address of the image itself."
    else:
        text = data[:2048].decode("utf-8", "ignore")  # the last character may be cut
        is_text = len(text.encode()) >= len(data[:2048]) - 3 and all(
            c.isprintable() or c.isspace() for c in text
        )
        looks = "looks like text" if is_text else "has no known image format"
        hint = f"Use one of {', '.join(name for name in FORMATS if name in Image.OPEN)}."
    return ImageError(f"{name} is not an image that can be read: it {looks}.", hint)
