"""Scans: how many questions find their page if the pages are scans, with and without OCR.

The manuals of `benchmarks.pages` are rendered at 120 dpi, turned by up to 2 degrees, darkened,
blurred, given noise, and saved as JPEG of low quality; such pages without a text layer become new
PDFs. The `shown` questions of those manuals search them by text. The same manuals with their text
layer are the measure.

    python -m benchmarks.scans [--folder manuals] [--threads -1]
"""

from __future__ import annotations

import argparse
import io
import json
import re
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pypdfium2
from PIL import Image, ImageFilter

from benchmarks.drawn_pdf import DrawnPage, write_pages
from benchmarks.machine import describe
from benchmarks.pages import K, Pair, measure, pairs
from examples.debian_manuals import get_manuals
from llava_tools.images import ImageRef
from llava_tools.retrieval import OcrLine, PageIndex, RapidOcr
from llava_tools.testing import ScriptedEmbedder

DPI = 120
DEGREES = 2.0
NOISE = 18.0
JPEG_QUALITY = 50


class TimedOcr:
    """An engine, and the time it took."""

    def __init__(self, engine: RapidOcr) -> None:
        self._engine = engine
        self.pages = 0
        self.cpu_seconds = 0.0

    def read(self, image: ImageRef) -> Sequence[OcrLine]:
        """See `OcrEngine.read`."""
        start = time.process_time()
        lines = self._engine.read(image)
        self.cpu_seconds += time.process_time() - start
        self.pages += 1
        return lines


def degrade(image: Image.Image, seed: int) -> Image.Image:
    """Return a page as a poor scan shows it."""
    rng = np.random.default_rng(seed)
    angle = float(rng.uniform(-DEGREES, DEGREES))
    turned = image.convert("L").rotate(angle, Image.Resampling.BICUBIC, fillcolor=255)
    pixels = np.asarray(turned, dtype=np.float32) * 0.85 + 20
    pixels += rng.normal(0, NOISE, pixels.shape)
    noisy = Image.fromarray(pixels.clip(0, 255).astype("uint8"))
    buffer = io.BytesIO()
    noisy.filter(ImageFilter.GaussianBlur(0.6)).save(buffer, "JPEG", quality=JPEG_QUALITY)
    return Image.open(buffer).convert("RGB")


def scan(source: Path, target: Path) -> None:
    """Write a PDF of degraded pages without their text layer."""
    pdf = pypdfium2.PdfDocument(source)
    pages = []
    for number, page in enumerate(pdf):
        image = degrade(page.render(scale=DPI / 72).to_pil(), number)
        pages.append(DrawnPage(page.get_size(), image=image))
    write_pages(target, pages)
    pdf.close()


def word_recall(printed: PageIndex, scanned: PageIndex) -> float:
    """Return the share of the text layers' words of three letters or more that OCR read."""
    right = total = 0
    read = dict(_words(scanned))
    for page, words in _words(printed):
        right += (words & read[page]).total()
        total += words.total()
    return right / total


def _words(index: PageIndex) -> Iterator[tuple[tuple[str, int], Counter[str]]]:
    for hit in index.search("x", 1000, mode="image"):
        words = Counter(re.findall(r"\w{3,}", hit.text.lower()))
        yield (Path(hit.document).stem, hit.page), words


def main() -> None:
    """Measure, print a line for each kind of pages, then one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("manuals"))
    parser.add_argument("--threads", type=int, default=-1, help="of OCR; -1: one on each core")
    options = parser.parse_args()
    folder = get_manuals(options.folder)
    questions: list[Pair] = pairs("shown")
    names = sorted({name for _, targets in questions for name, _ in targets})
    printed = [folder / f"{name}.pdf" for name in names]
    ocr = TimedOcr(RapidOcr(options.threads))
    figures: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as work:
        scans = Path(work) / "scans"
        scans.mkdir()
        for path in printed:
            scan(path, scans / path.name)
        indexes = {
            kind: PageIndex(Path(work) / kind, ScriptedEmbedder())
            for kind in ("text layer", "scans", "scans with OCR")
        }
        indexes["text layer"].update(printed)
        indexes["scans"].update([scans])
        indexes["scans with OCR"].update([scans], ocr=ocr)
        for kind, index in indexes.items():
            figures[kind] = measure(index, questions, "text")
            print(f"{kind:15}", *(f"{name} {value:<6}" for name, value in figures[kind].items()))
        recall = word_recall(indexes["text layer"], indexes["scans with OCR"])
    ratio = figures["scans with OCR"][f"recall@{K}"] / figures["text layer"][f"recall@{K}"]
    results = {
        "pages": ocr.pages,
        "cpu_seconds_per_page": round(ocr.cpu_seconds / ocr.pages, 2),
        "word_recall": round(recall, 3),
        "recall_ratio": round(ratio, 3),
    }
    print(json.dumps({"benchmark": "scans", **describe(), "retrieval": figures, **results}))


if __name__ == "__main__":
    main()
