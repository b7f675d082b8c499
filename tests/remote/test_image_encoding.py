"""Images as data URLs: pixels, and the cache."""

from __future__ import annotations

import base64
import io

import pytest
from PIL import Image

from llava_tools.core.requests import Message, Request
from llava_tools.remote import image_encoding
from llava_tools.remote.image_encoding import ImageEncoder, pad_and_resize
from tests.remote.requests import Connect, Serve, full_answer, make_image


def test_image_is_sent_padded_and_resized(serve: Serve, connect: Connect) -> None:
    server = serve()
    source = make_image((60, 20))
    backend = connect(server)
    for _ in range(2):
        full_answer(backend, Request((Message("user", (source, "What?")),)))
    sent, again = (body["messages"][-1]["content"][0] for body in server.requests)
    assert set(sent) == {"type", "image_url"}
    assert set(sent["image_url"]) == {"url"}
    assert sent == again
    image = Image.open(io.BytesIO(base64.b64decode(sent["image_url"]["url"].split(",")[1])))
    assert image.size == (336, 336)
    assert image.getpixel((168, 168)) == (255, 0, 0)
    assert image.getpixel((168, 20)) == (122, 116, 104)


def test_recent_images_are_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[tuple[int, int]] = []

    def record(image: Image.Image, size: int) -> Image.Image:
        encoded.append(image.size)
        return image

    monkeypatch.setattr(image_encoding, "pad_and_resize", record)
    monkeypatch.setattr(image_encoding, "CACHE_SIZE", 2)
    encode = ImageEncoder()
    first, second, third = (make_image((size, 5)) for size in (5, 6, 7))
    for image in (first, second, first, third, first, second):
        encode(image)
    assert encoded == [(5, 5), (6, 5), (7, 5), (6, 5)]


def test_padding_is_centred() -> None:
    tall = pad_and_resize(Image.new("RGB", (2, 6), "white"), 6)
    assert [tall.getpixel((x, 3)) == (255, 255, 255) for x in range(6)] == [
        *(False, False, True, True, False, False)
    ]
