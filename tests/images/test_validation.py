"""Unusable images are refused with an error of one line, before they are decoded."""

from __future__ import annotations

import base64
import io
import os
import struct
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from llava_tools.errors import ImageError
from llava_tools.images import open_image, sources
from llava_tools.images.validation import FORMATS, not_an_image
from tests.handmade_images import check, pixels, png, refusal
from tests.strategies import encoded

Image.init()
#: Formats that Pillow can write here; AVIF is among them from 11.3 on.
WRITTEN = set(FORMATS) & set(Image.SAVE)


def test_paths_that_are_no_images_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "Street.jpg").write_bytes(b"")
    (tmp_path / "notes.png").write_text("Grüße, this is text\n")
    assert "Did you mean 'Street.jpg'?" in refusal(tmp_path / "street.jpeg")
    assert "There is no file" in refusal(str(tmp_path / "zzz.png"))
    assert "Its folder" in refusal(tmp_path / "nowhere" / "a.png")
    assert "There is no file" in refusal(tmp_path / "notes.png" / "a.png")
    assert "is a folder" in refusal(tmp_path)
    assert "is empty" in refusal(tmp_path / "Street.jpg")
    assert "looks like text" in refusal(tmp_path / "notes.png")
    assert "~no-such-user" in refusal("~no-such-user/a.png")
    assert "put 'data:image/png;base64,' before it" in refusal("iVBORw0KGgo" * 500)
    assert "\\x00" in refusal("a\0.png")
    assert "\x1b" not in refusal("a\x1b[31m\n.png")
    assert "is a folder" in refusal("")
    os.mkfifo(tmp_path / "pipe")
    assert "a device or a pipe" in refusal(tmp_path / "pipe")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    assert "may not be read" in refusal(tmp_path / "notes.png")


def test_paths_are_refused_where_not_allowed(tmp_path: Path, small: Image.Image) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encoded(small, "PNG"))
    existing = refusal(str(path), allow_paths=False)
    missing = refusal(str(tmp_path / "b.png"), allow_paths=False)
    assert existing.replace("a.png", "b.png") == missing  # no hint whether the file exists
    refusal(path, allow_paths=False)
    refusal("data.png", allow_paths=False)
    refusal(f"file://{path}", allow_paths=False)
    assert "file:" in refusal(f"file://{path}")
    assert "scheme" in refusal("s3://bucket/a.png")
    url = "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()
    assert open_image(url, allow_paths=False).size == small.size


@pytest.mark.parametrize(
    "source", [None, 3, 2.5, ["a.png"], {"url": "a.png"}, object(), Image, "ftp://host/a.png"]
)
def test_other_types_are_refused(source: object) -> None:
    refusal(source)


def test_arrays_of_other_shapes_and_types_are_refused() -> None:
    for array in (
        np.zeros((4, 4, 3)),
        np.zeros((4, 4), bool),
        np.zeros((3, 4, 5), np.uint8),
        np.zeros(4, np.uint8),
        np.zeros((2, 4, 4, 3), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
    ):
        assert "array" in refusal(array).lower()


def test_open_files_without_bytes_are_refused(small: Image.Image) -> None:
    assert "mode 'rb'" in refusal(io.StringIO("text"))
    read_end, write_end = os.pipe()
    os.set_blocking(read_end, False)
    with open(read_end, "rb") as empty, open(write_end, "wb"):
        assert "has no data now" in refusal(empty)
    closed = io.BytesIO(encoded(small, "PNG"))
    closed.close()
    assert "cannot be read" in refusal(closed)
    spent = io.BytesIO(encoded(small, "PNG"))
    spent.read()
    assert "rewind" in refusal(spent)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"<?xml version='1.0'?>\n<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"%PDF-1.7\n", "pypdfium2"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "HEIC"),
        (b"<!DOCTYPE html><title>404</title>", "web page"),
        (b"{'error': 1}", "looks like text"),
        (b"P", "looks like text"),
        (b"\0" * 100, "no known image format"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "looks like text"),
    ],
)
def test_error_names_what_bytes_look_like(data: bytes, reason: str) -> None:
    assert reason in refusal(data)


