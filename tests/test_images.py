"""Pictures are read as a viewer shows them, bounded, and refused in one line."""

from __future__ import annotations

import base64
import copy
import hashlib
import io
import os
import pickle
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageOps

from llava_tools import image_bytes
from llava_tools.errors import ImageError
from llava_tools.images import ImageRef, ImageWarning, open_image
from tests.strategies import encoded

Pixels = NDArray[np.uint8]


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    from sklearn.datasets import load_sample_images  # type: ignore[import-untyped]

    return Image.fromarray(load_sample_images().images[0])


@pytest.fixture(scope="module")
def small(photo: Image.Image) -> Image.Image:
    return photo.resize((61, 40))


def pixels(ref: ImageRef) -> Pixels:
    return np.asarray(ref.rgb())


def check(error: ImageError) -> None:
    assert len(str(error).splitlines()) == 1
    assert error.hint


def refusal(source: Any, **options: Any) -> str:
    with pytest.raises(ImageError) as caught:
        open_image(source, **options)
    check(caught.value)
    return str(caught.value)


def png(
    size: tuple[int, int], depth: int, colour: int, rows: bytes, *, transparent: bytes = b""
) -> bytes:
    """Write a PNG by hand: what Pillow does not write, and headers that lie."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + (chunk(b"tRNS", transparent) if transparent else b"")
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


# ---- what may be given ----------------------------------------------------------------------


def test_every_way_to_give_a_file_gives_the_same_picture(
    tmp_path: Path, small: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = encoded(small, "PNG")
    path = tmp_path / "a picture.png"
    path.write_bytes(data)
    monkeypatch.setenv("HOME", str(tmp_path))
    url = "data:image/png;base64," + base64.b64encode(data).decode()
    with path.open("rb") as file:
        given: list[Any] = [
            path,
            str(path),
            "~/a picture.png",
            data,
            bytearray(data),
            memoryview(data),
            url,
        ]
        refs = [open_image(source) for source in (*given, io.BytesIO(data), file)]
    handle = "img_" + hashlib.sha256(data).hexdigest()[:24]
    assert {ref.handle for ref in refs} == {handle}
    assert len(set(refs)) == 1
    for ref in refs:
        assert (ref.size, ref.media_type, ref.data) == (small.size, "image/png", data)
        assert np.array_equal(pixels(ref), np.asarray(small))
    assert [ref.source for ref in refs[3:8]] == ["bytes"] * 3 + ["data URL", "file object"]
    assert refs[0].source == str(path)
    assert open_image(refs[0]) is refs[0]


def test_pixels_are_taken_as_they_are(small: Image.Image) -> None:
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


def test_a_ref_keeps_its_pixels(small: Image.Image) -> None:
    source = small.copy()
    ref = open_image(source)
    source.paste((0, 0, 0), (0, 0, 61, 40))
    ref.rgb().paste((0, 0, 0), (0, 0, 61, 40))
    assert np.array_equal(pixels(ref), np.asarray(small))


def test_a_ref_travels(small: Image.Image) -> None:
    for ref in (open_image(small), open_image(encoded(small, "JPEG"))):
        for twin in (copy.deepcopy(ref), pickle.loads(pickle.dumps(ref))):
            assert twin == ref
            assert np.array_equal(pixels(twin), pixels(ref))
        assert "\\x" not in repr(ref)
        assert len(repr(ref)) < 200
        assert ref != "img_"


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
    ("url", "said"),
    [
        ("data:image/png,%89PNG", "does not say ';base64'"),
        ("data:image/png;base64", "not a well-formed data URL"),
        ('data:image/png;name="a,b;base64,AAAA', "not a well-formed data URL"),
        ("data:text/html;base64,AAAA", "holds text/html"),
        ("data:image/png;base64,A*AA", "not valid base64"),
        ("data:image/png;base64,AAAAA", "not valid base64"),
        ("data:image/png;base64,", "is empty"),
        ("data:image/png;base64,AAAA", "no known picture format"),
    ],
)
def test_bad_data_urls(url: str, said: str) -> None:
    assert said in refusal(url)


# ---- what a viewer shows --------------------------------------------------------------------


def test_ordinary_files_are_bit_identical_to_the_official_way(
    photo: Image.Image, small: Image.Image
) -> None:
    files = [encoded(photo, "JPEG", quality=90), encoded(photo, "PNG")]
    files += [encoded(small.convert(mode), "JPEG") for mode in ("L", "RGB")]
    files += [encoded(small, kind) for kind in ("WEBP", "BMP", "TIFF", "PPM", "GIF", "ICO")]
    files += [encoded(small, "JPEG", progressive=True), encoded(small.quantize(), "PNG")]
    for data in files:
        official = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
        assert np.array_equal(pixels(open_image(data)), official)


def over_white(colour: NDArray[Any], alpha: NDArray[Any]) -> NDArray[Any]:
    share = alpha[..., None].astype(float) / 255
    return colour.astype(float) * share + 255 * (1 - share)


def ramp(*shape: int) -> Pixels:
    return np.random.default_rng(len(shape)).integers(0, 256, shape, dtype=np.uint8)


def grey3(grey: NDArray[Any]) -> NDArray[Any]:
    return np.repeat(grey[..., None], 3, axis=-1)


def modes() -> Iterator[tuple[str, Image.Image, NDArray[Any], float]]:
    """Yield name, image, what a viewer shows of it, and the tolerance."""
    bits = ramp(5, 7) > 127
    yield "1", Image.fromarray(bits), grey3(np.where(bits, 255, 0)), 0
    grey, alpha = ramp(5, 7), ramp(7, 5).T
    yield "L", Image.fromarray(grey), grey3(grey), 0
    yield "LA", Image.fromarray(np.dstack([grey, alpha])), over_white(grey3(grey), alpha), 1
    colour = ramp(5, 7, 3)
    yield "RGB", Image.fromarray(colour), colour, 0
    yield "RGBA", Image.fromarray(np.dstack([colour, alpha])), over_white(colour, alpha), 1
    deep = np.linspace(0, 65535, 35).astype(np.uint16).reshape(5, 7)
    yield "I;16", Image.fromarray(deep), grey3(np.round(deep / 257)), 0
    yield "I", Image.fromarray(deep.astype(np.int32)), grey3(np.round(deep / 257)), 0
    yield "F", Image.fromarray((deep / 65535).astype(np.float32)), grey3(deep / 257), 0.51
    palette = ramp(256, 3)
    indexed = Image.fromarray(grey)
    indexed.putpalette(palette.tobytes())
    yield "P", indexed, palette[grey], 0
    ink = ramp(5, 7, 4).astype(float)
    cmyk = Image.fromarray(ink.astype(np.uint8), "CMYK")
    yield "CMYK", cmyk, (255 - ink[..., :3]) * (255 - ink[..., 3:]) / 255, 1
    luma = np.full((8, 8, 3), (150, 100, 140), np.uint8)
    shown = [150 + 1.402 * 12, 150 - 0.344136 * -28 - 0.714136 * 12, 150 + 1.772 * -28]
    yield "YCbCr", Image.fromarray(luma, "YCbCr"), np.full((8, 8, 3), shown), 2


MODES = [pytest.param(*rest, id=name) for name, *rest in modes()]


@pytest.mark.filterwarnings("ignore:'mode' parameter:DeprecationWarning")
@pytest.mark.parametrize(("image", "expected", "tolerance"), MODES)
def test_modes(image: Image.Image, expected: NDArray[Any], tolerance: float) -> None:
    kind = "PNG" if image.mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16") else "TIFF"
    if image.mode == "YCbCr":  # before Pillow 13 its TIFF writer leaves such files incomplete
        kind = "JPEG"
    for source in (image, encoded(image, kind)):
        shown = pixels(open_image(source)).astype(float)
        assert shown.shape == expected.shape
        assert np.abs(shown - expected).max() <= tolerance


def test_palettes_with_transparency() -> None:
    palette, index, alpha = ramp(256, 3), ramp(5, 7), ramp(256)
    image = Image.fromarray(index)
    image.putpalette(palette.tobytes())
    shown = pixels(open_image(encoded(image, "PNG", transparency=alpha.tobytes())))
    assert np.abs(shown - over_white(palette[index], alpha[index])).max() <= 1
    for kind in ("PNG", "GIF"):
        shown = pixels(open_image(encoded(image, kind, transparency=int(index[2, 3]))))
        expected = palette[index]
        expected[index == index[2, 3]] = 255
        assert np.array_equal(shown, expected)


def test_transparent_colours_of_every_depth() -> None:
    two_bit = png((4, 1), 2, 0, b"\0\x1b", transparent=struct.pack(">H", 1))
    assert pixels(open_image(two_bit))[0, :, 0].tolist() == [0, 255, 170, 255]
    deep = png((2, 1), 16, 0, struct.pack(">x2H", 300, 40000), transparent=struct.pack(">H", 300))
    assert pixels(open_image(deep))[0, :, 0].tolist() == [255, 156]
    key = struct.pack(">3H", 65535, 0, 0x1234)
    colour = png(
        (2, 1), 16, 2, b"\0" + key + struct.pack(">3H", 0x100, 0x200, 0x300), transparent=key
    )
    assert pixels(open_image(colour))[0].tolist() == [[255, 255, 255], [1, 2, 3]]


def test_cmyk_jpegs_are_not_shown_inverted(small: Image.Image) -> None:
    paper = Image.new("CMYK", (16, 16), (0, 0, 0, 0))
    paper.paste((0, 255, 255, 0), (0, 0, 8, 16))  # magenta and yellow: red
    data = encoded(paper, "JPEG", quality=100)
    assert b"Adobe" in data
    shown = pixels(open_image(data)).astype(int)
    assert np.abs(shown[8, 1] - (255, 0, 0)).max() <= 4
    assert np.abs(shown[8, 14] - (255, 255, 255)).max() <= 4


TURNS: dict[int, Callable[[Pixels], Pixels]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a),
}


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_exif_orientations(kind: str, orientation: int, small: Image.Image) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.asarray(Image.open(io.BytesIO(encoded(small, kind))).convert("RGB"))
    expected = TURNS[orientation](stored)
    data = encoded(small, kind, exif=exif)
    for ref in (open_image(data), open_image(Image.open(io.BytesIO(data)))):
        assert ref.size == (expected.shape[1], expected.shape[0])
        assert np.array_equal(pixels(ref), expected)
        assert ImageOps.exif_transpose(ref.rgb()).size == ref.size  # nothing left to turn
    # Pixels that the caller has worked on are not turned again.
    turned = Image.open(io.BytesIO(data)).rotate(90, expand=True)
    assert np.array_equal(pixels(open_image(turned)), np.asarray(turned))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF:UserWarning")
def test_exif_behind_the_pixels_and_damaged_exif(small: Image.Image) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(small, "PNG", exif=exif)
    start = data.index(b"eXIf") - 4
    end = start + 12 + int.from_bytes(data[start : start + 4], "big")
    late = data[:start] + data[end:-12] + data[start:end] + data[-12:]
    assert open_image(late).size == (40, 61)
    assert open_image(late).rgb().size == (40, 61)
    for broken in (
        b"Exif\0\0",
        b"Exif\0\0II*\0",
        b"Exif\0\0nonsense",
        b"Exif\0\0MM\0*\0\0\0\x08\0\xff",
    ):
        assert open_image(encoded(small, "JPEG", exif=broken)).size == small.size


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_only_the_first_frame_is_taken_and_said(kind: str, small: Image.Image) -> None:
    frames = [small.rotate(turn) for turn in (90, 180)]
    options: dict[str, Any] = {"lossless": True} if kind == "WEBP" else {}
    data = encoded(small, kind, save_all=True, append_images=frames, **options)
    with pytest.warns(ImageWarning, match="only (its|the) first") as caught:
        ref = open_image(data)
    assert caught[0].filename == __file__
    first = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    assert np.array_equal(pixels(ref), first)
    with pytest.warns(ImageWarning):
        assert np.array_equal(pixels(open_image(Image.open(io.BytesIO(data)))), first)


@pytest.mark.filterwarnings("error")
def test_still_pictures_give_no_warning(small: Image.Image) -> None:
    for kind in ("GIF", "WEBP", "PNG", "JPEG", "TIFF"):
        open_image(encoded(small, kind)).rgb()
    phone = encoded(small, "MPO", save_all=True, append_images=[small.resize((8, 8))])
    assert open_image(phone).media_type == "image/jpeg"


# ---- refusals -------------------------------------------------------------------------------


def test_paths_that_are_no_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "Street.jpg").write_bytes(b"")
    (tmp_path / "notes.png").write_text("Grüße, this is text\n")
    assert "Did you mean 'Street.jpg'?" in refusal(tmp_path / "street.jpeg")
    assert "There is no file" in refusal(str(tmp_path / "zzz.png"))
    assert "Its folder" in refusal(tmp_path / "nowhere" / "a.png")
    assert "There is no file" in refusal(tmp_path / "notes.png" / "a.png")
    assert "is a folder" in refusal(tmp_path)
    assert "is empty" in refusal(tmp_path / "Street.jpg")
    assert "looks like text" in refusal(tmp_path / "notes.png")
    assert "~nobody-of-that-name" in refusal("~nobody-of-that-name/a.png")
    assert "put 'data:image/png;base64,' before it" in refusal("iVBORw0KGgo" * 500)
    assert "\\x00" in refusal("a\0.png")
    assert "\x1b" not in refusal("a\x1b[31m\n.png")
    assert "is a folder" in refusal("")
    os.mkfifo(tmp_path / "pipe")
    assert "a device or a pipe" in refusal(tmp_path / "pipe")

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    assert "may not be read" in refusal(tmp_path / "notes.png")


def test_names_from_elsewhere_may_not_be_paths(tmp_path: Path, small: Image.Image) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encoded(small, "PNG"))
    existing = refusal(str(path), allow_paths=False)
    missing = refusal(str(tmp_path / "b.png"), allow_paths=False)
    assert existing.replace("a.png", "b.png") == missing  # it does not tell what is there
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
def test_other_types(source: object) -> None:
    refusal(source)


def test_arrays_of_other_shapes_and_types() -> None:
    for array in (
        np.zeros((4, 4, 3)),
        np.zeros((4, 4), bool),
        np.zeros((3, 4, 5), np.uint8),
        np.zeros(4, np.uint8),
        np.zeros((2, 4, 4, 3), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
    ):
        assert "array" in refusal(array).lower()


def test_files_that_give_no_bytes(small: Image.Image) -> None:
    assert "mode 'rb'" in refusal(io.StringIO("text"))
    closed = io.BytesIO(encoded(small, "PNG"))
    closed.close()
    assert "cannot be read" in refusal(closed)
    spent = io.BytesIO(encoded(small, "PNG"))
    spent.read()
    assert "rewind" in refusal(spent)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"<?xml version='1.0'?>\n<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"%PDF-1.7\n", "pypdfium2"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "HEIC"),
        (b"<!DOCTYPE html><title>404</title>", "web page"),
        (b"{'error': 1}", "looks like text"),
        (b"P", "looks like text"),
        (b"\0" * 100, "no known picture format"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "looks like text"),
    ],
)
def test_what_bytes_look_like(data: bytes, said: str) -> None:
    assert said in refusal(data)


def test_bounds_hold_before_decoding(
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
        assert "9,500 x 10,527 pixels" in refusal(png((9_500, 10_527), 8, 0, b""))
        ref = open_image(png((9_500, 10_000), 8, 0, b""))  # more than Pillow's own bound
        assert ref.size == (9_500, 10_000)
        with pytest.raises(ImageError, match="damaged"):
            ref.rgb()
    assert "pixels" in refusal(Image.new("1", (10_001, 10_000)))
    monkeypatch.setattr(image_bytes, "MAX_BYTES", 1000)
    large = png((1, 1), 8, 0, os.urandom(2000))
    path = tmp_path / "large.png"
    path.write_bytes(large)
    url = "data:image/png;base64," + base64.b64encode(large).decode()
    for source in (large, memoryview(large), path, io.BytesIO(large), url):
        assert "bytes" in refusal(source)
    # A program around us may set its own bound; ours holds.
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert open_image(encoded(small.quantize(4), "PNG")).rgb().size == small.size


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"exif": True}])
def test_a_jpeg_cut_anywhere_is_refused_at_once(
    options: dict[str, Any], small: Image.Image
) -> None:
    if options.get("exif"):  # whose thumbnail has an end of its own
        options = {"exif": b"Exif\0\0" + encoded(small.resize((16, 16)), "JPEG")}
    data = encoded(small, "JPEG", **options)
    assert open_image(data).size == small.size
    for length in range(1, len(data), 7):
        refusal(data[:length])
    assert "cut off" in refusal(data[:-1])


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", ["PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM"])
def test_a_cut_file_is_refused_unless_all_pixels_are_there(kind: str, small: Image.Image) -> None:
    data = encoded(small, kind)
    whole = pixels(open_image(data))
    for length in [*range(1, len(data), 13), *range(len(data) - 30, len(data))]:
        try:
            ref = open_image(data[:length])
        except ImageError as error:
            check(error)
        else:
            assert len(data) - length < 30
            assert np.array_equal(pixels(ref), whole)


def test_damage_that_only_decoding_finds() -> None:
    ref = open_image(png((40, 40), 8, 0, b"\0" * 100))
    with pytest.raises(ImageError, match="bytes is damaged or cut off"):
        ref.rgb()


@settings(max_examples=150, deadline=None)
@given(st.data())
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_any_bytes_are_a_picture_or_one_line(data: st.DataObject) -> None:
    base = Image.linear_gradient("L").resize((19, 13)).convert("RGB")
    kinds = ["", "PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "ICO", "QOI", "AVIF"]
    kind = data.draw(st.sampled_from(kinds))
    content = bytearray(encoded(base, kind) if kind else data.draw(st.binary(max_size=300)))
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
def test_any_text_is_refused_in_one_line(text: str, allow_paths: bool) -> None:
    for source in (f"no-such-folder/{text}", f"data:{text}", f"x-{text}://{text}"):
        refusal(source, allow_paths=allow_paths)


def test_many_threads(small: Image.Image) -> None:
    ref, plain = open_image(encoded(small, "JPEG")), open_image(small)
    expected = pixels(ref)

    def work(_: int) -> bytes:
        assert np.array_equal(pixels(ref), expected)
        assert open_image(ref.data) == ref
        return plain.data

    with ThreadPoolExecutor(6) as pool:
        assert len(set(pool.map(work, range(60)))) == 1


# ---- what the model is fed ------------------------------------------------------------------


def official_pixels(image: Image.Image, size: int) -> NDArray[np.float32]:
    """Pad and resize as the official code does (llava/mm_utils.py, expand2square; CLIP)."""
    mean = [0.48145466, 0.4578275, 0.40821073]
    std = [0.26862954, 0.26130258, 0.27577711]
    width, height = image.size
    side = max(width, height)
    square = Image.new("RGB", (side, side), tuple(int(value * 255) for value in mean))
    square.paste(image, ((side - width) // 2, (side - height) // 2))
    resized = square.resize((size, size), Image.Resampling.BICUBIC)
    scaled = (np.asarray(resized).astype(np.float64) * (1 / 255)).astype(np.float32)
    normed = (scaled - np.array(mean, np.float32)) / np.array(std, np.float32)
    return np.asarray(normed.transpose(2, 0, 1), np.float32)


@pytest.mark.parametrize("size", [336, 112])
def test_preprocessing_equals_the_official_one_bit_for_bit(size: int, photo: Image.Image) -> None:
    from sklearn.datasets import load_sample_images
    from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil

    flower = Image.fromarray(load_sample_images().images[1])
    processor = LlavaImageProcessorPil(
        do_pad=True,
        size={"shortest_edge": size},
        crop_size={"height": size, "width": size},
        image_mean=[0.48145466, 0.4578275, 0.40821073],
        image_std=[0.26862954, 0.26130258, 0.27577711],
    )
    shapes = [
        (640, 427),
        (427, 640),
        (1, 1),
        (3, 200),
        (200, 3),
        (900, 40),
        (size, size),
        (641, 428),
    ]
    for image in [photo, flower, *(flower.resize(shape) for shape in shapes)]:
        ref = open_image(encoded(image, "JPEG", quality=92))
        expected = official_pixels(Image.open(io.BytesIO(ref.data)).convert("RGB"), size)
        given = processor(images=ref.rgb(), return_tensors="np")["pixel_values"][0]
        assert given.dtype == np.float32
        assert np.array_equal(given, expected), image.size
