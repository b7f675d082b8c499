"""Pixels are the official code's: padded for CLIP, squashed for SigLIP, with own settings."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from transformers import CLIPVisionConfig, PreTrainedConfig, SiglipVisionConfig
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from llava_tools.engine.loading import processor
from llava_tools.engine.loading.processor import ImageProcessor, image_processor, preprocess
from llava_tools.errors import ImageError, ModelError
from llava_tools.images import open_image

CLIP_MEAN = [0.48145466, 0.4578275, 0.40821073]
CLIP_STD = [0.26862954, 0.26130258, 0.27577711]
HALF = [0.5, 0.5, 0.5]
SHAPES = [(1, 1), (1, 500), (500, 1), (333, 17), (17, 333), (640, 427), (56, 56), (57, 55)]

#: As in llava-hf's and bczhou/tiny-llava-v1-hf's preprocessor_config.json.
CROPPING: dict[str, Any] = {
    "crop_size": {"height": 336, "width": 336},
    "do_center_crop": True,
    "do_convert_rgb": True,
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": CLIP_MEAN,
    "image_processor_type": "CLIPImageProcessor",
    "image_std": CLIP_STD,
    "processor_class": "LlavaProcessor",
    "resample": 3,
    "rescale_factor": 0.00392156862745098,
    "size": {"shortest_edge": 336},
}
#: As saved with SigLIP's own processor.
SQUASHING: dict[str, Any] = {
    "do_convert_rgb": None,
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": HALF,
    "image_processor_type": "SiglipImageProcessor",
    "image_std": HALF,
    "processor_class": "LlavaProcessor",
    "resample": 3,
    "rescale_factor": 0.00392156862745098,
    "size": {"height": 384, "width": 384},
}


def clip(size: int = 56) -> CLIPVisionConfig:
    return CLIPVisionConfig(image_size=size)


def siglip(size: int = 56) -> SiglipVisionConfig:
    return SiglipVisionConfig(image_size=size, patch_size=14)


def noise(shape: tuple[int, int]) -> Image.Image:
    values = np.random.default_rng(shape).integers(0, 256, (shape[1], shape[0], 3), dtype=np.uint8)
    return Image.fromarray(values)


def normalized(image: Image.Image, mean: list[float], std: list[float]) -> NDArray[np.float32]:
    """Rescale and normalize as transformers' NumPy processors do: [3, height, width]."""
    scaled = (np.asarray(image).astype(np.float64) * (1 / 255)).astype(np.float32)
    normed = (scaled - np.array(mean, np.float32)) / np.array(std, np.float32)
    return np.asarray(normed.transpose(2, 0, 1), np.float32)


