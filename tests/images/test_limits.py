"""Images that would take too much time or memory are refused by their headers."""

from __future__ import annotations

import io
import struct
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import pytest
from PIL import Image

from llava_tools.images import limits, open_image
from llava_tools.images.containers import MAX_PARTS, jpeg_scans
from llava_tools.images.limits import DecodeLimit
from tests.handmade_images import pixels, png, refusal
from tests.strategies import encoded

MANY = MAX_PARTS + 1_000


def chunk(kind: bytes, content: bytes = b"") -> bytes:
    checksum = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + checksum


def stuffed(codec: str, part: bytes, begin: int, *, count: int = MANY) -> bytes:
    """Return an image with many copies of a part at a position."""
    data = encoded(Image.new("RGB" if codec != "GIF" else "P", (8, 8)), codec)
    return data[:begin] + part * count + data[begin:]


GIF_BEGIN = 13 + 3 * 256  # behind the header and a palette of 256 colours


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (stuffed("JPEG", b"\xff\xfe\0\3x", 2), "parts"),
        (stuffed("JPEG", b"\xff\xe5\0\3x", 2), "parts"),
        (stuffed("JPEG", b"\xff\xe1\xfd\xf0Exif\0\0" + bytes(65_000), 2, count=250), "metadata"),
        (stuffed("PNG", chunk(b"tEXt", b"a\0b"), 33), "parts"),
        (stuffed("PNG", chunk(b"prVt"), 33), "parts"),
        (stuffed("PNG", chunk(b"IDAT"), 33), "parts"),
        (b"P6 " + b"#\n" * MANY + b"2 2 255\n" + bytes(12), "header"),
        (b"P3 1 1 255\n" + b"1 " * MANY, "text"),
        (b"P6 1200 1000 254\n" + bytes(3_600_000), "1,200 x 1,000 pixels"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_containers_that_take_long_to_parse_are_refused(data: bytes, reason: str) -> None:
    assert reason in refusal(data)


@pytest.mark.parametrize("part", [b"\x21\xfe\x01x\x00", b"\x21\xf9\x04\0\0\0\0\0"])
def test_a_gif_of_extensions_is_refused(part: bytes) -> None:
    image = Image.effect_noise((16, 16), 90).quantize(256)
    data = encoded(image, "GIF")
    begin = 13 + (3 << (data[10] % 8 + 1))
    assert open_image(data).size == (16, 16)
    assert "parts" in refusal(data[:begin] + part * MANY + data[begin:])


def test_a_jpeg_2000_of_boxes_is_refused() -> None:
    data = encoded(Image.new("RGB", (8, 8)), "JPEG2000")
    begin = data.index(b"jp2h") - 4
    box = struct.pack(">I4s", 8, b"free")
    assert open_image(data[:begin] + box * 10 + data[begin:]).size == (8, 8)
    assert "parts" in refusal(data[:begin] + box * MANY + data[begin:])


@pytest.mark.parametrize("parts", [0, 1_000])
def test_ordinary_metadata_is_read(parts: int) -> None:
    for data in (
        stuffed("JPEG", b"\xff\xfe\0\3x", 2, count=parts),
        stuffed("PNG", chunk(b"tEXt", b"a\0b"), 33, count=parts),
        b"P6 # by hand\n" + b"#\n" * parts + b" 2\n2\n255\n" + bytes(12),
        b"P5 2 2 65535 " + bytes(8),
        b"P4 # bits\n8 2\n" + bytes(2),
        b"P6 2 2 63\n" + bytes(12),
    ):
        assert open_image(data).rgb().size in ((8, 8), (2, 2), (8, 2))


def webp(width: int, height: int) -> bytes:
    """Return the header of a lossless WebP."""
    bits = (width - 1) | (height - 1) << 14
    stream = b"\x2f" + struct.pack("<I", bits) + b"\x88\x88\x08"
    content = b"WEBPVP8L" + struct.pack("<I", len(stream)) + stream
    return b"RIFF" + struct.pack("<I", len(content)) + content


def test_formats_whose_decoders_take_more_memory_have_lower_limits() -> None:
    assert "the limit is 64,000,000" in refusal(png((8_000, 8_001), 8, 0, b""))
    assert "the limit is 30,000,000" in refusal(webp(6_000, 5_001))
    jp2 = encoded(Image.new("L", (9, 9)), "JPEG2000")
    large = jp2.replace(struct.pack(">II", 9, 9), struct.pack(">II", 5_000, 5_000))
    assert "the limit is 24,000,000" in refusal(large)


@pytest.mark.parametrize("codec", ["ICO", "QOI"])
def test_formats_that_cannot_be_bounded_are_not_read(codec: str) -> None:
    Image.init()
    if codec not in Image.SAVE:
        pytest.skip("This Pillow does not write it.")
    assert "no known image format" in refusal(encoded(Image.new("RGB", (16, 16)), codec))


def jpeg(size: tuple[int, int], **options: object) -> bytes:
    return encoded(Image.new("RGB", size, "red"), "JPEG", **options)


def test_scans_of_a_jpeg_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    data = jpeg((100, 80), progressive=True)
    scan = data[data.rfind(b"\xff\xda") : -2]
    assert jpeg_scans(jpeg((8, 8))) == 1
    assert jpeg_scans(data) == 10
    many = data[:-2] + scan * 90 + data[-2:]
    assert jpeg_scans(many) == 100
    monkeypatch.setattr(limits, "_MAX_SCANNED", 100 * 100 * 80)
    assert open_image(many).rgb().size == (100, 80)
    assert "in 101 scans" in refusal(data[:-2] + scan * 91 + data[-2:])


@pytest.mark.parametrize(("subsampling", "bytes_"), [(0, 48_000), (2, 24_000)])
def test_coefficients_of_a_progressive_jpeg_are_bounded(
    subsampling: int, bytes_: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = jpeg((100, 80), progressive=True, subsampling=subsampling)
    monkeypatch.setattr(limits, "_MAX_COEFFICIENTS", bytes_)
    assert open_image(data).size == (100, 80)
    monkeypatch.setattr(limits, "_MAX_COEFFICIENTS", bytes_ - 1)
    assert "progressive" in refusal(data)
    assert open_image(jpeg((100, 80), subsampling=subsampling)).size == (100, 80)


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_large_jpeg_is_decoded_at_half_its_size(
    orientation: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "_WHOLE_JPEG", 100 * 80)
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert open_image(jpeg((100, 80), exif=exif)).size in ((100, 80), (80, 100))
    ref = open_image(jpeg((101, 81), exif=exif))
    assert ref.size == ((51, 41) if orientation == 1 else (41, 51))
    assert ref.rgb().size == ref.size
    assert np.abs(pixels(ref).astype(int) - (254, 0, 0)).max() <= 1


def test_a_gif_whose_frame_exceeds_its_screen_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    data = bytearray(encoded(Image.new("P", (60, 50)), "GIF"))
    data[6:10] = struct.pack("<HH", 2, 2)
    monkeypatch.setattr(limits, "MAX_PIXELS", 2_999)
    assert "60 x 50 pixels" in refusal(bytes(data))


def test_transparent_images_are_composed_in_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    image = Image.fromarray(generator.integers(0, 256, (37, 23, 4), dtype=np.uint8), "RGBA")
    whole = pixels(open_image(encoded(image, "PNG")))
    monkeypatch.setattr("llava_tools.images.pixels._STRIP_PIXELS", 100)
    assert np.array_equal(pixels(open_image(encoded(image, "PNG"))), whole)


def test_an_opened_image_does_not_share_pixels_with_its_source() -> None:
    source = Image.new("RGB", (2, 2), "red")
    ref = open_image(source)
    source.putpixel((0, 0), (0, 0, 0))
    assert ref.rgb().getpixel((0, 0)) == (255, 0, 0)
    ref.rgb().putpixel((0, 0), (0, 0, 0))
    assert ref.rgb().getpixel((0, 0)) == (255, 0, 0)
    buffer = io.BytesIO(encoded(Image.new("RGB", (2, 2), "red"), "PNG"))
    file = Image.open(buffer)
    ref = open_image(file)
    file.putpixel((0, 0), (0, 0, 0))
    assert ref.rgb().getpixel((0, 0)) == (255, 0, 0)


# ---- what is decoded at a time -------------------------------------------------------------------


def test_small_images_do_not_wait_for_large_ones() -> None:
    limit = DecodeLimit()
    with limit.hold((8_000, 8_000)), limit.hold((100, 100)), limit.hold((4_000, 4_000)):
        pass


def test_large_images_are_decoded_one_at_a_time() -> None:
    limit, order = DecodeLimit(), list[str]()
    started, release = threading.Event(), threading.Event()

    def first() -> None:
        with limit.hold((8_000, 8_000)):
            started.set()
            release.wait()
            order.append("first")

    def second() -> None:
        with limit.hold((8_000, 8_000)):
            order.append("second")

    with ThreadPoolExecutor(2) as threads:
        one = threads.submit(first)
        started.wait()
        two = threads.submit(second)
        release.set()
        one.result()
        two.result()
    assert order == ["first", "second"]


def test_small_images_wait_for_room_and_give_it_back_after_an_error() -> None:
    limit, held, most = DecodeLimit(), list[int](), list[int]()

    def decode(_: int) -> None:
        with suppress(ValueError), limit.hold((4_000, 4_000)):
            held.append(1)
            most.append(len(held))
            held.pop()
            raise ValueError("damaged")

    with ThreadPoolExecutor(16) as threads:
        list(threads.map(decode, range(200)))
    assert max(most) <= limits.MAX_PIXELS // 16_000_000
    with limit.hold((4_000, 4_000)):
        pass
