"""Mutated images of every format: each is an image, or one error of one line."""

from __future__ import annotations

import io
import random
import warnings
from functools import partial

from PIL import Image

from llava_tools.errors import ImageError
from llava_tools.images import open_image
from llava_tools.images.validation import FORMATS
from tests.hardening.attack import Attack, Tally

_INTERESTING = (0, 1, 0x7F, 0x80, 0xFF)


def samples() -> list[bytes]:
    """Return small files of every format that Pillow writes here, in several modes."""
    Image.init()
    noise = Image.effect_noise((33, 21), 90)
    colour = Image.merge("RGB", (noise, noise.rotate(180), noise.transpose(Image.Transpose(0))))
    clear = colour.copy()
    clear.putalpha(noise)
    exif = Image.Exif()
    exif[0x0112] = 6
    variants: list[tuple[str, Image.Image, dict[str, object]]] = [
        *((codec, colour, {}) for codec in FORMATS if codec in Image.SAVE),
        ("JPEG", colour, {"progressive": True, "exif": exif}),
        ("JPEG", colour.convert("CMYK"), {}),
        ("PNG", clear, {"exif": exif}),
        ("PNG", colour.quantize(16), {}),
        ("PNG", noise.convert("I;16"), {}),
        ("WEBP", clear, {"lossless": True}),
        ("GIF", colour, {"save_all": True, "append_images": [noise]}),
        ("TIFF", colour, {"compression": "tiff_lzw", "save_all": True, "append_images": [noise]}),
        ("TIFF", noise.convert("1"), {"compression": "group4"}),
        ("TIFF", noise.convert("F"), {}),
        ("TIFF", colour, {"compression": "jpeg"}),
        ("BMP", noise.convert("1"), {}),
        ("PPM", noise.convert("I"), {}),
        ("JPEG2000", clear, {}),
    ]
    files = []
    for codec, image, options in variants:
        buffer = io.BytesIO()
        image.save(buffer, codec, **options)
        files.append(buffer.getvalue())
    return files


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Change some bytes, most of them near the beginning, or cut, repeat or insert some."""
    mutated = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        position = min(int(rng.expovariate(1 / 60)), len(mutated) - 1)
        if rng.random() < 0.3:
            position = rng.randrange(len(mutated))
        match rng.randrange(6):
            case 0 | 1:
                mutated[position] = rng.choice((*_INTERESTING, rng.randrange(256)))
            case 2:
                width = rng.choice((2, 4))
                number = rng.choice((0, 1, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, rng.getrandbits(32)))
                value = (number % (1 << 8 * width)).to_bytes(width, rng.choice(("big", "little")))
                mutated[position : position + width] = value
            case 3:
                del mutated[position : position + rng.choice((1, 2, 8))]
            case 4:
                length = rng.randrange(1, 64)
                piece = mutated[position : position + length]
                mutated[position:position] = piece * rng.choice((1, 2, 50))
            case _:
                mutated[position:position] = rng.randbytes(rng.randrange(1, 8))
        if not mutated:
            return b""
    return bytes(mutated[: rng.randrange(len(mutated))]) if rng.random() < 0.1 else bytes(mutated)


def outcome(data: bytes) -> str:
    """Open and decode a file; return "image" or "error". Anything but an `ImageError` is raised."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ref = open_image(data)
            with ref.decoded() as image:
                if image.mode != "RGB" or image.size != ref.size:
                    raise AssertionError(f"{ref.size}, {image.mode} {image.size}")
    except ImageError as error:
        if len(str(error).splitlines()) != 1 or len(str(error)) > 500:
            raise AssertionError(str(error)) from error
        return "error"
    return "image"


def attack(count: int, seed: int) -> Tally:
    """Open mutated images of every format in turn."""
    rng, files, tally = random.Random(seed), samples(), Tally()
    for number in range(count):
        data = mutate(files[number % len(files)], rng)
        tally.add(partial(outcome, data), f"number {number}, seed {seed}: {data!r}")
    return tally


ATTACK = Attack(
    "images", "files of every image format with bytes changed, cut or repeated", attack, 20_000, 600
)
