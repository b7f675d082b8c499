"""Small PDFs as strangers may send them: some take hours or all memory to draw."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path

from tests.retrieval.documents import write_objects


def _stream(entries: bytes, data: bytes) -> bytes:
    return b"<< %s /Length %d >>\nstream\n%s\nendstream" % (entries, len(data), data)


def _write(path: Path, content: bytes, resources: bytes, *others: bytes) -> Path:
    """Write a page with a content stream, object 4, and its resources; others start at 5."""
    page = b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Contents 4 0 R /Resources %s >>"
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        page % resources,
        content,
        *others,
    ]
    return write_objects(path, objects)


def write_doubling_forms(path: Path, levels: int = 40) -> Path:
    """Write forms that each draw the next one twice: two to the power of `levels` squares."""
    form = b"/Type /XObject /Subtype /Form /BBox [0 0 600 800] "
    forms = [
        _stream(form + b"/Resources << /XObject << /F %d 0 R >> >>" % number, b"/F Do /F Do")
        for number in range(6, 6 + levels)
    ]
    square = _stream(form, b"0 0 600 800 re f")
    return _write(path, _stream(b"", b"/F Do"), b"<< /XObject << /F 5 0 R >> >>", *forms, square)


def write_self_drawing_form(path: Path) -> Path:
    """Write a form that draws itself twice."""
    entries = (
        b"/Type /XObject /Subtype /Form /BBox [0 0 600 800] "
        b"/Resources << /XObject << /F 5 0 R >> >>"
    )
    form = _stream(entries, b"0 0 600 800 re f /F Do /F Do")
    return _write(path, _stream(b"", b"/F Do"), b"<< /XObject << /F 5 0 R >> >>", form)


def write_dense_pattern(path: Path) -> Path:
    """Write a page that is filled with tiles 0.0001 points apart."""
    pattern = _stream(
        b"/Type /Pattern /PatternType 1 /PaintType 1 /TilingType 1 /BBox [0 0 5 5] "
        b"/XStep 0.0001 /YStep 0.0001 /Resources << >>",
        b"1 0 0 rg 0 0 3 3 re f",
    )
    fill = _stream(b"", b"/Pattern cs /P scn 0 0 600 800 re f")
    return _write(path, fill, b"<< /Pattern << /P 5 0 R >> >>", pattern)


def write_double_flate(path: Path, size: int = 3 << 30) -> Path:
    """Write a content stream that is compressed twice, from `size` bytes to a few thousand."""
    compressor = zlib.compressobj(9)
    first, block = (
        compressor.compress(b"q Q " * (1 << 18)) + compressor.flush(zlib.Z_FULL_FLUSH)
        for _ in range(2)
    )
    data = zlib.compress(first + block * (size >> 20), 9)
    return _write(path, _stream(b"/Filter [/FlateDecode /FlateDecode]", data), b"<< >>")


def write_many_shadings(path: Path, times: int = 100_000) -> Path:
    """Write 600 KB of operators that each shade the whole page."""
    shading = (
        b"<< /ShadingType 3 /ColorSpace /DeviceRGB /Coords [300 400 0 300 400 800] /Extend "
        b"[true true] /Function << /FunctionType 2 /Domain [0 1] /C0 [1 0 0] /C1 [0 0 1] /N 2 >> >>"
    )
    content = _stream(b"", b"/S sh " * times)
    return _write(path, content, b"<< /Shading << /S 5 0 R >> >>", shading)


def write_escape_sequences(path: Path) -> Path:
    """Write a text layer that sets a terminal's title and reverses its direction."""
    to_unicode = (
        b"/CIDInit /ProcSet findresource begin 12 dict begin begincmap "
        b"1 begincodespacerange <00> <FF> endcodespacerange "
        b"2 beginbfchar <41> <001B> <42> <202E> endbfchar endcmap end end"
    )
    content = _stream(b"", b"BT /F 12 Tf 20 200 Td (pump A]0;owned B noise) Tj ET")
    font = b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /ToUnicode 6 0 R >>"
    return _write(path, content, b"<< /Font << /F 5 0 R >> >>", font, _stream(b"", to_unicode))


#: Writers of PDFs that exceed the limits, by what they contain.
HOSTILE: dict[str, Callable[[Path], Path]] = {
    "forms": write_doubling_forms,
    "self": write_self_drawing_form,
    "pattern": write_dense_pattern,
    "flate": write_double_flate,
    "operators": write_many_shadings,
}
