"""Fast writer of PDFs: pages with lines of text, bars, and an image that fills the page.

A line of text may be invisible, as in a scan with OCR.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from tests.retrieval.documents import write_objects


@dataclass(frozen=True)
class TextLine:
    """A line of letters, digits and spaces; position in points from the lower left corner."""

    text: str
    x: float
    y: float
    size: float = 11.0
    visible: bool = True


@dataclass(frozen=True)
class DrawnPage:
    """A page in points: its lines, bars (x, y, width, height), and an image behind them."""

    size: tuple[float, float]
    lines: Sequence[TextLine] = ()
    bars: Sequence[tuple[float, float, float, float]] = ()
    image: Image.Image | None = None


def write_pages(path: Path, pages: Sequence[DrawnPage]) -> Path:
    """Write a PDF of pages, each of its own size."""
    kids = b" ".join(b"%d 0 R" % (4 + 3 * index) for index in range(len(pages)))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [%s] /Count %d >>" % (kids, len(pages)),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for page in pages:
        number = len(objects) + 1
        resource = b"" if page.image is None else b"/XObject << /I %d 0 R >>" % (number + 2)
        objects += [
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 %.2f %.2f] /Contents %d 0 R "
            b"/Resources << /Font << /F 3 0 R >> %s >> >>" % (*page.size, number + 1, resource),
            _stream(_content(page).encode("ascii"), b""),
            b"null" if page.image is None else _image(page.image),
        ]
    return write_objects(path, objects)


def _content(page: DrawnPage) -> str:
    width, height = page.size
    content = [] if page.image is None else [f"q {width:.2f} 0 0 {height:.2f} 0 0 cm /I Do Q"]
    content += [f"0.3 0.5 0.7 rg {x:.1f} {y:.1f} {w:.1f} {h:.1f} re f" for x, y, w, h in page.bars]
    content += [
        f"BT 0 g {0 if line.visible else 3} Tr /F {line.size:.1f} Tf {line.x:.1f} {line.y:.1f} Td "
        f"({line.text}) Tj ET"
        for line in page.lines
    ]
    return "\n".join(content)


def _image(image: Image.Image) -> bytes:
    attributes = b"/Type /XObject /Subtype /Image /Width %d /Height %d " % image.size
    attributes += b"/ColorSpace /DeviceRGB /BitsPerComponent 8"
    return _stream(image.convert("RGB").tobytes(), attributes)


def _stream(data: bytes, attributes: bytes) -> bytes:
    compressed = zlib.compress(data)
    header = b"<< %s /Filter /FlateDecode /Length %d >>" % (attributes, len(compressed))
    return header + b"\nstream\n" + compressed + b"\nendstream"
