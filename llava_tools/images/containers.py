"""The parts of encoded images, walked before Pillow parses them.

Pillow reads segments and chunks in Python, some of them in time that grows with their square: a
file of 48 MB that holds nothing else takes it a quarter of a minute. So their number is bounded,
and the bytes of metadata.
"""

from __future__ import annotations

import itertools
import re
import struct
from collections.abc import Callable, Iterator, Mapping

#: Parts of a file that are read; a PNG of 50 MB in pieces of 8 KB has 6,000.
MAX_PARTS = 50_000
#: Bytes of a JPEG's metadata before its pixels; those of cameras have less than one million.
MAX_METADATA = 16_000_000
#: Bytes in which the header of a PNM file has to end.
_PNM_HEADER = 4_096

SOS, _EOI = 0xDA, 0xD9


def container_fault(data: bytes, format_: str | None) -> str:
    """Return what is wrong with the parts of an encoded image, or an empty string.

    Args:
        data: The encoded image.
        format_: Its format, as Pillow names it.
    """
    if format_ in ("JPEG", "MPO"):
        metadata = sum(end - begin for marker, begin, end in jpeg_segments(data) if marker != SOS)
        if metadata > MAX_METADATA:
            return f"has {metadata:,} bytes of metadata; the limit is {MAX_METADATA:,}"
    if format_ == "PPM":
        return _pnm_fault(data)
    parts = _PARTS.get(format_ or "")
    if parts is not None and any(True for _ in itertools.islice(parts(data), MAX_PARTS, None)):
        return f"has more than {MAX_PARTS:,} parts"
    return ""


def jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield marker, begin and end of a JPEG's segments, the header of its first scan last.

    At most one segment more than `MAX_PARTS`.
    """
    position = 2
    for _ in range(MAX_PARTS + 1):
        while data[position : position + 2] == b"\xff\xff":  # fill bytes
            position += 1
        if position + 4 > len(data) or data[position] != 0xFF:
            return
        marker, begin = data[position + 1], position
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        yield marker, begin, position
        if marker in (SOS, _EOI):
            return


def jpeg_scans(data: bytes) -> int:
    """Return the number of a JPEG's scans, or a little more: those of a preview behind it count.

    Inside a scan, 0xFF is always followed by a zero or a restart marker.
    """
    first = next((begin for marker, begin, _ in jpeg_segments(data) if marker == SOS), len(data))
    return data.count(bytes((0xFF, SOS)), first)


def png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield type, begin and end of the contents of a PNG's chunks; the end may be cut off."""
    position = 8
    while position + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        yield kind, position + 8, position + 8 + length
        position += 12 + length


def _gif_blocks(data: bytes) -> Iterator[int]:
    """Yield the begin of each sub-block in a GIF's extensions before its third frame."""
    position, frames = 13 + _palette_bytes(data[10:11]), 0
    while (kind := data[position : position + 1]) in (b"!", b",") and frames < 2:
        is_frame = kind == b","
        frames += is_frame
        position += 11 + _palette_bytes(data[position + 9 : position + 10]) if is_frame else 2
        while position < len(data) and data[position]:
            if not is_frame:
                yield position
            position += 1 + data[position]
        yield position
        position += 1


def _palette_bytes(flags: bytes) -> int:
    """Return the bytes of a GIF's palette, whose presence and size its flags tell."""
    return 3 << (flags[0] % 8 + 1) if flags and flags[0] & 0x80 else 0


def _jp2_boxes(data: bytes) -> Iterator[int]:
    """Yield the begin of each box of a JPEG 2000 file, those of its header included."""
    position = 0
    while position + 8 <= len(data) and data[:4] != b"\xff\x4f\xff\x51":  # a bare codestream
        length, kind = struct.unpack_from(">I4s", data, position)
        if length == 1 and position + 16 <= len(data):
            (length,) = struct.unpack_from(">Q", data, position + 8)
        yield position
        if kind == b"jp2h":
            position += 8
        elif length < 8:  # to the end of the file
            return
        else:
            position += length


def _pnm_fault(data: bytes) -> str:
    """Return what is wrong with a PNM file: Pillow reads headers and text in Python."""
    if data[:2] in (b"P1", b"P2", b"P3"):
        return "is a PNM file of text, not of bytes"
    header = re.match(rb"P\w*(?:(?:\s|#[^\r\n]*[\r\n])+[-\d.]+){3}\s", data[:_PNM_HEADER])
    bitmap = re.match(rb"P4(?:(?:\s|#[^\r\n]*[\r\n])+\d+){2}\s", data[:_PNM_HEADER])
    return "" if header or bitmap else "has no header that can be read"


_PARTS: Mapping[str, Callable[[bytes], Iterator[object]]] = {
    "JPEG": jpeg_segments,
    "MPO": jpeg_segments,
    "PNG": png_chunks,
    "GIF": _gif_blocks,
    "JPEG2000": _jp2_boxes,
}
