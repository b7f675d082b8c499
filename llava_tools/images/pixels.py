"""Converts decoded images to the pixels that a viewer shows: upright, over white, 8-bit RGB."""

from __future__ import annotations

import math
from typing import cast

from PIL import Image, ImageMath

#: Pixels that are composed at a time.
_STRIP_PIXELS = 1 << 22

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def as_rgb(image: Image.Image) -> Image.Image:
    """Return the pixels over white, in 8-bit RGB: the image itself if it has such pixels."""
    image.load()
    if image.mode == "LAB":
        shown = _lab_to_rgb(image)
    elif image.mode == "F" or image.mode.startswith("I"):
        shown = _grey_to_8_bit(image).convert("RGB")
    elif image.has_transparency_data:
        shown = _over_white(image.convert("LA") if image.mode == "La" else image)
    else:
        shown = image if image.mode == "RGB" else image.convert("RGB")
    shown.info = {}  # with an orientation in it, the image would be turned a second time
    return shown


def upright(image: Image.Image, orientation: int) -> Image.Image:
    """Turn an image by its EXIF orientation, 1 (which is upright) to 8."""
    return image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image


def _over_white(image: Image.Image) -> Image.Image:
    """Return a transparent image over white; strip by strip, since a whole copy takes memory."""
    shown = Image.new("RGB", image.size)
    height = max(1, _STRIP_PIXELS // image.width)
    for top in range(0, image.height, height):
        strip = image.crop((0, top, image.width, min(top + height, image.height)))
        white = Image.new("RGBA", strip.size, "white")
        white.alpha_composite(strip.convert("RGBA"))
        shown.paste(white.convert("RGB"), (0, top))
    return shown


def scale_colour_key(image: Image.Image, data: bytes) -> None:
    """Scale a PNG's transparent colour to 8 bits; Pillow scales only the pixels."""
    key = image.info.get("transparency")
    if image.format != "PNG" or key is None:
        return
    depth = data[24]  # in the header chunk, which always comes first
    if image.mode == "L" and depth in (2, 4):
        image.info["transparency"] = key * (255 // (2**depth - 1))
    elif image.mode == "RGB" and depth == 16:
        image.info["transparency"] = tuple(value >> 8 for value in key)


def _grey_to_8_bit(image: Image.Image) -> Image.Image:
    """Scale 16-bit, 32-bit and float greyscale to 8 bit; Pillow's `convert` would clip it.

    Values within 0..65535 (0..1 for floats) are scaled from that range, others from their own. Of
    floats only finite ones count: NaN is shown black, infinities black or white.
    """
    key = image.info.get("transparency")
    if image.mode == "F":
        return _float_to_8_bit(image)
    if image.mode.startswith("I;16"):
        image = image.convert("I")
    low, high = _extrema(image)
    if low < 0 or high > 65535:
        return _scale(image.convert("F"), low, high)
    table = [round(value / 257) for value in range(65536)]
    if isinstance(key, int) and 0 <= key <= 65535:
        table[key] = 255  # PNG's transparent grey, over white
    return image.point(table, "L")


def _float_to_8_bit(image: Image.Image) -> Image.Image:
    mean = cast(float, image.reduce(image.size).getpixel((0, 0)))
    all_finite = math.isfinite(mean)
    low, high = _extrema(image) if all_finite else _finite_extrema(image)
    if low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    if not all_finite:  # `max` of a NaN and a number is the number
        image = ImageMath.lambda_eval(lambda a: a["min"](a["max"](a["i"], low), high), i=image)
    return _scale(image, low, high)


def _finite_extrema(image: Image.Image) -> tuple[float, float]:
    """Return the least and the largest finite value of a float image.

    Raises:
        ValueError: It has none.
    """
    finite = ImageMath.lambda_eval(lambda a: a["i"] - a["i"] == 0, i=image)
    mask = finite.convert("L").point(lambda value: 255 * value)
    box = mask.getbbox()
    if box is None:
        raise ValueError("none of its values is a finite number")
    top = box[1]
    left, *_ = cast(tuple[int, ...], mask.crop((0, top, image.width, top + 1)).getbbox())
    filled = Image.new("F", image.size, cast(float, image.getpixel((left, top))))
    filled.paste(image, mask=mask)
    return _extrema(filled)


def _extrema(image: Image.Image) -> tuple[float, float]:
    return cast(tuple[float, float], image.getextrema())


def _scale(image: Image.Image, low: float, high: float) -> Image.Image:
    """Scale a float image to 8 bit, `low` to 0 and `high` to 255."""
    scale = 255 / (high - low) if high > low else 0.0
    return image.point(lambda value: value * scale + (0.5 - low * scale)).convert("L")


def _lab_to_rgb(image: Image.Image) -> Image.Image:
    from PIL import ImageCms  # rarely needed, and loads another library

    to_srgb = ImageCms.buildTransform(
        ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), "LAB", "RGB"
    )
    return cast(Image.Image, ImageCms.applyTransform(image, to_srgb))
