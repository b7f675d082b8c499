"""What a file is that is called .pdf and is none, by its first bytes."""

from __future__ import annotations

from llava_tools.errors import DocumentError

_EXPORT = "Export it as a PDF."
_UNPACK = "Unpack it."
#: First bytes in lower case, what they mean, and what to do.
_SIGNATURES = (
    (b"<!doctype html", "a web page", "Download the document itself: this may be a login page."),
    (b"<html", "a web page", "Download the document itself: this may be a login page."),
    (b"<?xml", "an XML file", _EXPORT),
    (b"pk\x03\x04", "an Office document or a ZIP archive", "Export it as a PDF, or unpack it."),
    (b"\xd0\xcf\x11\xe0", "an old Office document", _EXPORT),
    (b"{\\rtf", "an RTF document", _EXPORT),
    (b"%!ps", "a PostScript file", "Convert it, for example with ps2pdf."),
    (b"\x1f\x8b", "compressed", _UNPACK),
    (b"bzh", "compressed", _UNPACK),
    (b"\xfd7zxz", "compressed", _UNPACK),
)


def not_a_pdf(head: bytes, name: str) -> DocumentError:
    """Return the error for a file named .pdf that begins with these bytes."""
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n\x00")
    for signature, kind, hint in _SIGNATURES:
        if start.lower().startswith(signature):
            return DocumentError(f"{name} is not a PDF but {kind}.", hint)
    if not start:
        return DocumentError(f"{name} is not a PDF: it begins with zeros.", "Get the file again.")
    return DocumentError(f"{name} is not a PDF: its header is missing.", "Get the file again.")
