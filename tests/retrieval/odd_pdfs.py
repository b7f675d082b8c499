"""PDFs as strangers may send them, which are read or refused: hostile sizes, loops, filters."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path

from tests.retrieval.documents import encrypt, write_objects
from tests.retrieval.hostile_pdfs import _stream, _write


def write_page_size(path: Path, width: str, height: str) -> Path:
    """Write a page with a media box of that size in points."""
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 {width} {height}] >>".encode(),
    ]
    return write_objects(path, objects)


def write_user_unit(path: Path) -> Path:
    """Write a page whose unit is 10^9 points."""
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /UserUnit 1000000000 >>",
    ]
    return write_objects(path, objects)


def write_image(path: Path, entries: bytes, data: bytes, side: int = 65_000) -> Path:
    """Write a page that shows an image of `side` x `side` pixels with this data."""
    size = b"/Type /XObject /Subtype /Image /Width %d /Height %d " % (side, side)
    image = _stream(size + entries, data)
    content = _stream(b"", b"600 0 0 800 0 0 cm /I Do")
    return _write(path, content, b"<< /XObject << /I 5 0 R >> >>", image)


def write_soft_mask_of_itself(path: Path) -> Path:
    """Write an image that is its own soft mask."""
    entries = b"/ColorSpace /DeviceGray /BitsPerComponent 8 /SMask 5 0 R"
    return write_image(path, entries, b"\x80" * 16, 4)


def write_self_drawing_font(path: Path) -> Path:
    """Write a Type 3 font whose glyph shows text in the same font."""
    font = (
        b"<< /Type /Font /Subtype /Type3 /FontBBox [0 0 9 9] /FontMatrix [1 0 0 1 0 0] "
        b"/FirstChar 65 /LastChar 65 /Widths [9] /CharProcs << /A 6 0 R >> "
        b"/Encoding << /Differences [65 /A] >> /Resources << /Font << /F 5 0 R >> >> >>"
    )
    glyph = _stream(b"", b"9 0 d0 BT /F 1 Tf (AA) Tj ET")
    content = _stream(b"", b"BT /F 20 Tf 20 200 Td (AAAA) Tj ET")
    return _write(path, content, b"<< /Font << /F 5 0 R >> >>", font, glyph)


def write_huge_font(path: Path) -> Path:
    """Write text in a size of 10^9 points."""
    font = b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"
    content = _stream(b"", b"BT /F 1000000000 Tf 20 200 Td (Large) Tj ET " * 200)
    return _write(path, content, b"<< /Font << /F 5 0 R >> >>", font)


def write_font_bomb(path: Path) -> Path:
    """Write a font program of 500 MB of zeros, compressed to 500 kB."""
    font = b"<< /Type /Font /Subtype /TrueType /BaseFont /X /FontDescriptor 6 0 R >>"
    descriptor = b"<< /Type /FontDescriptor /FontName /X /Flags 4 /FontFile2 7 0 R >>"
    block = zlib.compressobj(9)
    data = b"".join(block.compress(bytes(1 << 20)) for _ in range(500)) + block.flush()
    program = _stream(b"/Filter /FlateDecode", data)
    content = _stream(b"", b"BT /F 20 Tf 20 200 Td (A) Tj ET")
    return _write(path, content, b"<< /Font << /F 5 0 R >> >>", font, descriptor, program)


def write_deep_tree(path: Path, depth: int = 20_000) -> Path:
    """Write a page below so many nodes of the page tree."""
    objects = [b"<< /Type /Catalog /Pages 2 0 R >>"]
    objects += [
        b"<< /Type /Pages /Kids [%d 0 R] /Count 1 >>" % (number + 1)
        for number in range(2, depth + 2)
    ]
    last = b"<< /Type /Page /Parent %d 0 R /MediaBox [0 0 60 80] >>" % (depth + 1)
    return write_objects(path, [*objects, last])


def write_tree(path: Path, pages: bytes) -> Path:
    """Write a page tree whose root has these entries."""
    page = b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 60 80] >>"
    root = b"<< /Type /Pages %s >>" % pages
    return write_objects(path, [b"<< /Type /Catalog /Pages 2 0 R >>", root, page])


def write_nesting(path: Path, depth: int = 200_000) -> Path:
    """Write a page whose content nests arrays."""
    return _write(path, _stream(b"", b"[" * depth + b"]" * depth + b" TJ"), b"<< >>")


def write_saved_states(path: Path) -> Path:
    """Write a page that saves the graphics state a million times."""
    return _write(path, _stream(b"", b"q " * 1_000_000 + b"0 0 9 9 re f"), b"<< >>")


def write_curves(path: Path) -> Path:
    """Write one dashed path of 400,000 curves, far beyond the page."""
    curves = b"0 0 m " + b"-1e5 9e5 1e6 -1e6 9e5 1e5 c " * 400_000
    return _write(path, _stream(b"", b"[0.01] 0 d 100 w " + curves + b"S"), b"<< >>")


def write_annotations(path: Path, count: int = 20_000) -> Path:
    """Write a page with so many annotations, each with an appearance of its own."""
    kids = b" ".join(b"%d 0 R" % number for number in range(5, 5 + count))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Annots [%s] >>" % kids,
        _stream(b"/Type /XObject /Subtype /Form /BBox [0 0 600 800]", b"0 0 600 800 re f"),
    ]
    note = b"<< /Type /Annot /Subtype /Stamp /Rect [0 0 600 800] /AP << /N 4 0 R >> >>"
    return write_objects(path, [*objects, *[note] * count])


def write_script(path: Path) -> Path:
    """Write a document that runs a script, opens a file and embeds another one."""
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R /OpenAction 4 0 R /Names << /EmbeddedFiles "
        b"<< /Names [(x.exe) 5 0 R] >> >> >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 60 80] /AA << /O 4 0 R >> >>",
        b"<< /S /JavaScript /JS (app.launchURL\\('http://example.com'\\);) >>",
        b"<< /Type /Filespec /F (/etc/passwd) /EF << /F 6 0 R >> >>",
        _stream(b"/Type /EmbeddedFile", b"MZ"),
    ]
    return write_objects(path, objects)


def write_function(path: Path) -> Path:
    """Write a shading whose function is a program that doubles its stack."""
    program = _stream(
        b"/FunctionType 4 /Domain [0 1 0 1] /Range [0 1 0 1 0 1]",
        b"{ " + b"2 copy " * 40_000 + b"}",
    )
    shading = (
        b"<< /ShadingType 1 /ColorSpace /DeviceRGB /Domain [0 1 0 1] /Matrix [600 0 0 800 0 0] "
        b"/Function 6 0 R >>"
    )
    content = _stream(b"", b"/S sh")
    return _write(path, content, b"<< /Shading << /S 5 0 R >> >>", shading, program)


def write_table(path: Path, start: bytes) -> Path:
    """Write a file whose table of objects is not where it should be."""
    write_page_size(path, "60", "80")
    data = path.read_bytes()
    path.write_bytes(data[: data.rindex(b"startxref")] + b"startxref\n%s\n%%%%EOF\n" % start)
    return path


def write_table_loop(path: Path) -> Path:
    """Write two tables of objects that each name the other as the previous one."""
    write_page_size(path, "60", "80")
    data = path.read_bytes()
    first = data.rindex(b"xref\n0")
    table = b"xref\n0 0\ntrailer\n<< /Size 4 /Root 1 0 R /Prev %d >>\n"
    second = len(data)
    data = data.replace(b"/Root 1 0 R", b"/Root 1 0 R /Prev %010d" % second)
    path.write_bytes(data + table % first + b"startxref\n%d\n%%%%EOF\n" % second)
    return path


def write_object_stream(path: Path) -> Path:
    """Write a stream of objects that is its own extension, and names a billion objects."""
    stream = _stream(b"/Type /ObjStm /N 1000000000 /First 10 /Extends 5 0 R", b"1 0 2 0 <<>>")
    return _write(path, _stream(b"", b""), b"5 0 R", stream)


_GREY = b"/ColorSpace /DeviceGray /BitsPerComponent 8 "
_BITS = b"/ColorSpace /DeviceGray /BitsPerComponent 1 "
_PREDICTOR = b"/Filter /FlateDecode /DecodeParms << /Predictor 15 /Columns 2147483647 >>"
_FAX = b"/Filter /CCITTFaxDecode /DecodeParms << /K -1 /Columns 65000 /Rows 65000 >>"
_ZEROS = zlib.compress(bytes(100 << 20), 9)
#: An image of 60,000 x 60,000 pixels by its header, in JPEG 2000 and in JBIG2.
_JPX = bytes.fromhex(
    "ff4fff5100290000 0000ea60 0000ea60 00000000 00000000 0000ea60 0000ea60 00000000 00000000"
    "0001 070101 ff52000c00000001000504040001 ff5c00042040 ff90000a0000000000000001 ff93 ffd9"
)
_JBIG2 = bytes.fromhex("00000000300001000000130000ea600000ea60000000000000000000 0000")

#: Writers of PDFs that may be read or refused, by what they contain.
ODD: dict[str, Callable[[Path], Path]] = {
    "14,400 inches": lambda path: write_page_size(path, "1036800", "1036800"),
    "1e-9 points": lambda path: write_page_size(path, "1e-9", "0.000000001"),
    "a line": lambda path: write_page_size(path, "0.001", "1e9"),
    "a negative size": lambda path: write_page_size(path, "-600", "-800"),
    "a size without end": lambda path: write_page_size(path, "9" * 400, "9" * 400),
    "a unit of 1e9": write_user_unit,
    "JBIG2": lambda path: write_image(path, _BITS + b"/Filter /JBIG2Decode", _JBIG2),
    "JPEG 2000": lambda path: write_image(path, b"/Filter /JPXDecode", _JPX),
    "fax": lambda path: write_image(path, _BITS + _FAX, b"\0" * 1000),
    "an image's flate": lambda path: write_image(path, _GREY + b"/Filter /FlateDecode", _ZEROS),
    "a predictor": lambda path: write_image(path, _GREY + _PREDICTOR, _ZEROS),
    "an image without data": lambda path: write_image(path, _GREY, b"", 2_000_000_000),
    "a mask of itself": write_soft_mask_of_itself,
    "a font that draws itself": write_self_drawing_font,
    "a huge font": write_huge_font,
    "a font bomb": write_font_bomb,
    "a deep page tree": write_deep_tree,
    "a page tree of itself": lambda path: write_tree(path, b"/Kids [2 0 R 3 0 R] /Count 2"),
    "a parent of itself": lambda path: write_tree(path, b"/Kids [3 0 R] /Count 1 /Parent 2 0 R"),
    "two billion pages": lambda path: write_tree(path, b"/Kids [3 0 R] /Count 2147483647"),
    "minus one page": lambda path: write_tree(path, b"/Kids [3 0 R] /Count -1"),
    "nested arrays": write_nesting,
    "a million states": write_saved_states,
    "dashed curves": write_curves,
    "annotations": write_annotations,
    "scripts and files": write_script,
    "a function": write_function,
    "a table elsewhere": lambda path: write_table(path, b"99999999999999999999"),
    "a table before the file": lambda path: write_table(path, b"-5"),
    "tables in a loop": write_table_loop,
    "objects without end": write_object_stream,
    "encrypted": encrypt,
}
