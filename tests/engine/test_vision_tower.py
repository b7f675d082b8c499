"""Image features are those of transformers' `get_image_features`, in float32 bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import (
    CLIPVisionConfig,
    Dinov2Config,
    LlavaConfig,
    LlavaForConditionalGeneration,
    PreTrainedConfig,
    SiglipVisionConfig,
    SiglipVisionModel,
)
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from llava_tools import Llava, Message
from llava_tools.chat import prompt
from llava_tools.core.image_grid import ImageGrid
from llava_tools.engine import vision_tower
from llava_tools.engine.engine import LlavaEngine
from llava_tools.engine.linear import Float16Linear, is_usable
from llava_tools.engine.loading.checkpoint import load
from llava_tools.errors import ModelError
from llava_tools.images import open_image
from llava_tools.options import EngineOptions
from tests.engine import towers

Strategy = Literal["default", "full"]

TOWERS = {"clip": towers.clip, "siglip": towers.siglip}
#: Layers as in `vision_feature_layer`: 0 is the embedding, -1 the last of four layers.
LAYERS = [-1, -2, -5, 0, 1, 4, [-2], [-2, -1], [1, -2, 4], [0, -1], [3, 3]]


def pixels(count: int = 2) -> torch.Tensor:
    return torch.randn(count, 3, towers.SIZE, towers.SIZE, generator=torch.manual_seed(3))


@pytest.mark.parametrize("tower", TOWERS)
@pytest.mark.parametrize("strategy", ["default", "full"])
@pytest.mark.parametrize("layer", LAYERS, ids=str)
@torch.inference_mode()
def test_features_equal_those_of_transformers(
    tower: str, strategy: Strategy, layer: int | list[int]
) -> None:
    model = towers.random_model(TOWERS[tower](), layer, strategy)
    # With `vision_feature_layer=0`, transformers finds no hidden states unless all are requested.
    expected = model.get_image_features(pixel_values=pixels(), output_hidden_states=True)
    features = vision_tower.features(model, pixels())
    assert torch.equal(features, torch.stack(expected.pooler_output))
    assert features.shape[1] == vision_tower.image_tokens(model.config)


@pytest.mark.parametrize(
    ("tower", "size", "patch", "strategy", "tokens"),
    [
        ("clip", 336, 14, "default", 576),  # LLaVA 1.5
        ("clip", 336, 14, "full", 577),
        ("clip", 224, 32, "default", 49),
        ("siglip", 384, 14, "full", 729),  # llava-interleave-qwen, JoyCaption: 27 x 27
        ("siglip", 384, 14, "default", 728),
        ("siglip", 224, 16, "full", 196),
    ],
)
@torch.inference_mode()
def test_an_image_takes_its_patches_and_cls(
    tower: str, size: int, patch: int, strategy: Strategy, tokens: int
) -> None:
    vision = TOWERS[tower]()
    vision.image_size, vision.patch_size = size, patch
    model = towers.random_model(vision, strategy=strategy)
    expected = model.get_image_features(pixel_values=torch.zeros(1, 3, size, size)).pooler_output
    assert vision_tower.image_tokens(model.config) == len(expected[0]) == tokens


@pytest.mark.parametrize("tower", TOWERS)
@torch.inference_mode()
def test_layers_above_those_read_are_skipped(tower: str) -> None:
    model = towers.random_model(TOWERS[tower](), [1, -3])
    layers: Any = model.model.vision_tower.encoder.layers
    run: list[int] = []
    for index, layer in enumerate(layers):
        layer.register_forward_hook(lambda *_, index=index: run.append(index))
    vision_tower.features(model, pixels())
    assert run == [0, 1]


@pytest.mark.parametrize(
    ("vision", "layer", "message"),
    [
        (Dinov2Config(), -2, "type 'dinov2'; CLIP and SigLIP are supported"),
        (towers.siglip(), 5, "reads the vision_feature_layer 5 of a vision tower with 4 layers"),
        (towers.clip(), [-2, -6], r"vision_feature_layer \[-2, -6\] of a vision tower with 4"),
        (towers.clip(), [], r"vision_feature_layer \[\]"),
        (SiglipVisionConfig(image_size=[384, 224]), -2, r"image_size of \[384, 224\]"),
    ],
)
def test_what_cannot_be_read_is_an_error(
    vision: PreTrainedConfig, layer: int | list[int], message: str
) -> None:
    config = LlavaConfig(vision_config=vision, vision_feature_layer=layer)
    with pytest.raises(ModelError, match=message) as error:
        vision_tower.check_config(config, "some/model")
    assert "'some/model'" in str(error.value)
    assert error.value.hint


# ---- a LLaVA with a SigLIP tower -----------------------------------------------------------------


@pytest.fixture(scope="module")
def siglip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return towers.write_siglip(tmp_path_factory.mktemp("siglip"))


def generated(folder: Path, images: list[Image.Image], engine: LlavaEngine) -> list[int]:
    """Tokens of plain `generate` about images that SigLIP's own processor prepared."""
    loaded, refs = engine.loaded, [open_image(image) for image in images]
    pieces = prompt.build([Message("user", (*refs, "What is in the picture?"))])
    placeholder = [loaded.model.config.image_token_index] * loaded.image_tokens
    ids = loaded.tokenizer.tokenize(pieces, lambda _: placeholder)
    own = SiglipImageProcessorPil.from_pretrained(folder)
    vision_inputs = own(images=images, return_tensors="pt") if images else {}
    model = LlavaForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.inference_mode():
        output = model.generate(
            input_ids=torch.tensor([ids]),
            attention_mask=torch.ones(1, len(ids), dtype=torch.long),
            max_new_tokens=12,
            do_sample=False,
            pad_token_id=0,
            **vision_inputs,
        )
    return [int(token) for token in output[0, len(ids) :]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
def test_greedy_answers_equal_generate(
    dtype: torch.dtype, images: list[Image.Image], tmp_path: Path
) -> None:
    """With none, one and two images. Stored as float16, the tower's layers are packed on CPUs."""
    folder = towers.write_siglip(tmp_path, dtype=dtype)
    with Llava(str(folder), dtype="float32") as model:
        engine = model.backend
        assert isinstance(engine, LlavaEngine)
        layer: Any = engine.loaded.model.model.vision_tower.encoder.layers[0]
        packed = isinstance(layer.mlp.fc1, Float16Linear)
        assert packed == (dtype == torch.float16 and is_usable(Float16Linear))
        for chosen in ([], images[:1], images[1:3]):
            answer = model.ask("What is in the picture?", chosen, max_tokens=12)
            assert list(answer.token_ids) == generated(folder, chosen, engine)
            assert answer.usage.image_tokens == 16 * len(chosen)


@pytest.mark.parametrize("layout", ["saved", "released"])
def test_the_unread_head_is_not_loaded(siglip: Path, layout: str, tmp_path: Path) -> None:
    """Released files name weights `vision_tower.vision_model.*`."""
    weights = load_file(siglip / "model.safetensors")
    assert any(name.startswith("vision_tower.head.") for name in weights)
    if layout == "released":
        weights = {
            name.replace("vision_tower.", "vision_tower.vision_model."): value
            for name, value in weights.items()
        }
    for path in siglip.glob("*.json"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    tower = load(EngineOptions(str(tmp_path), dtype="float32")).model.model.vision_tower
    assert isinstance(tower, SiglipVisionModel)
    assert not any("head" in name for name, _ in tower.named_parameters())


@pytest.mark.parametrize(
    ("vision", "strategy", "offset"),
    [
        (CLIPVisionConfig(image_size=56, patch_size=14), "default", 0),
        (CLIPVisionConfig(image_size=56, patch_size=14), "full", 1),
        (SiglipVisionConfig(image_size=56, patch_size=14), "full", 0),
        (SiglipVisionConfig(image_size=56, patch_size=14), "default", -1),
    ],
)
def test_the_grid_has_a_place_for_every_image_token(
    vision: CLIPVisionConfig | SiglipVisionConfig, strategy: str, offset: int
) -> None:
    config = LlavaConfig(vision_config=vision, vision_feature_select_strategy=strategy)
    grid = vision_tower.image_grid(config, padded=True)
    assert grid == ImageGrid(4, padded=True, offset=offset)
    assert grid.tokens == vision_tower.image_tokens(config)
