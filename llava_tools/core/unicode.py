"""Well-formed text: tokenizers and JSON refuse lone surrogates, which strings of Python may hold.

They come from file names and arguments that are not UTF-8, and from cut or escaped JSON.
"""

from __future__ import annotations


def well_formed(text: str) -> str:
    """Return a text with U+FFFD for each lone surrogate; a pair becomes its character."""
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
