"""Results are below the size that hosts accept: images become smaller, data stay whole."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import pytest
from mcp_types import ImageContent
from PIL import Image

from llava_tools import open_image
from llava_tools.images import ImageRef
from llava_tools.server.mcp.add_image import AddImageResult
from llava_tools.server.mcp.content import ContentOptions, to_call_result
from llava_tools.server.mcp.documents import AskDocumentsResult, CitedPage
from llava_tools.server.mcp.jpeg import fit_jpeg
from llava_tools.tools import Box
from llava_tools.tools.find import FindResult, FoundPage
from llava_tools.tools.locate import LocateResult
from llava_tools.tools.zoom import ZoomResult
from tests.server.mcp.scene import images_of, links_of, text_of

VERSION = "2025-11-25"
ALL = ContentOptions(images=True, links=True)
#: What Claude Desktop and the client of the SDK accept.
LIMIT = 1_048_576


def _noise(width: int, height: int) -> ImageRef:
    pixels = [Image.effect_noise((width, height), 200) for _ in range(3)]
    return open_image(Image.merge("RGB", pixels))


def _size(result: Any) -> int:
    return len(json.dumps(result.model_dump(mode="json", by_alias=True)))


@pytest.mark.parametrize("max_bytes", [20_000, 100_000, 600_000])
def test_a_jpeg_is_made_smaller_until_it_fits(max_bytes: int) -> None:
    data = fit_jpeg(_noise(900, 600), None, max_bytes)
    assert len(data) <= max_bytes
    width, height = Image.open(io.BytesIO(base64.b64decode(data))).size
    assert width / height == pytest.approx(1.5, abs=0.02)


def test_a_jpeg_that_fits_keeps_its_pixels() -> None:
    data = fit_jpeg(open_image(Image.new("RGB", (300, 200))), None, 100_000)
    assert Image.open(io.BytesIO(base64.b64decode(data))).size == (300, 200)


def test_no_limit_is_too_small_to_end() -> None:
    assert Image.open(io.BytesIO(base64.b64decode(fit_jpeg(_noise(90, 60), None, 1)))).size == (
        1,
        1,
    )


def test_a_large_image_is_shrunk_below_the_limit() -> None:
    image = _noise(3000, 2000)
    located = LocateResult(
        box=Box(0, 0, 1500, 1000), certainty=1.0, width=3000, height=2000, image=image.handle
    ).with_image(image)
    result = to_call_result(located, VERSION, ALL)
    assert 400_000 < _size(result) < LIMIT
    (shown,) = images_of(result)
    assert max(shown.size) <= 1024
    assert result.structured_content["box"] == [0, 0, 1500, 1000]


def test_ten_large_pages_with_long_texts_stay_below_the_limit() -> None:
    noise = _noise(1200, 1600).rgb()
    pages = [open_image(noise.rotate(36 * number)) for number in range(10)]
    cited = [
        CitedPage(
            image=page.handle,
            document="文書.pdf",
            page=number,
            text="答え" * 100,
            snippet="文" * 300,
            certainty=0.5,
            width=page.size[0],
            height=page.size[1],
        )
        for number, page in enumerate(pages, start=1)
    ]
    answer = AskDocumentsResult(answer="答え", certainty=0.5, citations=cited)
    answer._pages = tuple((page, Box(0, 0, 600, 800)) for page in pages)
    result = to_call_result(answer, VERSION, ALL)
    assert _size(result) < LIMIT
    assert len(images_of(result)) == len(links_of(result)) == 10
    assert len(result.structured_content["citations"]) == 10


def test_what_is_for_the_program_alone_is_not_sent() -> None:
    page = FoundPage(image="img_" + 24 * "0", document="a.pdf", page=1, path="/home/me/a.pdf")
    unusable = FoundPage(document="b.pdf", page=2, note="gone")
    result = to_call_result(FindResult(pages=(page, unusable)), VERSION, ALL)
    assert "/home/me" not in result.model_dump_json()
    assert text_of(result) == str(FindResult(pages=(page, unusable)))
    assert links_of(result) == [f"image://{page.image}"]


@pytest.mark.parametrize(("version", "links"), [("2025-03-26", 0), ("2025-06-18", 1)])
def test_links_are_sent_to_clients_that_know_them(version: str, links: int) -> None:
    added = AddImageResult(image="img_" + 24 * "0", width=1, height=1)
    result = to_call_result(added, version, ALL)
    assert len(links_of(result)) == links
    assert not [block for block in result.content if isinstance(block, ImageContent)]


@pytest.mark.parametrize("images", [True, False])
@pytest.mark.parametrize("links", [True, False])
def test_images_and_links_can_be_left_out(images: bool, links: bool) -> None:
    image = open_image(Image.new("RGB", (30, 20)))
    zoomed = ZoomResult(image=image.handle, width=30, height=20).with_image(image)
    result = to_call_result(zoomed, VERSION, ContentOptions(images, links))
    assert (len(images_of(result)), len(links_of(result))) == (images, links)
    assert result.structured_content["image"] == image.handle


def test_images_are_there_by_default_and_links_are_not() -> None:
    assert ContentOptions() == ContentOptions(images=True, links=False)
