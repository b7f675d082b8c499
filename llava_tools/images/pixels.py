"""Converts decoded images to the pixels that a viewer shows: upright, over white, 8-bit RGB."""

from __future__ import annotations

from typing import cast

from PIL import Image

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def as_shown(image: Image.Image, orientation: int) -> Image.Image:
    """Return a new image with the 8-bit RGB pixels that a viewer shows."""
    image.load()
    if image.mode == "LAB":
        shown = _lab_to_rgb(image)
    elif image.mode == "F" or image.mode.startswith("I"):
        shown = _grey_to_8_bit(image).convert("RGB")
    elif image.has_transparency_data:
        over = image.convert("LA") if image.mode == "La" else image
        shown = Image.new("RGBA", image.size, "white")
        shown.alpha_composite(over.convert("RGBA"))
        shown = shown.convert("RGB")
    else:
        shown = image.convert("RGB")
    if orientation in _UPRIGHT:
        shown = shown.transpose(_UPRIGHT[orientation])
    shown.info = {}  # with an orientation in it, the image would be turned a second time
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

    Values within 0..65535 (0..1 for floats) are scaled from that range, others from their own.
    """
    key = image.info.get("transparency")
    if image.mode.startswith("I;16"):
        image = image.convert("I")
    low, high = cast(tuple[float, float], image.getextrema())
    if image.mode == "I" and low >= 0 and high <= 65535:
        table = [round(value / 257) for value in range(65536)]
        if isinstance(key, int) and 0 <= key <= 65535:
            table[key] = 255  # PNG's transparent grey, over white
        return image.point(table, "L")
    if image.mode == "F" and low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    scale = 255 / (high - low) if high > low else 0.0
    if image.mode == "I":
        image = image.convert("F")
    return image.point(lambda value: value * scale + (0.5 - low * scale)).convert("L")


def _lab_to_rgb(image: Image.Image) -> Image.Image:
    from PIL import ImageCms  # rarely needed, and loads another library

    to_srgb = ImageCms.buildTransform(
        ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), "LAB", "RGB"
    )
    return cast(Image.Image, ImageCms.applyTransform(image, to_srgb))
