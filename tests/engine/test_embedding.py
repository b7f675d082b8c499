"""Vectors equal those of transformers' CLIP, with any of the possible vision towers."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, CLIPModel, LlavaForConditionalGeneration

from llava_tools import Llava, model_cache, open_image
from llava_tools.embedding import Embedder
from llava_tools.engine import load_embedding
from llava_tools.engine.embedding import ClipEmbedding
from llava_tools.engine.loading.checkpoint import load
from llava_tools.engine.loading.processor import preprocess
from llava_tools.errors import ImageError, MemoryExhaustedError, ModelError, ModelNotFoundError
from llava_tools.options import EmbeddingOptions, EngineOptions
from llava_tools.retrieval import PageIndex
from tests.checkpoints import write_clip
from tests.engine import towers

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


def clip_texts(clip: Path, texts: list[str]) -> torch.Tensor:
    """The vectors that transformers computes for texts."""
    model, tokenizer = CLIPModel.from_pretrained(clip), AutoTokenizer.from_pretrained(clip)
    encoded = tokenizer(texts, padding=True, truncation=True, max_length=77, return_tensors="pt")
    with torch.inference_mode():
        return unit(model.eval().get_text_features(**encoded).pooler_output)


def clip_images(clip: Path, checkpoint: Path, images: list[Image.Image]) -> torch.Tensor:
    """The vectors that transformers computes for images preprocessed as for LLaVA."""
    processor = load(EngineOptions(str(checkpoint), dtype="float32")).processor
    pixels = preprocess(processor, [open_image(image) for image in images])
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
    torch.testing.assert_close(texts, clip_texts(tmp_path, TEXTS), atol=1e-5, rtol=0)
    vectors = torch.tensor(embedding.embed_images([open_image(image) for image in images]))
    expected = clip_images(tmp_path, checkpoint, images)
    torch.testing.assert_close(vectors, expected, atol=1e-5, rtol=0)
    assert embedding.dimensions == vectors.shape[1] == texts.shape[1]


def test_a_batch_has_the_vectors_of_each_alone(
    embedding: ClipEmbedding, images: list[Image.Image]
) -> None:
    refs = [open_image(image) for image in images] * 4
    together = torch.tensor(embedding.embed_images(refs))
    alone = torch.tensor([embedding.embed_images([ref])[0] for ref in refs[:6]])
    torch.testing.assert_close(together, alone.repeat(4, 1), atol=1e-5, rtol=0)
    texts = [f"star {index}" * (index % 7) for index in range(70)]
    together = torch.tensor(embedding.embed_texts(texts))
    alone = torch.tensor([embedding.embed_texts([text])[0] for text in texts])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


def test_a_wide_image_is_padded_not_cropped(embedding: ClipEmbedding) -> None:
    wide = Image.new("RGB", (112, 56), "red")
    padded = Image.new("RGB", (112, 112), (122, 116, 104))
    padded.paste(wide, (0, 28))
    actual, expected = embedding.embed_images([open_image(wide), open_image(padded)])
    assert actual == pytest.approx(expected, abs=1e-5)


def test_end_of_text_written_in_a_text_does_not_end_it(embedding: ClipEmbedding) -> None:
    plain, written = embedding.embed_texts(["red", "red<|endoftext|> star"])
    assert written != pytest.approx(plain, abs=1e-3)


def test_a_text_beyond_the_context_is_cut_off_with_a_warning(
    embedding: ClipEmbedding, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        whole, _ = embedding.embed_texts(["red " * 75, "star"])
        assert not caplog.records
        cut, _ = embedding.embed_texts(["red " * 75 + "star", "star"])
    assert cut == whole
    assert "1 of 2 texts are longer than the 77 tokens" in caplog.text


def test_a_loaded_engine_s_vision_tower_is_reused(
    checkpoint: Path, clip: Path, tmp_path: Path, images: list[Image.Image]
) -> None:
    # A folder of its own: the engine that all tests share would have its tower reused as well.
    folder = str(shutil.copytree(checkpoint, tmp_path / "model"))
    with Embedder(folder, dtype="float32", clip=str(clip)) as embedder:
        before = embedder.embed_images(images)
        model = model_cache.embeddings.acquire(embedder.options, embedder)
        assert isinstance(model, ClipEmbedding)
        assert model.has_loaded_tower
        with Llava(folder, dtype="float32") as llava:
            tower = llava.backend.loaded.model.model.vision_tower  # type: ignore[attr-defined]
            assert embedder.embed_images(images) == before
            assert not model.has_loaded_tower
            shared = model.shared_tower()
            assert shared is not None
            assert shared.model is tower
            with Embedder(folder, dtype="bfloat16", clip=str(clip)) as rounded:
                (rounded_vector,) = rounded.embed_images(images[:1])
            assert rounded_vector == pytest.approx(before[0], abs=0.05)
        assert embedder.embed_images(images) == before


def test_a_clip_in_the_model_s_folder_is_used(
    checkpoint: Path, clip: Path, tmp_path: Path, images: list[Image.Image]
) -> None:
    """As for the embedded model: without a vision tower and a tokenizer; the model's are used."""
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
        vectors = torch.tensor(embedder.embed_images(images))
        assert len(embedder.embed_texts(["red"])[0]) == vectors.shape[1]
        assert embedder.model_name == str(folder / "clip")
    whole = tmp_path / "whole"
    shutil.copytree(clip, whole)
    save_file(weights | kept, whole / "model.safetensors", metadata={"format": "pt"})
    expected = clip_images(whole, checkpoint, images)
    torch.testing.assert_close(vectors, expected, atol=1e-5, rtol=0)


