"""An image prepared for a server has the pixels that the engine would compute itself."""

from __future__ import annotations

import torch
from PIL import Image
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil

from llava_tools.remote.image_encoding import IMAGE_SIZE, pad_and_resize


def _processor(*, pad: bool) -> LlavaImageProcessorPil:
    return LlavaImageProcessorPil(
        do_pad=pad,
        do_center_crop=True,
        size={"shortest_edge": IMAGE_SIZE},
        crop_size={"height": IMAGE_SIZE, "width": IMAGE_SIZE},
    )


def test_a_server_that_does_not_pad_gets_the_same_pixels(images: list[Image.Image]) -> None:
    for image in images:
        official = _processor(pad=True)([image], return_tensors="pt")["pixel_values"]
        sent = pad_and_resize(image, IMAGE_SIZE)
        served = _processor(pad=False)([sent], return_tensors="pt")["pixel_values"]
        assert torch.equal(official, served)
