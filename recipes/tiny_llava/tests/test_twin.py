"""The twin learns on a toy, goes on after a kill, and leaves what LLaVA reads alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from transformers import CLIPModel, LlavaForConditionalGeneration

import llava_tools
from recipes.tiny_llava import pool, twin
from recipes.tiny_llava.architecture import new_model, normalise, tiny_config
from recipes.tiny_llava.clip import (
    digest,
    embed_captions,
    embed_hidden,
    export,
    look,
    new_clip,
    token_ids,
    trained,
)

TINY = Path(llava_tools.__file__).parent / "tiny"
TEXTS = ["a red circle", "three blue stars on green", "star"]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_file(str(TINY / "tokenizer.json"))


@pytest.fixture
def model(tokenizer: Tokenizer) -> LlavaForConditionalGeneration:
    torch.set_num_threads(1)
    return new_model(tiny_config(tokenizer.get_vocab_size(), width=64, depth=2), seed=0)


@pytest.fixture
def clip(model: LlavaForConditionalGeneration) -> CLIPModel:
    return new_clip(model, width=64, depth=2)


def test_the_short_way_is_clips_own(clip: CLIPModel, tokenizer: Tokenizer) -> None:
    pixels = torch.randint(0, 256, (3, 112, 112, 3), dtype=torch.uint8)
    with torch.no_grad():
        for parameter in trained(clip).values():
            parameter.add_(0.05 * torch.randn(parameter.shape))
        pictures = embed_hidden(clip, look(clip, pixels))
        whole = clip.get_image_features(pixel_values=normalise(pixels)).pooler_output
        said = embed_captions(clip, TEXTS, tokenizer)
        one = torch.tensor([token_ids(TEXTS[0], tokenizer)])
        alone = clip.get_text_features(input_ids=one).pooler_output
    torch.testing.assert_close(pictures, whole / whole.norm(dim=-1, keepdim=True))
    torch.testing.assert_close(said[:1], alone / alone.norm(dim=-1, keepdim=True))


def test_it_learns_goes_on_and_leaves_the_eye_alone(
    clip: CLIPModel,
    model: LlavaForConditionalGeneration,
    tokenizer: Tokenizer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(pool, "LOT", 64)
    eye = {name: value.clone() for name, value in model.model.vision_tower.state_dict().items()}
    start = digest(clip)
    twin.train_twin(clip, tokenizer, tmp_path, 0.03, size=16, rate=4e-3)
    first = torch.load(tmp_path / "twin.pt", weights_only=True)
    twin.train_twin(clip, tokenizer, tmp_path, 0.06, size=16, rate=4e-3)
    again = torch.load(tmp_path / "twin.pt", weights_only=True)
    assert again["step"] > first["step"]
    told = [line.split() for line in capsys.readouterr().err.splitlines() if "loss" in line]
    losses = [float(line[line.index("loss") + 1]) for line in told]
    assert np.mean(losses[-2:]) < np.log(16)
    assert digest(clip) == start
    after = clip.vision_model.state_dict()
    for name, value in eye.items():
        if "layers.3." not in name and "post_layernorm" not in name:
            assert torch.equal(after[name], value), name
        elif name.endswith("v_proj.weight"):
            assert not torch.equal(after[name], value)


def test_a_pool_is_the_same_in_its_next_life(clip: CLIPModel, tmp_path: Path) -> None:
    one = pool.Pool(tmp_path, clip, seed=1, size=8)
    one.grow()
    one.grow()
    again = pool.Pool(tmp_path, clip, seed=1, size=8)
    assert again.scenes == one.scenes
    assert len(again) == 16
    scenes, hidden = again.sample(np.random.default_rng(0), 8)
    assert hidden.shape == (8, 65, 64)
    others, same = one.sample(np.random.default_rng(0), 8)
    assert others == scenes
    assert torch.equal(same, hidden)


def test_true_pairs_are_not_pushed_apart(clip: CLIPModel) -> None:
    own = torch.eye(4, dtype=torch.bool)
    twice = torch.eye(2).repeat(2, 1)
    pairs = torch.eye(2, dtype=torch.bool).repeat(2, 2)
    assert twin.contrast(clip, twice, twice, own) > 0.6
    assert twin.contrast(clip, twice, twice, pairs) < 0.01
    assert twin.contrast(clip, twice, twice, torch.ones(4, 4, dtype=torch.bool)) == 0


def test_exported_files_hold_what_is_new(clip: CLIPModel, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    export(clip, tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    assert set(weights) == set(trained(clip))
    assert all(value.dtype == torch.float16 for value in weights.values())
    assert not any(name.startswith("vision_model.encoder.layers.2") for name in weights)