def test_an_unknown_model_needs_its_clip_named(checkpoint: Path) -> None:
    with pytest.raises(ModelError, match=r"Which CLIP .* is not known.*clip='openai/clip"):
        Embedder(str(checkpoint)).embed_texts(["red"])


def test_a_siglip_tower_has_no_clip(clip: Path, tmp_path: Path) -> None:
    """Embeddings need a CLIP beside it; an engine's SigLIP tower is then not used."""
    folder = towers.write_siglip(tmp_path / "siglip")
    red = Image.new("RGB", (60, 40), "red")
    red.save(tmp_path / "red.png")
    with pytest.raises(ModelError, match=r"tower of '.*siglip' is a SigLIP.*clip='openai/clip"):
        Embedder(str(folder)).embed_texts(["red"])
    with pytest.raises(ModelError, match="is a SigLIP"):
        PageIndex(tmp_path / "index", Embedder(str(folder))).update([tmp_path / "red.png"])
    with Embedder(str(folder), dtype="float32", clip=str(clip)) as embedder:
        before = embedder.embed_images([red])
        with Llava(str(folder), dtype="float32") as llava:
            assert llava.backend.model_name
            assert embedder.embed_images([red]) == before


def test_a_siglip_tower_is_not_that_of_a_clip_in_its_folder(clip: Path, tmp_path: Path) -> None:
    folder = towers.write_siglip(tmp_path / "siglip")
    shutil.copytree(clip, folder / "clip")
    with pytest.raises(ModelError, match="is a SigLIP"):
        Embedder(str(folder)).embed_images([Image.new("RGB", (8, 8))])


def test_another_kind_of_model_is_an_error(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is a 'llava' model, not a CLIP"):
        Embedder(str(checkpoint), clip=str(checkpoint)).embed_texts(["red"])
    with pytest.raises(ModelNotFoundError, match="There is no model"):
        Embedder(str(checkpoint), clip=str(tmp_path / "none"), local_files_only=True).embed_texts(
            ["red"]
        )


def test_the_released_models_use_their_clip() -> None:
    with pytest.raises(ModelNotFoundError, match=r"openai/clip-vit-large-.*-336.*local_files_only"):
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


def test_the_clip_of_another_vision_tower_is_an_error(
    checkpoint: Path, llava: Llava, clip: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(clip, tmp_path / "clip"))
    config = json.loads((folder / "config.json").read_text())
    config["vision_config"]["image_size"] = 28
    (folder / "config.json").write_text(json.dumps(config))
    assert llava.backend.model_name
    with pytest.raises(ModelError, match="image_size is 28 there and 56 here"):
        Embedder(str(checkpoint), clip=str(folder)).embed_images([Image.new("RGB", (8, 8))])


@pytest.mark.parametrize("kind", ["texts", "images"])
def test_memory_that_runs_out_is_named_and_the_next_vectors_come(
    embedding: ClipEmbedding, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    items: dict[str, list[Any]] = {
        "texts": ["red"], "images": [open_image(Image.new("RGB", (8, 8)))]
    }  # fmt: skip
    embed = getattr(embedding, f"embed_{kind}")

    def exhausted(*_: object) -> object:
        raise torch.OutOfMemoryError

    with monkeypatch.context() as patched:
        patched.setattr("llava_tools.engine.embedding._unit", exhausted)
        with pytest.raises(MemoryExhaustedError, match=f"for the {kind} to embed"):
            embed(items[kind])
    assert len(embed(items[kind])) == 1


def test_an_invalid_image_is_an_error(checkpoint: Path, clip: Path) -> None:
    with (
        Embedder(str(checkpoint), clip=str(clip)) as embedder,
        pytest.raises(ImageError, match="is empty"),
    ):
        embedder.embed_images([b""])


def test_the_checkpoint_has_the_whole_vision_tower(checkpoint: Path) -> None:
    """As those of LLaVA 1.5 do, so that `write_clip` writes a complete CLIP."""
    model = LlavaForConditionalGeneration.from_pretrained(checkpoint)
    names = model.model.vision_tower.state_dict()
    assert "post_layernorm.weight" in names
    assert "encoder.layers.2.mlp.fc1.weight" in names
