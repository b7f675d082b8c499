"""Vectors equal those of transformers' CLIP, whoever's eye looks; what does not fit is an error."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, CLIPModel, LlavaForConditionalGeneration

from llava_tools import Llava, open_image, registry
from llava_tools.embedding import Embedder
from llava_tools.engine import load_embedding
from llava_tools.engine.embedding import ClipEmbedding
from llava_tools.engine.loading.checkpoint import load
from llava_tools.errors import ImageError, ModelError, ModelNotFoundError
from llava_tools.options import EmbeddingOptions, EngineOptions
from tests.checkpoints import write_clip

TEXTS = ["A red star", "", "  red   STAR ", "ohne Umlaute: äöü", "star " * 30]


@pytest.fixture(scope="module")
def clip(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    write_clip(folder, checkpoint)
    return folder


@pytest.fixture
def embedding(checkpoint: Path, clip: Path) -> ClipEmbedding:
    return load_embedding(EmbeddingOptions(str(checkpoint), clip=str(clip), dtype="float32"), dict)


def unit(vectors: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.normalize(vectors, dim=-1)


def of_texts(clip: Path, texts: list[str]) -> torch.Tensor:
    """What transformers says of texts."""
    model, tokenizer = CLIPModel.from_pretrained(clip), AutoTokenizer.from_pretrained(clip)
    encoded = tokenizer(texts, padding=True, truncation=True, max_length=77, return_tensors="pt")
    with torch.inference_mode():
        return unit(model.eval().get_text_features(**encoded).pooler_output)


def of_images(clip: Path, checkpoint: Path, images: list[Image.Image]) -> torch.Tensor:
    """What transformers says of images that were prepared as for LLaVA."""
    pixels = load(EngineOptions(str(checkpoint), dtype="float32")).pixels(
        [open_image(image) for image in images]
    )
    with torch.inference_mode():
        model = CLIPModel.from_pretrained(clip).eval()
        return unit(model.get_image_features(pixel_values=pixels).pooler_output)


@pytest.mark.parametrize("end", [2, None], ids=["as released", "corrected"])
def test_vectors_are_those_of_clip(
    checkpoint: Path, tmp_path: Path, end: int | None, images: list[Image.Image]
) -> None:
    write_clip(tmp_path, checkpoint, end)
    embedding = load_embedding(
        EmbeddingOptions(str(checkpoint), clip=str(tmp_path), dtype="float32"), dict
    )
    texts = torch.tensor(embedding.embed_texts(TEXTS))
    torch.testing.assert_close(texts, of_texts(tmp_path, TEXTS), atol=1e-5, rtol=0)
    vectors = torch.tensor(embedding.embed_images([open_image(image) for image in images]))
    expected = of_images(tmp_path, checkpoint, images)
    torch.testing.assert_close(vectors, expected, atol=1e-5, rtol=0)
    assert embedding.dimensions == vectors.shape[1] == texts.shape[1]


def test_many_are_embedded_as_each_alone(
    embedding: ClipEmbedding, images: list[Image.Image]
) -> None:
    vectors = [open_image(picture) for picture in images] * 4
    together = torch.tensor(embedding.embed_images(vectors))
    alone = torch.tensor([embedding.embed_images([image])[0] for image in vectors[:6]])
    torch.testing.assert_close(together, alone.repeat(4, 1), atol=1e-5, rtol=0)
    texts = [f"star {index}" * (index % 7) for index in range(70)]
    together = torch.tensor(embedding.embed_texts(texts))
    alone = torch.tensor([embedding.embed_texts([text])[0] for text in texts])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


def test_a_wide_image_is_padded_and_seen_whole(embedding: ClipEmbedding) -> None:
    wide = Image.new("RGB", (112, 56), "red")
    padded = Image.new("RGB", (112, 112), (122, 116, 104))
    padded.paste(wide, (0, 28))
    one, other = embedding.embed_images([open_image(wide), open_image(padded)])
    assert one == pytest.approx(other, abs=1e-5)


def test_a_spelled_end_of_text_ends_nothing(embedding: ClipEmbedding) -> None:
    plain, spelled = embedding.embed_texts(["red", "red<|endoftext|> star"])
    assert spelled != pytest.approx(plain, abs=1e-3)


def test_too_long_a_text_is_cut_off_and_logged(
    embedding: ClipEmbedding, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        whole, _ = embedding.embed_texts(["red " * 75, "star"])
        assert not caplog.records
        cut, _ = embedding.embed_texts(["red " * 75 + "star", "star"])
    assert cut == whole
    assert "1 of 2 texts are longer than the 77 tokens" in caplog.text


def test_a_loaded_engine_lends_its_eye(
    checkpoint: Path, clip: Path, tmp_path: Path, images: list[Image.Image]
) -> None:
    # A folder of its own, since the engine that all tests share lends its vision tower once it is loaded.
    folder = str(shutil.copytree(checkpoint, tmp_path / "model"))
    with Embedder(folder, dtype="float32", clip=str(clip)) as embedder:
        before = embedder.embed_images(images)
        model = registry.acquire_embedding(embedder.options, embedder)
        assert isinstance(model, ClipEmbedding)
        assert model._own is not None
        with Llava(folder, dtype="float32") as llava:
            tower = llava.backend.loaded.model.model.vision_tower  # type: ignore[attr-defined]
            assert embedder.embed_images(images) == before
            assert model._own is None
            lent = model._lent()
            assert lent is not None
            assert lent.tower is tower
            with Embedder(folder, dtype="bfloat16", clip=str(clip)) as rounded:
                (other,) = rounded.embed_images(images[:1])
            assert other == pytest.approx(before[0], abs=0.05)
        assert embedder.embed_images(images) == before


def test_a_clip_may_lie_in_the_models_folder(
    checkpoint: Path, clip: Path, tmp_path: Path, images: list[Image.Image]
) -> None:
    """As the embedded model's does: no eye in it, no tokenizer, and the model's is used."""
    folder = Path(shutil.copytree(checkpoint, tmp_path / "model"))
    (folder / "clip").mkdir()
    config = json.loads((clip / "config.json").read_text())
    config["text_config"]["eos_token_id"] = 0
    (folder / "clip" / "config.json").write_text(json.dumps(config))
    weights = load_file(clip / "model.safetensors")
    last = config["vision_config"]["num_hidden_layers"] - 1
    kept = {
        name: value + 0.5 if "post_layernorm" in name else value
        for name, value in weights.items()
        if not name.startswith("vision_model.")
        or name.startswith((f"vision_model.encoder.layers.{last}.", "vision_model.post_layernorm"))
    }
    save_file(kept, folder / "clip" / "model.safetensors", metadata={"format": "pt"})
    with Embedder(str(folder), dtype="float32") as embedder:
        found = torch.tensor(embedder.embed_images(images))
        assert len(embedder.embed_texts(["red"])[0]) == found.shape[1]
        assert embedder.model_name == str(folder / "clip")
    whole = tmp_path / "whole"
    shutil.copytree(clip, whole)
    save_file(weights | kept, whole / "model.safetensors", metadata={"format": "pt"})
    expected = of_images(whole, checkpoint, images)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_an_unknown_eye_needs_its_clip_named(checkpoint: Path) -> None:
    with pytest.raises(ModelError, match=r"Which CLIP .* is not known.*clip='openai/clip"):
        Embedder(str(checkpoint)).embed_texts(["red"])


def test_only_a_clip_will_do(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is a 'llava' model, not a CLIP"):
        Embedder(str(checkpoint), clip=str(checkpoint)).embed_texts(["red"])
    with pytest.raises(ModelNotFoundError, match="cannot be read"):
        Embedder(str(checkpoint), clip=str(tmp_path / "none"), local_files_only=True).embed_texts(
            ["red"]
        )


def test_the_released_models_ask_for_their_clip() -> None:
    with pytest.raises(ModelNotFoundError, match=r"openai/clip-vit-large-patch14-336.*offline"):
        Embedder("7b", local_files_only=True).embed_texts(["red"])


@pytest.mark.parametrize("part", ["text_projection", "layers.2.self_attn", "post_layernorm"])
def test_missing_weights_are_an_error(
    checkpoint: Path, clip: Path, tmp_path: Path, part: str
) -> None:
    folder = Path(shutil.copytree(clip, tmp_path / "clip"))
    weights = load_file(folder / "model.safetensors")
    kept = {name: value for name, value in weights.items() if part not in name}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=f"missing .*{part}"):
        Embedder(str(checkpoint), clip=str(folder)).embed_texts(["red"])


def test_another_eye_is_an_error(
    checkpoint: Path, llava: Llava, clip: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(clip, tmp_path / "clip"))
    config = json.loads((folder / "config.json").read_text())
    config["vision_config"]["image_size"] = 28
    (folder / "config.json").write_text(json.dumps(config))
    assert llava.backend.model_name
    picture = Image.new("RGB", (8, 8))
    with pytest.raises(ModelError, match="image_size is 28 there and 56 here"):
        Embedder(str(checkpoint), clip=str(folder)).embed_images([picture])


def test_a_image_that_is_none_is_an_error(checkpoint: Path, clip: Path) -> None:
    with (
        Embedder(str(checkpoint), clip=str(clip)) as embedder,
        pytest.raises(ImageError, match="is empty"),
    ):
        embedder.embed_images([b""])


def test_the_checkpoint_holds_the_whole_tower(checkpoint: Path) -> None:
    """LLaVA 1.5's do, and so a CLIP made from one is whole."""
    model = LlavaForConditionalGeneration.from_pretrained(checkpoint)
    names = model.model.vision_tower.state_dict()
    assert "post_layernorm.weight" in names
    assert "encoder.layers.2.mlp.fc1.weight" in names
