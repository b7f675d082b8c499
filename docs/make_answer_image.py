"""Draws docs/images/answer.png: a question, the page that answers it, and the box, from a real run.

    python docs/make_answer_image.py

The embedded model answers over examples/signs.pdf. Needs the extras `torch` and `documents`.
"""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from llava_tools import Llava
from llava_tools.retrieval import PageIndex, ask

ROOT = Path(__file__).parent.parent
QUESTION = "What colour is the cross of the first aid sign?"
INK, MUTED, GROUND = "#1b2430", "#5c6773", "#f4f6f8"
WIDTH, MARGIN, PAGE = 900, 30, 400


def main() -> None:
    """Ask, draw and save."""
    with tempfile.TemporaryDirectory() as folder:
        index = PageIndex(folder)
        index.update([ROOT / "examples" / "signs.pdf"])
        answer = ask(index, QUESTION, Llava(), target="First aid")
        citation = answer.citations[0]
        page = Image.open(io.BytesIO(citation._repr_png_())).convert("RGB")
    page.thumbnail((PAGE, PAGE), Image.Resampling.LANCZOS)
    sheet = Image.new("RGB", (WIDTH, page.height + 2 * MARGIN), GROUND)
    sheet.paste(page, (MARGIN, MARGIN))
    source = f"{Path(citation.document).name}, page {citation.page}"
    lines = [
        ("Question", 18, MUTED, 0),
        (QUESTION.replace(" of the", "\nof the"), 24, INK, 26),
        ("Answer", 18, MUTED, 110),
        (answer.text, 34, INK, 134),
        ("Evidence", 18, MUTED, 196),
        (source, 24, INK, 222),
        (f"box {list(citation.box or ())}", 24, INK, 254),
        (f"{answer.model}, offline, on a CPU", 18, MUTED, page.height - 22),
    ]
    draw = ImageDraw.Draw(sheet)
    for text, size, colour, top in lines:
        font = ImageFont.load_default(size)
        draw.text((page.width + 2 * MARGIN, MARGIN + top), text, colour, font)
    sheet.save(ROOT / "docs" / "images" / "answer.png", optimize=True)


if __name__ == "__main__":
    main()
