"""A word that is parted at a line's end is found, shown and located as one word."""

from __future__ import annotations

from pathlib import Path

import pytest

from llava_tools.retrieval import PageIndex
from llava_tools.testing import ScriptedEmbedder
from tests.retrieval.documents import write_objects


def write_lines(path: Path, lines: list[str]) -> Path:
    """Write a PDF of one page with lines of text, 14 points apart from 350 points down."""
    text = b" 0 -14 Td ".join(b"(%s) Tj" % line.encode("latin-1") for line in lines)
    content = b"BT /F 12 Tf 20 350 Td " + text + b" ET"
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 /MediaBox [0 0 300 400] "
        b"/Resources << /Font << /F 4 0 R >> >> >>",
        b"<< /Type /Page /Parent 2 0 R /Contents 5 0 R >>",
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(content), content),
    ]
    return write_objects(path, objects)


@pytest.mark.parametrize(
    ("lines", "word", "text"),
    [
        (["the new multi-", "way valve opens"], "multiway", "the new multiway valve opens"),
        (
            ["und die Einspritz-", "pumpe l\xe4uft"],
            "Einspritzpumpe",
            "und die Einspritzpumpe läuft",
        ),
        (["soft multi\xad", "way valve"], "multiway", "soft multiway valve"),
    ],
)
def test_a_parted_word_is_found_and_located(
    tmp_path: Path, lines: list[str], word: str, text: str
) -> None:
    write_lines(tmp_path / "in.pdf", lines)
    index = PageIndex(tmp_path / "index", ScriptedEmbedder())
    index.update([tmp_path / "in.pdf"])
    (hit,) = index.search(word, mode="text")
    assert (hit.text, hit.score) == (text, 1.0)
    assert index.search(f'"{word}"', mode="text")
    box = index.locate(hit, word)
    assert box is not None
    left, top, right, bottom = box
    scale = 1344 / 400
    # Both lines: from the capitals of the first, 50 points down, to the descenders of the second.
    assert 36 * scale < top < 50 * scale < 64 * scale < bottom < 70 * scale
    assert 18 * scale < left < 45 * scale
    assert right > 55 * scale
    assert index.locate(hit, text.split()[-1]) is not None
