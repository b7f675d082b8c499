"""Fonts to draw with, from Pillow (Aileron) and from packages of the extra `dev`."""

from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path

from PIL import ImageFont

from llava_tools.errors import MissingExtraError

_FOLDERS = {
    "matplotlib": "mpl-data/fonts/ttf",  # DejaVu, STIX and Computer Modern
    "font_roboto": "files",
    "font_source_sans_pro": "files",
    "font_source_serif_pro": "files",
}
#: Fonts of training images; a repeated name is used more often.
TRAINED = (
    "Aileron", "Aileron", "Aileron", "DejaVuSans", "DejaVuSans", "DejaVuSans", "DejaVuSans-Bold",
    "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSansMono", "DejaVuSansMono-Bold", "DejaVuSerif",
    "DejaVuSerif-Bold", "DejaVuSerif-Italic", "cmr10", "cmss10", "cmb10", "SourceSansPro-Regular",
    "SourceSansPro-Regular", "SourceSansPro-Bold", "SourceSansPro-It", "SourceSansPro-Light",
    "SourceSansPro-Black", "SourceSansPro-Semibold", "SourceSerifPro-Regular",
    "SourceSerifPro-Bold", "SourceSerifPro-It", "SourceSerifPro-Semibold",
)  # fmt: skip
#: Fonts that only evaluation draws with.
HELD_OUT = (
    "Roboto-Regular", "Roboto-Medium", "Roboto-Bold", "Roboto-Italic", "STIXGeneral",
    "STIXGeneralBol", "cmtt10",
)  # fmt: skip


@lru_cache(maxsize=4096)
def font(name: str, size: int) -> ImageFont.FreeTypeFont:
    """Return a font, `size` pixels to the em; `MissingExtraError` if its package is missing."""
    if name != "Aileron":
        return ImageFont.truetype(str(_files()[name]), size)
    found = ImageFont.load_default(size)
    assert isinstance(found, ImageFont.FreeTypeFont)
    return found


@cache
def capital(name: str) -> float:
    """Return the height of a capital letter in ems."""
    _, top, _, bottom = font(name, 200).getbbox("H")
    return (bottom - top) / 200


@cache
def _files() -> dict[str, Path]:
    found: dict[str, Path] = {}
    for package, folder in _FOLDERS.items():
        spec = find_spec(package)
        if spec is None or spec.origin is None:
            raise MissingExtraError(package, "dev")
        files = sorted((Path(spec.origin).parent / folder).glob("*.*tf"))
        found |= {path.stem: path for path in files}  # rather .ttf than .otf
    return found
