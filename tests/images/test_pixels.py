"""Images are decoded as a viewer shows them, and preprocessed as the official code does."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

from llava_tools.errors import ImageError
from llava_tools.images import ImageWarning, open_image
from tests.handmade_images import Pixels, pixels, png
from tests.strategies import encoded

# ---- decoding ------------------------------------------------------------------------------------


def test_ordinary_files_decode_as_in_the_official_code(
    photo: Image.Image, small: Image.Image
) -> None:
    files = [encoded(photo, "JPEG", quality=90), encoded(photo, "PNG")]
    files += [encoded(small.convert(mode), "JPEG") for mode in ("L", "RGB")]
    files += [encoded(small, codec) for codec in ("WEBP", "BMP", "TIFF", "PPM", "GIF")]
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
def test_pixels_of_each_mode(image: Image.Image, expected: NDArray[Any], tolerance: float) -> None:
    codec = "PNG" if image.mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16") else "TIFF"
    if image.mode == "YCbCr":  # before Pillow 13 its TIFF writer leaves such files incomplete
        codec = "JPEG"
    for source in (image, encoded(image, codec)):
        shown = pixels(open_image(source)).astype(float)
        assert shown.shape == expected.shape
        assert np.abs(shown - expected).max() <= tolerance


@pytest.mark.parametrize("place", [0, 17, 34])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(("low", "high"), [(0, 1), (-2000, 5000), (0.25, 0.5)])
def test_floats_are_scaled_by_their_finite_values(
    low: float, high: float, value: float, place: int
) -> None:
    floats = np.linspace(low, high, 35, dtype=np.float32).reshape(5, 7)
    begin, end = (low, high) if low < 0 else (0, 1)
    expected = (floats - begin) / (end - begin) * 255
    floats.flat[place] = value
    expected.flat[place] = 255 if value == np.inf else 0
    if place in (0, 34) and low < 0:  # an end of the range is gone
        rest = np.delete(floats.ravel(), place)
        expected = (floats - rest.min()) / (rest.max() - rest.min()) * 255
        expected.flat[place] = 255 if value == np.inf else 0
    image = Image.fromarray(floats)
    for source in (image, encoded(image, "TIFF")):
        assert np.abs(pixels(open_image(source)) - grey3(expected)).max() <= 0.51


def test_finite_values_may_be_all_equal() -> None:
    floats = np.array([[np.nan, 7.0, np.inf]], np.float32)
    assert pixels(open_image(Image.fromarray(floats)))[0, :, 0].tolist() == [0, 0, 0]


@pytest.mark.parametrize("values", [[np.nan] * 4, [np.inf] * 4, [np.nan, np.inf, -np.inf, np.nan]])
def test_floats_without_a_finite_value_are_no_image(values: list[float]) -> None:
    image = Image.fromarray(np.array([values], np.float32))
    with pytest.raises(ImageError, match="none of its values is a finite number"):
        open_image(image)
    with pytest.raises(ImageError, match="none of its values is a finite number"):
        open_image(encoded(image, "TIFF")).rgb()


def test_transparent_palettes_are_shown_over_white() -> None:
    palette, index, alpha = ramp(256, 3), ramp(5, 7), ramp(256)
    image = Image.fromarray(index)
    image.putpalette(palette.tobytes())
    shown = pixels(open_image(encoded(image, "PNG", transparency=alpha.tobytes())))
    assert np.abs(shown - over_white(palette[index], alpha[index])).max() <= 1
    for codec in ("PNG", "GIF"):
        shown = pixels(open_image(encoded(image, codec, transparency=int(index[2, 3]))))
        expected = palette[index]
        expected[index == index[2, 3]] = 255
        assert np.array_equal(shown, expected)


def test_transparent_colour_of_each_bit_depth() -> None:
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
@pytest.mark.parametrize("codec", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_exif_orientations(codec: str, orientation: int, small: Image.Image) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.asarray(Image.open(io.BytesIO(encoded(small, codec))).convert("RGB"))
    expected = TURNS[orientation](stored)
    data = encoded(small, codec, exif=exif)
    for ref in (open_image(data), open_image(Image.open(io.BytesIO(data)))):
        assert ref.size == (expected.shape[1], expected.shape[0])
        assert np.array_equal(pixels(ref), expected)
        assert ImageOps.exif_transpose(ref.rgb()).size == ref.size  # nothing left to turn
    # An image that the caller has changed is not turned again.
    turned = Image.open(io.BytesIO(data)).rotate(90, expand=True)
    assert np.array_equal(pixels(open_image(turned)), np.asarray(turned))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF:UserWarning")
def test_late_and_damaged_exif(small: Image.Image) -> None:
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


@pytest.mark.parametrize("codec", ["GIF", "WEBP", "PNG", "TIFF"])
def test_animation_uses_its_first_frame_and_warns(codec: str, small: Image.Image) -> None:
    frames = [small.rotate(turn) for turn in (90, 180)]
    options: dict[str, Any] = {"lossless": True} if codec == "WEBP" else {}
    data = encoded(small, codec, save_all=True, append_images=frames, **options)
    with pytest.warns(ImageWarning, match="only (its|the) first") as caught:
        ref = open_image(data)
    assert caught[0].filename == __file__
    first = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    assert np.array_equal(pixels(ref), first)
    with pytest.warns(ImageWarning):
        assert np.array_equal(pixels(open_image(Image.open(io.BytesIO(data)))), first)


@pytest.mark.filterwarnings("error")
def test_still_image_gives_no_warning(small: Image.Image) -> None:
    for codec in ("GIF", "WEBP", "PNG", "JPEG", "TIFF"):
        open_image(encoded(small, codec)).rgb()
    phone = encoded(small, "MPO", save_all=True, append_images=[small.resize((8, 8))])
    assert open_image(phone).media_type == "image/jpeg"


# ---- preprocessing -------------------------------------------------------------------------------


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
    from sklearn.datasets import load_sample_images  # type: ignore[import-untyped]
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
        values = processor(images=ref.rgb(), return_tensors="np")["pixel_values"][0]
        assert values.dtype == np.float32
        assert np.array_equal(values, expected), image.size