def padded(
    image: Image.Image, size: int, mean: list[float], resample: int = Image.Resampling.BICUBIC
) -> Image.Image:
    """Pad to a square with the mean color and resize (llava/mm_utils.py, expand2square)."""
    width, height = image.size
    side = max(width, height)
    square = Image.new("RGB", (side, side), tuple(int(value * 255) for value in mean))
    square.paste(image, ((side - width) // 2, (side - height) // 2))
    return square.resize((size, size), Image.Resampling(resample))


def pixels(own: ImageProcessor, image: Image.Image) -> NDArray[np.float32]:
    return preprocess(own, [open_image(image)])[0].numpy()


def official_pixels(official: Any, image: Image.Image) -> NDArray[np.float32]:
    return np.asarray(official(images=image, return_tensors="np")["pixel_values"][0], np.float32)


def write(folder: Path, settings: object, name: str = "preprocessor_config.json") -> Path:
    (folder / name).write_text(json.dumps(settings))
    return folder


# ---- padding and squashing -----------------------------------------------------------------------


@pytest.mark.parametrize("size", [336, 56])
@pytest.mark.parametrize("shape", [None, *SHAPES], ids=str)
def test_clip_pixels_are_padded_bit_for_bit(
    size: int, shape: tuple[int, int] | None, photo: Image.Image, tmp_path: Path
) -> None:
    image = noise(shape) if shape else photo
    own = image_processor(write(tmp_path, CROPPING), clip(size))
    values = pixels(own, image)
    assert np.array_equal(values, normalized(padded(image, size, CLIP_MEAN), CLIP_MEAN, CLIP_STD))
    square = {"height": size, "width": size}
    official = LlavaImageProcessorPil(do_pad=True, size={"shortest_edge": size}, crop_size=square)
    assert np.array_equal(values, official_pixels(official, image))


@pytest.mark.parametrize("size", [384, 56])
@pytest.mark.parametrize("shape", [None, *SHAPES], ids=str)
def test_siglip_pixels_are_squashed_bit_for_bit(
    size: int, shape: tuple[int, int] | None, photo: Image.Image, tmp_path: Path
) -> None:
    image = noise(shape) if shape else photo
    own = image_processor(write(tmp_path, SQUASHING), siglip(size))
    values = pixels(own, image)
    squashed = image.resize((size, size), Image.Resampling.BICUBIC)
    assert np.array_equal(values, normalized(squashed, HALF, HALF))
    official = SiglipImageProcessorPil(size={"height": size, "width": size})
    assert np.array_equal(values, official_pixels(official, image))


@given(
    width=st.integers(1, 90),
    height=st.integers(1, 90),
    resample=st.sampled_from(list(Image.Resampling)),
    strip=st.integers(1, 4000),
)
def test_padding_in_strips_equals_padding_whole(
    width: int, height: int, resample: Image.Resampling, strip: int
) -> None:
    image = noise((width, height))
    own = replace(image_processor(Path("nowhere"), clip(28)), resample=resample)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(processor, "_STRIP_PIXELS", strip)
        values = pixels(own, image)
    expected = normalized(padded(image, 28, CLIP_MEAN, resample), CLIP_MEAN, CLIP_STD)
    assert np.array_equal(values, expected)


@pytest.mark.parametrize("shape", [(12_000, 2), (2, 12_000)], ids=str)
def test_a_long_image_is_never_padded_whole(
    shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    areas: list[int] = []
    new = Image.new

    def record(mode: str, size: tuple[int, int], *arguments: Any) -> Image.Image:
        areas.append(size[0] * size[1])
        return new(mode, size, *arguments)

    monkeypatch.setattr(processor, "_STRIP_PIXELS", 1_000_000)
    monkeypatch.setattr(Image, "new", record)
    pixels(image_processor(Path("nowhere"), clip()), noise(shape))
    assert max(areas) <= 1_000_000  # of 144,000,000 in the padded image


@pytest.mark.parametrize("width", [1, 7, 300])
def test_i2_a_tall_image_is_padded_in_time_within_a_level(
    width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = noise((width, 9000))
    own = ImageProcessor(56, True, **processor._COLORS["clip_vision_model"])
    fast = np.array(processor._square(own, open_image(image)), dtype=int)
    monkeypatch.setattr(processor, "_TALL", 10_000)
    exact = np.array(processor._square(own, open_image(image)), dtype=int)
    assert np.abs(fast - exact).max() <= 1


def test_i2_the_longest_column_takes_no_more_work_than_the_longest_row(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = ImageProcessor(56, True, **processor._COLORS["clip_vision_model"])
    resized: list[int] = []
    resize = Image.Image.resize

    def count(image: Image.Image, *arguments: Any) -> Image.Image:
        resized.append(image.width * image.height)
        return resize(image, *arguments)

    monkeypatch.setattr(Image.Image, "resize", count)
    for size in ((60_000, 1), (1, 60_000)):
        processor._square(own, open_image(Image.new("RGB", size)))
    assert resized[:2] == resized[2:]
    assert sum(resized) < 10_000_000


def test_an_image_too_long_to_be_padded_is_an_error() -> None:
    image = Image.new("RGB", (1, 70_000))
    with pytest.raises(ImageError, match=r"1 x 70,000 pixels; a side may have 65,535") as error:
        pixels(image_processor(Path("nowhere"), clip()), image)
    assert error.value.hint == "Cut it into parts."
    assert pixels(image_processor(Path("nowhere"), siglip()), image).shape == (3, 56, 56)


# ---- settings ------------------------------------------------------------------------------------


@pytest.mark.parametrize("nested", [False, True], ids=["preprocessor_config", "processor_config"])
@pytest.mark.parametrize("tower", [clip(), siglip()], ids=["clip", "siglip"])
def test_mean_std_and_resampling_are_the_checkpoint_s_own(
    tower: PreTrainedConfig, nested: bool, photo: Image.Image, tmp_path: Path
) -> None:
    mean, std, lanczos = [0.4, 0.5, 0.6], [0.2, 0.3, 0.25], 1
    own_settings = {"image_mean": mean, "image_std": std, "resample": lanczos}
    if nested:  # as newer versions of transformers save it; the older file then counts nothing
        write(tmp_path, {"image_processor": own_settings}, "processor_config.json")
        write(tmp_path, {"image_mean": [0, 0, 0], "image_std": [1, 1, 1]})
    else:
        write(tmp_path, {"processor_class": "LlavaProcessor"}, "processor_config.json")
        write(tmp_path, own_settings)
    square = (
        padded(photo, 56, mean, lanczos)
        if isinstance(tower, CLIPVisionConfig)
        else photo.resize((56, 56), Image.Resampling.LANCZOS)
    )
    values = pixels(image_processor(tmp_path, tower), photo)
    assert np.array_equal(values, normalized(square, mean, std))


@pytest.mark.parametrize(
    "settings",
    [None, {}, {"image_mean": None, "resample": None, "size": 224, "crop_size": 224}],
    ids=["no file", "empty", "null and old sizes"],
)
@pytest.mark.parametrize(
    ("tower", "mean", "std"),
    [(clip(), CLIP_MEAN, CLIP_STD), (siglip(), HALF, HALF)],
    ids=["clip", "siglip"],
)
def test_without_settings_the_tower_s_defaults_apply(
    settings: dict[str, Any] | None,
    tower: PreTrainedConfig,
    mean: list[float],
    std: list[float],
    photo: Image.Image,
    tmp_path: Path,
) -> None:
    if settings is not None:
        write(tmp_path, settings)
    square = (
        padded(photo, 56, mean)
        if isinstance(tower, CLIPVisionConfig)
        else photo.resize((56, 56), Image.Resampling.BICUBIC)
    )
    values = pixels(image_processor(tmp_path, tower), photo)
    assert np.array_equal(values, normalized(square, mean, std))


def test_a_siglip_checkpoint_that_pads_is_padded_with_its_mean(
    photo: Image.Image, tmp_path: Path
) -> None:
    write(tmp_path, {"image_processor_type": "LlavaImageProcessor", "do_pad": True})
    values = pixels(image_processor(tmp_path, siglip()), photo)
    assert np.array_equal(values, normalized(padded(photo, 56, HALF), HALF, HALF))


def test_rescaling_and_normalizing_can_be_switched_off(photo: Image.Image, tmp_path: Path) -> None:
    write(tmp_path, {"do_normalize": False, "rescale_factor": 0.5})
    values = pixels(image_processor(tmp_path, siglip()), photo)
    squashed = np.asarray(photo.resize((56, 56), Image.Resampling.BICUBIC), np.float32)
    assert np.array_equal(values, squashed.transpose(2, 0, 1) * 0.5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"image_mean": [0.5, 0.5]}, r"invalid image_mean: \[0.5, 0.5\]"),
        ({"image_mean": 0.5}, r"invalid image_mean: 0.5"),
        ({"image_std": [0.5, 0.5, 0]}, r"invalid image_std: \[0.5, 0.5, 0\]"),
        ({"image_std": [0.5, "x", 1]}, r"invalid image_std"),
        ({"image_mean": [0.5, 10**400, 1]}, r"invalid image_mean"),
        ({"image_mean": [0.5, float("nan"), 1]}, r"invalid image_mean: \[0.5, nan, 1\]"),
        ({"resample": 17}, "invalid resample: 17"),
        ({"resample": "bicubic"}, "invalid resample: 'bicubic'"),
        ({"rescale_factor": 0}, "invalid rescale_factor: 0"),
        ({"do_normalize": "yes"}, "invalid do_normalize: 'yes'"),
        ([], "holds no object"),
    ],
)
def test_an_invalid_setting_is_an_error(settings: object, message: str, tmp_path: Path) -> None:
    write(tmp_path, settings)
    with pytest.raises(ModelError, match=message) as error:
        image_processor(tmp_path, siglip())
    assert "preprocessor_config.json" in str(error.value)
    assert error.value.hint


@pytest.mark.parametrize("name", ["preprocessor_config.json", "processor_config.json"])
def test_a_damaged_file_is_an_error(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b'{"image_mean": [0.5\xff')
    with pytest.raises(ModelError, match=name):
        image_processor(tmp_path, clip())


def test_a_damaged_nested_setting_is_an_error(tmp_path: Path) -> None:
    write(tmp_path, {"image_processor": "CLIPImageProcessor"}, "processor_config.json")
    with pytest.raises(ModelError, match="invalid image_processor: 'CLIPImageProcessor'"):
        image_processor(tmp_path, clip())


@pytest.mark.parametrize(
    ("tower", "official"),
    [(clip(), LlavaImageProcessorPil), (siglip(), SiglipImageProcessorPil)],
    ids=["clip", "siglip"],
)
def test_settings_are_written_as_transformers_reads_them(
    tower: PreTrainedConfig, official: Any, photo: Image.Image, tmp_path: Path
) -> None:
    own = image_processor(Path("nowhere"), tower)
    write(tmp_path, own.to_dict())
    assert image_processor(tmp_path, tower).to_dict() == own.to_dict()
    read = official.from_pretrained(tmp_path)
    assert np.array_equal(official_pixels(read, photo), pixels(own, photo))
