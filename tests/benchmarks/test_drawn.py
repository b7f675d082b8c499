"""Drawings of the benchmarks: text layers of PDFs, boxes, sizes, and hidden answers."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from benchmarks import boxes, drawn_documents, formats, small_print
from benchmarks.drawn_pdf import DrawnPage, TextLine, write_pages
from llava_tools.retrieval.pages import hash_file, open_document, read_pages
from recipes.tiny_llava.questions import overlap


def test_text_layer_has_visible_and_invisible_lines(tmp_path: Path) -> None:
    red = Image.new("RGB", (20, 30), "red")
    pages = [
        DrawnPage(
            (200, 300), [TextLine("shown", 20, 250), TextLine("hidden", 20, 50, visible=False)]
        ),
        DrawnPage((300, 200), [TextLine("behind", 20, 50, visible=False)], image=red),
        DrawnPage((100, 100), bars=[(0, 0, 100, 50)]),
    ]
    path = str(write_pages(tmp_path / "a.pdf", pages))
    first, second, third = read_pages(open_document(path, *hash_file(path)))
    assert (first.text, second.text, third.text) == ("shown hidden", "behind", "")
    drawn = first.image.rgb().convert("L")
    shades = [set(drawn.crop((0, top, 890, top + 670)).tobytes()) for top in (0, 672)]
    assert min(shades[0]) < 50
    assert shades[1] == {255}
    assert second.image.size[0] > 1.45 * second.image.size[1]
    assert second.image.rgb().getcolors() == [
        (second.image.size[0] * second.image.size[1], (255, 0, 0))
    ]
    assert third.image.rgb().getpixel((5, 1000)) != third.image.rgb().getpixel((5, 300))


def test_no_text_layer_contains_the_answer() -> None:
    drawn = drawn_documents.draw_cases(20)
    assert [case.kind for case in drawn[:5]] == list(drawn_documents.KINDS)
    assert len({case.title for case in drawn}) == len({case.subject for case in drawn}) == 20
    for case in drawn:
        assert case.answer.lower() not in case.text.split()
        assert all(word in case.question("subject") for word in case.subject)
        assert all(case.text.split().count(word) >= 2 for word in case.subject)


def test_true_boxes_lie_on_the_image() -> None:
    drawn = list(boxes.cases(3))
    assert [case.form for case in drawn].count("tall") == 3
    for case in drawn:
        width, height = case.image.size
        assert 0 <= case.box.x1 < case.box.x2 <= width
        assert 0 <= case.box.y1 < case.box.y2 <= height
        assert case.perfect is not None
        assert overlap(case.perfect, case.box) > 0.7


def test_only_large_shapes_are_large() -> None:
    for case in small_print.cases(3):
        assert case.image.size == small_print.SIZE
        box = Image.eval(case.image.convert("L"), lambda tone: 255 * (tone < 140)).getbbox()
        large = case.kind == "large shape"
        assert box is None or large == (box[3] - box[1] > 0.1 * small_print.SIZE[1])


def test_enlarged_images_keep_their_form() -> None:
    drawn = list(formats.cases(5))
    assert sorted(case.form for case in drawn) == sorted(5 * list(formats.FORMS))
    for case in drawn:
        width, height = case.image.size
        form = "square" if width == height else "wide" if width > height else "tall"
        assert form == case.form
        large = case.enlarged
        assert max(large.size) == formats.LARGE
        assert abs(large.width / large.height - width / height) < 0.01