def test_avif_that_pillow_cannot_read_names_the_release_that_can() -> None:
    assert "Pillow 11.3" in str(not_an_image(b"\0\0\0\x1cftypavif\0\0\0\0", "a.avif"))


def test_limits_are_checked_before_decoding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: Image.Image
) -> None:
    bomb = png((50_000, 50_000), 8, 2, b"")
    gif = b"GIF89a" + struct.pack("<HH", 50_000, 50_000) + b"\0\0\0"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "50,000 x 50,000 pixels" in refusal(bomb)
        assert "pixels" in refusal(
            gif + b"," + struct.pack("<HHHHB", 0, 0, 50_000, 50_000, 0) + b"\x08\0;"
        )
        assert "8,000 x 8,001 pixels" in refusal(png((8_000, 8_001), 8, 0, b""))
        ref = open_image(png((8_000, 8_000), 8, 0, b""))
        assert ref.size == (8_000, 8_000)
        with pytest.raises(ImageError, match="damaged"):
            ref.rgb()
    assert "pixels" in refusal(Image.new("1", (8_001, 8_000)))
    monkeypatch.setattr(sources, "MAX_BYTES", 1000)
    large = png((1, 1), 8, 0, os.urandom(2000))
    path = tmp_path / "large.png"
    path.write_bytes(large)
    url = "data:image/png;base64," + base64.b64encode(large).decode()
    for source in (large, memoryview(large), path, io.BytesIO(large), url):
        assert "bytes" in refusal(source)
    # A limit that the calling program sets for Pillow is ignored.
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert open_image(encoded(small.quantize(4), "PNG")).rgb().size == small.size


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"exif": True}])
def test_jpeg_cut_anywhere_is_refused(options: dict[str, Any], small: Image.Image) -> None:
    if options.get("exif"):  # the thumbnail has an end-of-image marker too
        options = {"exif": b"Exif\0\0" + encoded(small.resize((16, 16)), "JPEG")}
    data = encoded(small, "JPEG", **options)
    assert open_image(data).size == small.size
    for length in range(1, len(data), 7):
        refusal(data[:length])
    assert "cut off" in refusal(data[:-1])


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    "codec", sorted(WRITTEN & {"PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM"})
)
def test_cut_file_is_refused_unless_all_pixels_are_there(codec: str, small: Image.Image) -> None:
    data = encoded(small, codec)
    whole = pixels(open_image(data))
    for length in [*range(1, len(data), 13), *range(len(data) - 30, len(data))]:
        try:
            ref = open_image(data[:length])
        except ImageError as error:
            check(error)
        else:
            assert len(data) - length < 30
            assert np.array_equal(pixels(ref), whole)


def test_damage_found_by_decoding_raises() -> None:
    ref = open_image(png((40, 40), 8, 0, b"\0" * 100))
    with pytest.raises(ImageError, match="bytes is damaged or cut off"):
        ref.rgb()


@settings(max_examples=150, deadline=None)
@given(st.data())
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_random_bytes_are_an_image_or_raise_one_line(data: st.DataObject) -> None:
    base = Image.linear_gradient("L").resize((19, 13)).convert("RGB")
    codec = data.draw(st.sampled_from(["", *sorted(WRITTEN)]))
    content = bytearray(encoded(base, codec) if codec else data.draw(st.binary(max_size=300)))
    for _ in range(data.draw(st.integers(0, 6))):
        place = data.draw(st.integers(0, len(content)))
        content[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    try:
        ref = open_image(bytes(content))
        image = ref.rgb()
    except ImageError as error:
        check(error)
    else:
        assert (image.mode, image.size) == ("RGB", ref.size)


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=60), st.booleans())
def test_random_text_raises_one_line(text: str, allow_paths: bool) -> None:
    for source in (f"no-such-folder/{text}", f"data:{text}", f"x-{text}://{text}"):
        refusal(source, allow_paths=allow_paths)


def test_concurrent_decoding(small: Image.Image) -> None:
    ref, plain = open_image(encoded(small, "JPEG")), open_image(small)
    expected = pixels(ref)

    def work(_: int) -> bytes:
        assert np.array_equal(pixels(ref), expected)
        assert open_image(ref.data) == ref
        return plain.data

    with ThreadPoolExecutor(6) as pool:
        assert len(set(pool.map(work, range(60)))) == 1
