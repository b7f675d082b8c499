"""Small documents for tests: PDFs with a text layer, written by pdfium itself."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path

import pypdfium2
import pypdfium2.raw as pdfium


def write_pdf(path: Path, texts: Sequence[str], size: tuple[float, float] = (300, 400)) -> Path:
    """Write a page of that size in points for each text, 50 points below its top edge."""
    pdf = pypdfium2.PdfDocument.new()
    font = pdfium.FPDFText_LoadStandardFont(pdf.raw, b"Helvetica")
    for text in texts:
        page = pdf.new_page(*size)
        if not text:  # old releases of pdfium abort on an empty text
            continue
        line = pdfium.FPDFPageObj_CreateTextObj(pdf.raw, font, ctypes.c_float(12))
        wide = ctypes.create_string_buffer((text + "\0").encode("utf-16-le"))
        pdfium.FPDFText_SetText(line, ctypes.cast(wide, pdfium.FPDF_WIDESTRING))
        pdfium.FPDFPageObj_Transform(line, 1, 0, 0, 1, 20, size[1] - 50)
        pdfium.FPDFPage_InsertObject(page.raw, line)
        pdfium.FPDFPage_GenerateContent(page.raw)
    pdf.save(path)
    pdf.close()
    return path


def encrypt(path: Path) -> Path:
    """Write a PDF that needs a password: RC4 of 40 bits, with an unknown key."""
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 100 100] >>",
        b"<< /Filter /Standard /V 1 /R 2 /Length 40 /P -4 /O <%s> /U <%s> >>"
        % (b"ab" * 32, b"cd" * 32),
    ]
    end = b"/Encrypt 4 0 R /ID [<00> <00>]"
    return write_objects(path, objects, end)


def write_long_pdf(path: Path, pages: int) -> Path:
    """Write many small pages with their numbers; pdfium would take minutes for thousands."""
    kids = b" ".join(b"%d 0 R" % (4 + 2 * page) for page in range(pages))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [%s] /Count %d /MediaBox [0 0 30 40] "
        b"/Resources << /Font << /F 3 0 R >> >> >>" % (kids, pages),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for page in range(pages):
        words = b"BT /F 9 Tf 2 20 Td (%d) Tj ET" % (page + 1)
        objects += [
            b"<< /Type /Page /Parent 2 0 R /Contents %d 0 R >>" % (5 + 2 * page),
            b"<< /Length %d >>\nstream\n%s\nendstream" % (len(words), words),
        ]
    return write_objects(path, objects)


def write_objects(path: Path, objects: Sequence[bytes], trailer: bytes = b"") -> Path:
    """Write a PDF's objects, numbered from 1, with their table; the first is the catalogue."""
    data, offsets = bytearray(b"%PDF-1.4\n"), []
    for number, body in enumerate(objects, start=1):
        offsets.append(len(data))
        data += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    size, start = len(offsets) + 1, len(data)
    data += b"xref\n0 %d\n0000000000 65535 f \n%s" % (size, table)
    data += b"trailer\n<< /Size %d /Root 1 0 R %s >>\n" % (size, trailer)
    data += b"startxref\n%d\n%%%%EOF\n" % start
    path.write_bytes(data)
    return path
