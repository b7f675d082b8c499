"""Images to the pixels that a vision tower was trained on.

CLIP: images are padded to a square with the mean color, as in the training of LLaVA 1.5 and of the
models made like it. The processors of the released checkpoints crop instead, which loses the edges
of a page or a wide photograph. SigLIP: images are squashed to the square, as its processors do.
Mean, standard deviation and resampling are the checkpoint's own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers.image_utils import PILImageResampling
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil
from transformers.utils import IMAGE_PROCESSOR_NAME, PROCESSOR_NAME

from llava_tools.engine import vision_tower
from llava_tools.engine.loading.checkpoint_files import AGAIN
from llava_tools.engine.loading.json_file import read_object
from llava_tools.errors import ImageError, ModelError
from llava_tools.images import ImageRef

ImageProcessor = LlavaImageProcessorPil | SiglipImageProcessorPil

#: The longest side of an image that is padded; the time to do so grows with its square.
MAX_SIDE = 65_535

#: Pixels that are padded at once: 64 MiB in Pillow's layout.
_STRIP_PIXELS = 1 << 24


def image_processor(folder: Path, vision: Any) -> ImageProcessor:
    """Return the image processor for a checkpoint's vision tower, whose configuration is `vision`.

    `folder` may lack processor files: then the defaults of the tower's kind apply. A SigLIP tower
    whose settings have `do_pad` gets padded images, too.

    Raises:
        ModelError: A processor file is damaged, or has a setting that makes no sense.
    """
    is_siglip = vision.model_type == vision_tower.SIGLIP
    square = {"height": vision.image_size, "width": vision.image_size}
    settings = _settings(folder)
    own: dict[str, Any] = {name: settings[name] for name in _CHECKS if name in settings}
    if is_siglip and not settings.get("do_pad"):
        return SiglipImageProcessorPil(**own, size=square)
    if is_siglip:
        siglip = SiglipImageProcessorPil
        own = {"image_mean": siglip.image_mean, "image_std": siglip.image_std, **own}
    shortest = {"shortest_edge": vision.image_size}
    return LlavaImageProcessorPil(**own, do_pad=True, size=shortest, crop_size=square)


def preprocess(processor: ImageProcessor, images: Sequence[ImageRef]) -> torch.Tensor:
    """Return pixels, float32 [images, 3, size, size], as the models' official code prepares them.

    Images are padded or squashed to a square, resized and normalized: bit for bit what `processor`
    does alone, with less memory.

    Raises:
        ImageError: An image turns out to be damaged when it is decoded, or is too long.
    """
    batch = processor([_square(image, processor) for image in images], return_tensors="pt")
    pixels: torch.Tensor = batch["pixel_values"]
    return pixels


def _square(ref: ImageRef, processor: ImageProcessor) -> Image.Image:
    """Return an image at the size that the processor wants, so that it need not resize it.

    Pillow resizes all rows first, then all columns. So padded rows can be resized strip by strip,
    and the whole padded image, 6 GB for a screenshot of 1,080 x 40,000 pixels, is never built.
    """
    image, resample = ref.rgb(), processor.resample
    if isinstance(processor, SiglipImageProcessorPil):
        return image.resize((processor.size["width"], processor.size["height"]), resample)
    size, side, color = processor.size["shortest_edge"], max(image.size), _background(processor)
    if side > MAX_SIDE:
        raise ImageError(
            f"{ref.source} has {image.width:,} x {image.height:,} pixels; a side may have "
            f"{MAX_SIDE:,}.",
            "Cut it into parts.",
        )
    left, top = ((side - length) // 2 for length in image.size)
    columns = Image.new("RGB", (size, side), color)
    height = max(1, _STRIP_PIXELS // side)
    for start in range(0, image.height, height):
        rows = image.crop((0, start, image.width, min(start + height, image.height)))
        strip = Image.new("RGB", (side, rows.height), color)
        strip.paste(rows, (left, 0))
        columns.paste(strip.resize((size, rows.height), resample), (0, top + start))
    return columns.resize((size, size), resample)


def _background(processor: LlavaImageProcessorPil) -> tuple[int, ...]:
    return tuple(int(value * 255) for value in processor.image_mean)


def _settings(folder: Path) -> dict[str, Any]:
    """Return the image processor's settings; like transformers, `processor_config.json` wins."""
    path = folder / PROCESSOR_NAME
    settings = _read(path).get("image_processor")
    if settings is None:
        path = folder / IMAGE_PROCESSOR_NAME
        settings = _read(path)
    if not isinstance(settings, dict):
        raise _invalid(path, "image_processor", settings)
    settings = {name: value for name, value in settings.items() if value is not None}
    for name, is_valid in _CHECKS.items():
        if name in settings and not is_valid(settings[name]):
            raise _invalid(path, name, settings[name])
    return settings


def _read(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file; {} if there is no file."""
    if not path.is_file():
        return {}
    try:
        return read_object(path)
    except ValueError as error:
        raise ModelError(f"{path} is damaged: {error}.", AGAIN) from error


def _invalid(path: Path, name: str, value: object) -> ModelError:
    return ModelError(f"{path} has an invalid {name}: {value!r}.", AGAIN)


def _is_number(value: object) -> bool:
    # The bounds exclude NaN and integers that no float holds.
    return isinstance(value, int | float) and not isinstance(value, bool) and -1e6 < value < 1e6


def _is_color(value: object) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(map(_is_number, value))


def _is_flag(value: object) -> bool:
    return isinstance(value, bool)


#: Settings taken from a checkpoint's files. Size, padding and cropping follow from the tower.
_CHECKS: Mapping[str, Callable[[Any], bool]] = {
    "image_mean": _is_color,
    "image_std": lambda value: _is_color(value) and min(value) > 0,
    "resample": lambda value: type(value) is int and value in set(PILImageResampling),
    "rescale_factor": lambda value: _is_number(value) and value > 0,
    "do_rescale": _is_flag,
    "do_normalize": _is_flag,
}
