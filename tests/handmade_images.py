"""Handmade image files and checks of errors, for the tests of images."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from llava_tools.errors import ImageError
from llava_tools.images import ImageRef, open_image

Pixels = NDArray[np.uint8]


def pixels(ref: ImageRef) -> Pixels:
    return np.asarray(ref.rgb())


def check(error: ImageError) -> None:
    assert len(str(error).splitlines()) == 1
    assert error.hint


def refusal(source: Any, **options: Any) -> str:
    with pytest.raises(ImageError) as caught:
        open_image(source, **options)
    check(caught.value)
    return str(caught.value)


def png(
    size: tuple[int, int], depth: int, colour: int, rows: bytes, *, transparent: bytes = b""
) -> bytes:
    """Build a PNG that Pillow would not write, such as one with a wrong header."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + (chunk(b"tRNS", transparent) if transparent else b"")
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )
