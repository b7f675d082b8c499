"""OCR: pages without a text layer get a text, with the places of its words."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from PIL import Image, ImageDraw, ImageFont

from llava_tools import Llava
from llava_tools.errors import MissingExtraError
from llava_tools.images import ImageRef, open_image
from llava_tools.retrieval import PageIndex, ask
from llava_tools.retrieval.ocr import (
    OcrLine,
    OcrWord,
    RapidOcr,
    dump_lines,
    find_words,
    load_lines,
)
from llava_tools.testing import ScriptedBackend, ScriptedEmbedder
from llava_tools.tools.geometry import Box
from tests.retrieval.documents import write_pdf

LINES = [
    OcrLine(
        "Open the multi-",
        (
            OcrWord("Open", Box(10, 10, 50, 30)),
            OcrWord("the", Box(60, 10, 90, 30)),
            OcrWord("multi-", Box(100, 10, 160, 30)),
        ),
    ),
    OcrLine(
        "way valve 水垢",
        (
            OcrWord("way", Box(10, 40, 45, 60)),
            OcrWord("valve", Box(55, 40, 100, 60)),
            OcrWord("水", Box(110, 40, 130, 60)),
            OcrWord("垢", Box(130, 40, 150, 60)),
        ),
    ),
]


class ScriptedOcr:
    """An engine that reads the same lines in each image, and counts the images."""

    def __init__(self) -> None:
        self.images = 0

    def read(self, image: ImageRef) -> list[OcrLine]:
        """See `OcrEngine.read`."""
        self.images += 1
        return LINES


@pytest.mark.parametrize(
    ("text", "box"),
    [
        ("OPEN", (10, 10, 50, 30)),
        ("open the", (10, 10, 90, 30)),
        ("multiway valve", (10, 10, 160, 60)),  # parted at the line's end
        ("水垢", (110, 40, 150, 60)),
        ("pen", None),  # part of a word
        ("valve open", None),
        (" ", None),
    ],
)
def test_words_are_found_with_the_box_around_them(
    text: str, box: tuple[int, int, int, int] | None
) -> None:
    assert find_words(LINES, text) == box
    assert find_words([], text) is None


def test_stored_lines_are_restored() -> None:
    assert load_lines(dump_lines(LINES)) == LINES
    assert (dump_lines([]), load_lines("")) == ("", [])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An image, and a PDF with a text layer on its first page only."""
    folder = tmp_path / "in"
    folder.mkdir()
    Image.new("RGB", (200, 100), "white").save(folder / "scan.png")
    write_pdf(folder / "manual.pdf", ["A printed page", ""])
    return folder


def test_ocr_reads_only_pages_without_a_text_layer(folder: Path, tmp_path: Path) -> None:
    ocr = ScriptedOcr()
    index = PageIndex(tmp_path / "index", ScriptedEmbedder())
    index.update([folder], ocr=ocr)
    assert ocr.images == 2
    hits = index.search("multiway valve", 9, mode="text")
    assert {(Path(hit.document).name, hit.page) for hit in hits} == {
        ("scan.png", 1),
        ("manual.pdf", 2),
    }
    assert all(hit.text == "Open the multiway valve 水垢" for hit in hits)
    assert all(index.locate(hit, "the") == (60, 10, 90, 30) for hit in hits)
    assert index.update([folder], ocr=ocr).added == 0
    assert ocr.images == 2
    (printed,) = index.search("printed", 9, mode="text")
    assert index.locate(printed, "open") is None


def test_answers_cite_the_words_that_ocr_read(folder: Path, tmp_path: Path) -> None:
    index = PageIndex(tmp_path / "index", ScriptedEmbedder())
    index.update([folder / "scan.png"], ocr=ScriptedOcr())
    backend = ScriptedBackend(["multiway valve"])
    answer = ask(index, "What is opened? valve", Llava(backend=backend), k=1, mode="text")
    (citation,) = answer.citations
    assert citation.box == (10, 10, 160, 60)
    assert citation.snippet == "Open the multiway valve 水垢"
    assert "OCR token: Open the multiway valve" in backend.requests[0].messages[-1].text


def test_without_ocr_images_have_no_text(folder: Path, tmp_path: Path) -> None:
    index = PageIndex(tmp_path / "index", ScriptedEmbedder())
    index.update([folder])
    assert index.search("valve", mode="text") == []


def test_without_its_package_rapidocr_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rapidocr", None)
    with pytest.raises(MissingExtraError, match="extra 'ocr'"):
        RapidOcr()


@pytest.fixture(scope="module")
def rapid_ocr() -> RapidOcr:
    pytest.importorskip("rapidocr")
    pytest.importorskip("onnxruntime")
    return RapidOcr(threads=1)


def test_rapidocr_reads_words_and_their_places(rapid_ocr: RapidOcr) -> None:
    image = Image.new("RGB", (900, 200), "white")
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(28)
    pen.text((40, 30), "The boiler is descaled every 90 days,", fill="black", font=font)
    pen.text((40, 100), "and the lid stays closed.", fill="black", font=font)
    lines = rapid_ocr.read(open_image(image))
    assert [line.text for line in lines] == [
        "The boiler is descaled every 90 days,",
        "and the lid stays closed.",
    ]
    start = 40 + pen.textlength("The boiler is descaled every ", font)
    end = start + pen.textlength("90 days", font)
    box = find_words(lines, "90 days")
    assert box is not None
    assert box == pytest.approx((start, 30, end, 62), abs=14)


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (8, 4000), (12_000, 40), (100, 100)])
def test_rapidocr_reads_nothing_in_images_without_text(
    rapid_ocr: RapidOcr, size: tuple[int, int]
) -> None:
    assert rapid_ocr.read(open_image(Image.new("RGB", size, "white"))) == []
