"""The worst images that are read stay in bounds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.hardening.images import attack


def test_some_mutated_images_are_read_and_some_refused() -> None:
    outcomes = attack(300, 1).outcomes
    assert outcomes["image"] > 20
    assert outcomes["error"] > 20


#: Decodes the file that it is called with, and prints by how many MB its memory grew.
DECODE = """
import resource, sys
from llava_tools.images import open_image
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with open_image(sys.argv[1]).decoded() as image:
    pass
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


_TURNED = Image.Exif()
_TURNED[0x0112] = 6
_PNG = {"exif": _TURNED, "compress_level": 1}
#: Images of the most pixels that their formats may have: mode, side, colour, options to save them.
WORST: dict[str, tuple[str, int, object, dict[str, object]]] = {
    "rgb.png": ("RGB", 8_000, "red", _PNG),
    "rgba.png": ("RGBA", 8_000, (1, 2, 3, 9), _PNG),
    "grey16.png": ("I;16", 8_000, 700, _PNG),
    "cmyk.tif": ("CMYK", 8_000, (1, 2, 3, 4), {"compression": "tiff_lzw"}),
    "half.jpg": ("RGB", 14_100, "red", {"exif": _TURNED}),
    "cmyk.jpg": ("CMYK", 6_300, (1, 2, 3, 4), {"exif": _TURNED}),
    "progressive.jpg": ("RGB", 8_100, "red", {"progressive": True, "subsampling": 0}),
    "lossless.webp": ("RGBA", 5_470, (1, 2, 3, 9), {"lossless": True, "method": 0}),
    "rgba.jp2": ("RGBA", 4_890, (1, 2, 3, 9), {}),
    "frame.gif": ("P", 8_000, 4, {"transparency": 4}),
}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="macOS counts bytes, Windows nothing")
@pytest.mark.parametrize("name", WORST)
def test_the_worst_image_takes_less_than_600_mb(name: str, tmp_path: Path) -> None:
    mode, side, colour, options = WORST[name]
    Image.new(mode, (side, side), colour).save(tmp_path / name, **options)
    done = subprocess.run(
        [sys.executable, "-c", DECODE, str(tmp_path / name)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert int(done.stdout) <= 600
