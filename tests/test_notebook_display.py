"""What notebooks show of answers, images, hits and indexes."""

from __future__ import annotations

import io

from PIL import Image

from llava_tools import Llava, open_image
from llava_tools.retrieval import Hit, PageIndex
from llava_tools.testing import ScriptedBackend


def test_an_answer_shows_its_text_escaped_with_model_and_tokens() -> None:
    answer = Llava(backend=ScriptedBackend(["a <b> &\nmore"])).ask("What?")
    shown = answer._repr_html_()
    assert "a &lt;b&gt; &amp;<br>more" in shown
    assert "scripted, 3 tokens" in shown
    assert "token_ids" not in repr(answer)


def test_an_image_shows_itself_small() -> None:
    image = open_image(Image.new("RGB", (1000, 500), "red"))
    shown = Image.open(io.BytesIO(image._repr_png_()))
    assert shown.size == (400, 200)
    assert shown.getpixel((5, 5)) == (255, 0, 0)


def test_a_hit_shows_document_page_and_snippet_and_no_whole_text() -> None:
    hit = Hit(
        "docs/a<b>.pdf", 3, 0.5, "img_" + "0" * 24, "an <i>old</i> page", "x" * 9999, (9, 9), ""
    )
    assert "a&lt;b&gt;.pdf, page 3" in hit._repr_html_()
    assert "&lt;i&gt;" in hit._repr_html_()
    assert len(repr(hit)) < 200


def test_an_index_names_its_folder() -> None:
    assert repr(PageIndex("my-index")) == "PageIndex('my-index')"
