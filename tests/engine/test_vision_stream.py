"""Images are encoded beside the language model: the streams and events of CUDA that are used."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from llava_tools.engine import vision_tower
from llava_tools.engine.vision_stream import VisionStream
from tests.engine.fake_cuda import fake_cuda
from tests.engine.fake_streams import FakeGpu, fake_streams
from tests.engine.test_fake_cuda import make_model

STREAM = "stream of cuda:1"


def encode(gpu: FakeGpu, images: int, monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """Encode images on a fake GPU; note when the vision tower runs."""
    stream = VisionStream(make_model("llama", "cuda:1", torch.bfloat16))
    assert gpu.calls == [("wait_stream", STREAM, "current stream of cuda:1")]
    gpu.calls.clear()
    features = vision_tower.features

    def noted(model: object, pixels: Tensor) -> Tensor:
        gpu.note("features", pixels.device, pixels.dtype)
        return features(model, pixels)

    monkeypatch.setattr(vision_tower, "features", noted)
    pinned = Tensor.pin_memory
    monkeypatch.setattr(
        Tensor, "pin_memory", lambda self: gpu.note("pin_memory", result=pinned(self))
    )
    return list(stream(torch.zeros(images, 3, 56, 56)))


@pytest.mark.parametrize("images", [1, 3])
def test_features_are_computed_on_a_stream_of_their_own(
    images: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with fake_cuda(), fake_streams() as gpu:
        features = encode(gpu, images, monkeypatch)
        assert [tuple(item.shape) for item in features] == [(16, 128)] * images
        assert {str(item.device) for item in features} == {"cuda:1"}
    assert gpu.calls == [
        ("enter device", "cuda:1"),
        ("enter stream", STREAM),
        ("pin_memory",),
        ("features", "cuda:1", "torch.bfloat16"),
        *[("record_stream", "default stream of cuda:1")] * images,
        ("record", STREAM),
        ("synchronize",),
        ("leave stream", STREAM),
        ("leave device", "cuda:1"),
    ]


def test_images_of_a_batch_do_not_keep_each_others_memory() -> None:
    with fake_cuda(), fake_streams():
        stream = VisionStream(make_model("llama", "cuda:0", torch.float16))
        first, second = stream(torch.zeros(2, 3, 56, 56))
        assert first.untyped_storage()._cdata != second.untyped_storage()._cdata
        assert first.untyped_storage().nbytes() == 16 * 128 * 2
