"""Mutated images of every format: each is an image, or one error of one line.

python -m tests.hardening.images 20000 [--seed 0]
"""

from __future__ import annotations

import argparse
import io
import random
import sys
import warnings
from collections import Counter

from PIL import Image

from llava_tools.errors import ImageError
from llava_tools.images import open_image
from llava_tools.images.validation import FORMATS

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


def main() -> None:
    """Try mutated images, and print how many were images and how many errors."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng, files = random.Random(arguments.seed), samples()
    counts: Counter[str] = Counter()
    for number in range(arguments.count):
        data = mutate(files[number % len(files)], rng)
        try:
            counts[outcome(data)] += 1
        except Exception:
            sys.stderr.write(f"number {number}: {data!r}\n")
            raise
    sys.stdout.write(f"{dict(counts)}\n")


if __name__ == "__main__":
    main()
