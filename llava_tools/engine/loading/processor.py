"""Images to the pixels that a vision tower was trained on.

CLIP: images are padded to a square with the mean color, as in the training of LLaVA 1.5 and of the
models made like it. The processors of the released checkpoints crop instead, which loses the edges
of a page or a wide photograph. SigLIP: images are squashed to the square, as its processors do.
Mean, standard deviation and resampling are the checkpoint's own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from llava_tools.engine import vision_tower
from llava_tools.engine.loading.checkpoint_files import AGAIN
from llava_tools.engine.loading.json_file import read_object
from llava_tools.errors import ImageError, ModelError
from llava_tools.images import ImageRef

#: The longest side of an image that is padded; the time to do so grows with its square.
MAX_SIDE = 65_535

#: Height from which an image that is taller than wide is resized by columns first. Rows of the
#: padded square would take time that grows with its area: 40 s for a column of 60,000 pixels.
_TALL = 8_192

#: Pixels that are padded at once: 64 MiB in Pillow's layout.
_STRIP_PIXELS = 1 << 24

#: Files with the settings, as transformers names them. The newer one holds them in an object.
_NESTED, _FLAT = "processor_config.json", "preprocessor_config.json"


@dataclass(frozen=True)
class ImageProcessor:
    """How a vision tower's images are prepared.

    It computes what transformers' `LlavaImageProcessor(do_pad=True)` and `SiglipImageProcessor`
    compute with Pillow. Those classes are not used: they differ from release to release.

    Attributes:
        size: Width and height of the pixels.
        do_pad: Whether images are padded to a square with the mean color; if not, squashed.
        image_mean: Red, green and blue, in the range of the rescaled values.
        image_std: Likewise.
        resample: Pillow's filter for resizing.
        do_rescale: Whether values, 0 to 255, are multiplied by `rescale_factor`.
        rescale_factor: 1/255 in all checkpoints known.
        do_normalize: Whether the mean is subtracted, and the result divided by the deviation.
    """

    size: int
    do_pad: bool
    image_mean: Sequence[float]
    image_std: Sequence[float]
    resample: int = Image.Resampling.BICUBIC
    do_rescale: bool = True
    rescale_factor: float = 1 / 255
    do_normalize: bool = True

    @property
    def background(self) -> tuple[int, ...]:
        """The color around padded images: red, green and blue, 0 to 255."""
        return tuple(int(value * 255) for value in self.image_mean)

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as `preprocessor_config.json` holds them."""
        square = {"height": self.size, "width": self.size}
        sizes = {"size": {"shortest_edge": self.size}, "crop_size": square, "do_pad": True}
        return {
            "image_processor_type": "LlavaImageProcessor"
            if self.do_pad
            else "SiglipImageProcessor",
            **(sizes if self.do_pad else {"size": square}),
            "do_convert_rgb": True,
            "do_resize": True,
            "do_center_crop": self.do_pad,  # which changes nothing in a square
            "image_mean": list(self.image_mean),
            "image_std": list(self.image_std),
            "resample": int(self.resample),
            "do_rescale": self.do_rescale,
            "rescale_factor": self.rescale_factor,
            "do_normalize": self.do_normalize,
        }


#: Mean and standard deviation of the towers' trainings.
_COLORS = {
    vision_tower.CLIP: {
        "image_mean": (0.48145466, 0.4578275, 0.40821073),
        "image_std": (0.26862954, 0.26130258, 0.27577711),
    },
    vision_tower.SIGLIP: {"image_mean": (0.5, 0.5, 0.5), "image_std": (0.5, 0.5, 0.5)},
}


def image_processor(folder: Path, vision: Any) -> ImageProcessor:
    """Return the image processor for a checkpoint's vision tower, whose configuration is `vision`.

    `folder` may lack processor files: then the defaults of the tower's kind apply. A SigLIP tower
    whose settings have `do_pad` gets padded images, too.

    Raises:
        ModelError: A processor file is damaged, or has a setting that makes no sense.
    """
    settings = _settings(folder)
    do_pad = vision.model_type != vision_tower.SIGLIP or bool(settings.get("do_pad"))
    own: dict[str, Any] = {name: settings[name] for name in _CHECKS if name in settings}
    return ImageProcessor(vision.image_size, do_pad, **(_COLORS[vision.model_type] | own))


def preprocess(processor: ImageProcessor, images: Sequence[ImageRef]) -> torch.Tensor:
    """Return pixels, float32 [images, 3, size, size], as the models' official code prepares them.

    Raises:
        ImageError: An image turns out to be damaged when it is decoded, or is too long.
    """
    return torch.stack([_pixels(processor, image) for image in images])


def _pixels(processor: ImageProcessor, ref: ImageRef) -> torch.Tensor:
    # float64, float32 and the order of the operations are those of the official code.
    values = torch.from_numpy(np.array(_square(processor, ref)))
    if processor.do_rescale:
        values = values.double() * processor.rescale_factor
    values = values.float()
    if processor.do_normalize:
        colors = (processor.image_mean, processor.image_std)
        mean, std = (torch.tensor(color, dtype=torch.float32) for color in colors)
        values = (values - mean) / std
    return values.permute(2, 0, 1)


def _square(processor: ImageProcessor, ref: ImageRef) -> Image.Image:
    """Return an image as a square of the processor's size.

    Pillow resizes all rows first, then all columns. So padded rows can be resized strip by strip,
    and the whole padded image, 6 GB for a screenshot of 1,080 x 40,000 pixels, is never built.
    """
    size, resample = processor.size, Image.Resampling(processor.resample)
    with ref.decoded() as image:
        if not processor.do_pad:
            return image.resize((size, size), resample)
        if max(image.size) > MAX_SIDE:
            raise ImageError(
                f"{ref.source} has {image.width:,} x {image.height:,} pixels; a side may have "
                f"{MAX_SIDE:,}.",
                "Cut it into parts.",
            )
        if image.height > max(_TALL, image.width):
            # The rounding between the passes differs then: by a level at most.
            flip = Image.Transpose.TRANSPOSE
            return _pad_and_resize(processor, image.transpose(flip)).transpose(flip)
        return _pad_and_resize(processor, image)


def _pad_and_resize(processor: ImageProcessor, image: Image.Image) -> Image.Image:
    """Pad an image to a square and resize it to the processor's size."""
    size, resample = processor.size, Image.Resampling(processor.resample)
    side, color = max(image.size), processor.background
    left, top = ((side - length) // 2 for length in image.size)
    columns = Image.new("RGB", (size, side), color)
    height = max(1, _STRIP_PIXELS // side)
    for start in range(0, image.height, height):
        rows = image.crop((0, start, image.width, min(start + height, image.height)))
        strip = Image.new("RGB", (side, rows.height), color)
        strip.paste(rows, (left, 0))
        columns.paste(strip.resize((size, rows.height), resample), (0, top + start))
    return columns.resize((size, size), resample)


def _settings(folder: Path) -> dict[str, Any]:
    """Return the image processor's settings; like transformers, `processor_config.json` wins."""
    path = folder / _NESTED
    settings = _read(path).get("image_processor")
    if settings is None:
        path = folder / _FLAT
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
    "resample": lambda value: type(value) is int and value in set(Image.Resampling),
    "rescale_factor": lambda value: _is_number(value) and value > 0,
    "do_rescale": _is_flag,
    "do_normalize": _is_flag,
}
