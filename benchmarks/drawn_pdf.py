"""PDFs of drawn pages, written fast: an image that fills the page, words beside it or behind it.

Words may be shown, or be there without being seen, as behind a scan that was read by a machine.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from tests.retrieval.documents import write_objects


@dataclass(frozen=True)
class Words:
    """A line of letters, digits and spaces, in points from the lower left corner."""

    text: str
    x: float
    y: float
    size: float = 11.0
    seen: bool = True


@dataclass(frozen=True)
class DrawnPage:
    """A page in points: its lines, grey bars (x, y, width, height), and an image behind them."""

    size: tuple[float, float]
    words: Sequence[Words] = ()
    bars: Sequence[tuple[float, float, float, float]] = ()
    image: Image.Image | None = None


def write_drawn(path: Path, pages: Sequence[DrawnPage]) -> Path:
    """Write pages, each with its own size."""
    kids = b" ".join(b"%d 0 R" % (4 + 3 * place) for place in range(len(pages)))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [%s] /Count %d >>" % (kids, len(pages)),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for page in pages:
        number = len(objects) + 1
        shown = b"" if page.image is None else b"/XObject << /I %d 0 R >>" % (number + 2)
        objects += [
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 %.2f %.2f] /Contents %d 0 R "
            b"/Resources << /Font << /F 3 0 R >> %s >> >>" % (*page.size, number + 1, shown),
            _stream(_content(page).encode("ascii"), b""),
            b"null" if page.image is None else _image(page.image),
        ]
    return write_objects(path, objects)


def _content(page: DrawnPage) -> str:
    width, height = page.size
    told = [] if page.image is None else [f"q {width:.2f} 0 0 {height:.2f} 0 0 cm /I Do Q"]
    told += [f"0.3 0.5 0.7 rg {x:.1f} {y:.1f} {w:.1f} {h:.1f} re f" for x, y, w, h in page.bars]
    told += [
        f"BT 0 g {0 if line.seen else 3} Tr /F {line.size:.1f} Tf {line.x:.1f} {line.y:.1f} Td "
        f"({line.text}) Tj ET"
        for line in page.words
    ]
    return "\n".join(told)


def _image(image: Image.Image) -> bytes:
    told = b"/Type /XObject /Subtype /Image /Width %d /Height %d " % image.size
    told += b"/ColorSpace /DeviceRGB /BitsPerComponent 8"
    return _stream(image.convert("RGB").tobytes(), told)


def _stream(data: bytes, told: bytes) -> bytes:
    packed = zlib.compress(data)
    header = b"<< %s /Filter /FlateDecode /Length %d >>" % (told, len(packed))
    return header + b"\nstream\n" + packed + b"\nendstream"
