"""Images are taken from whatever they come in."""

from __future__ import annotations

import base64
import copy
import hashlib
import io
import pickle
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from PIL import Image

from llava_tools.images import open_image
from tests.handmade_images import pixels, refusal
from tests.strategies import encoded


def test_every_way_to_give_a_file_gives_the_same_image(
    tmp_path: Path, small: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = encoded(small, "PNG")
    monkeypatch.chdir(tmp_path)  # a long path would be shortened in `source`
    monkeypatch.setenv("HOME", str(tmp_path))
    path = Path("an image.png")
    path.write_bytes(data)
    url = "data:image/png;base64," + base64.b64encode(data).decode()
    with path.open("rb") as file:
        sources: list[Any] = [
            path,
            str(path),
            "~/an image.png",
            data,
            bytearray(data),
            memoryview(data),
            url,
        ]
        refs = [open_image(source) for source in (*sources, io.BytesIO(data), file)]
    handle = "img_" + hashlib.sha256(data).hexdigest()[:24]
    assert {ref.handle for ref in refs} == {handle}
    assert len(set(refs)) == 1
    for ref in refs:
        assert (ref.size, ref.media_type, ref.data) == (small.size, "image/png", data)
        assert np.array_equal(pixels(ref), np.asarray(small))
    assert [ref.source for ref in refs[3:8]] == ["bytes"] * 3 + ["data URL", "file object"]
    assert refs[0].source == str(path)
    assert open_image(refs[0]) is refs[0]


def test_pixels_of_pil_images_and_arrays_are_kept(small: Image.Image) -> None:
    grey = small.convert("L")
    for source, expected in [
        (small, small),
        (np.asarray(small), small),
        (grey, grey.convert("RGB")),
        (np.asarray(grey), grey.convert("RGB")),
    ]:
        ref = open_image(source)
        assert ref.media_type == "image/png"
        assert np.array_equal(pixels(ref), np.asarray(expected))
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(ref.data))), np.asarray(expected))
        assert ref.data is ref.data
    assert open_image(small).handle == open_image(np.asarray(small)).handle
    assert open_image(small).handle != open_image(small.resize((40, 61))).handle
    assert open_image(small.quantize()) == open_image(small.quantize().convert("RGB"))


def test_ref_keeps_its_pixels(small: Image.Image) -> None:
    source = small.copy()
    ref = open_image(source)
    source.paste((0, 0, 0), (0, 0, 61, 40))
    ref.rgb().paste((0, 0, 0), (0, 0, 61, 40))
    assert np.array_equal(pixels(ref), np.asarray(small))


def test_ref_can_be_copied_and_pickled(small: Image.Image) -> None:
    for ref in (open_image(small), open_image(encoded(small, "JPEG"))):
        for twin in (copy.deepcopy(ref), pickle.loads(pickle.dumps(ref))):
            assert twin == ref
            assert np.array_equal(pixels(twin), pixels(ref))
        assert "\\x" not in repr(ref)
        assert len(repr(ref)) < 200
        others: list[object] = ["img_", ref.handle, None]
        assert ref not in others


@pytest.mark.parametrize(
    "header",
    [
        "data:image/png;base64",
        "data:;base64",
        "DATA:IMAGE/PNG;BASE64",
        "data:image/png;name=a.png;base64",
        'data:image/png;name="a, b;c";charset=utf-8;base64',
        "data:application/octet-stream;base64",
    ],
)
def test_data_urls_are_parsed(header: str, small: Image.Image) -> None:
    data = encoded(small, "PNG")
    body = base64.b64encode(data).decode()
    lines = "\n ".join(body[i : i + 76] for i in range(0, len(body), 76))
    for text in (body, quote(body, safe=""), body.rstrip("="), lines):
        assert open_image(f"{header},{text}").data == data


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("data:image/png,%89PNG", "does not say ';base64'"),
        ("data:image/png;base64", "not a well-formed data URL"),
        ('data:image/png;name="a,b;base64,AAAA', "not a well-formed data URL"),
        ("data:text/html;base64,AAAA", "holds text/html"),
        ("data:image/png;base64,A*AA", "not valid base64"),
        ("data:image/png;base64,AAAAA", "not valid base64"),
        ("data:image/png;base64,", "is empty"),
        ("data:image/png;base64,AAAA", "no known image format"),
    ],
)
def test_bad_data_urls_are_refused(url: str, reason: str) -> None:
    assert reason in refusal(url)
