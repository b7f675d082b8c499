"""A converted checkpoint computes what the original code computes; what it cannot is refused."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import (
    AutoProcessor,
    AutoTokenizer,
    CLIPVisionModel,
    LlavaForConditionalGeneration,
)

from llava_tools import Llava
from llava_tools.chat.formats import SYSTEM
from llava_tools.conversion import ConvertOptions, convert
from llava_tools.engine import load_engine
from llava_tools.engine.loading.original import weights
from llava_tools.engine.loading.processor import preprocess
from llava_tools.errors import MissingExtraError, ModelError, ModelNotFoundError, RequestError
from llava_tools.images import open_image
from llava_tools.options import EngineOptions
from tests.checkpoints import write_processors
from tests.fake_hub import FakeHub
from tests.original_layout import Original, write_original, write_weights

QUESTION = " What is in the image?\nAnswer in one word."
TOKENS = 10
PER_IMAGE = 16


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Original:
    return write_original(tmp_path_factory.mktemp("published"))


@pytest.fixture(scope="module")
def converted(original: Original) -> Path:
    out = original.folder.parent / "converted"
    convert(ConvertOptions(str(original.folder), out))
    return out


@pytest.fixture(scope="module")
def llava(converted: Path) -> Iterator[Llava]:
    with closing(load_engine(EngineOptions(str(converted), dtype="float32"))) as engine:
        yield Llava(backend=engine)


@pytest.fixture(scope="module")
def model(converted: Path) -> LlavaForConditionalGeneration:
    loaded: LlavaForConditionalGeneration = LlavaForConditionalGeneration.from_pretrained(
        converted, dtype=torch.float32
    )
    loaded.eval()
    return loaded


def _original_ids(original: Original, images: int) -> list[int]:
    """Return the prompt as the original code tokenizes it: piece by piece between images."""
    question = "<image>\n" * images + QUESTION
    first, *others = f"{SYSTEM} USER: {question} ASSISTANT:".split("<image>")
    ids = [original.pieces.bos_id(), *original.pieces.encode(first)]
    for other in others:
        ids += [original.pieces.vocab_size()] * PER_IMAGE + original.pieces.encode(other)
    return ids


@pytest.mark.parametrize("count", [0, 1, 2])
def test_tokens_and_logits_are_those_of_the_original_code(
    original: Original,
    llava: Llava,
    model: LlavaForConditionalGeneration,
    images: list[Image.Image],
    count: int,
) -> None:
    chosen, image = images[1 : 1 + count], original.pieces.vocab_size()
    ids = _original_ids(original, count)
    refs = [open_image(item) for item in chosen]
    processor = llava.backend.loaded.processor  # type: ignore[attr-defined]
    pixels = preprocess(processor, refs) if refs else None
    features = torch.zeros(0, PER_IMAGE, 64) if pixels is None else original.image_features(pixels)

    answer = llava.ask(QUESTION, chosen, max_tokens=TOKENS)
    assert answer.usage.prompt_tokens == len(ids)
    assert list(answer.token_ids) == original.greedy(ids, image, features, TOKENS)

    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([ids]), pixel_values=pixels).logits[0]
    expected = original.logits(ids, image, features)
    torch.testing.assert_close(logits[:, :image], expected, atol=1e-4, rtol=1e-4)


def test_tokens_are_those_of_the_same_weights_in_the_llava_hf_layout(
    original: Original,
    converted: Path,
    llava: Llava,
    images: list[Image.Image],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Written by transformers from its own modules, not by this package."""
    folder = tmp_path_factory.mktemp("by_transformers")
    original.as_llava(448).save_pretrained(folder)
    write_processors(folder, AutoTokenizer.from_pretrained(converted), 56)
    with closing(load_engine(EngineOptions(str(folder), dtype="float32"))) as engine:
        by_transformers = Llava(backend=engine)
        for count in (0, 1, 2):
            answers = [
                item.ask(QUESTION, images[:count], max_tokens=TOKENS)
                for item in (llava, by_transformers)
            ]
            assert answers[0].token_ids == answers[1].token_ids
            assert answers[0].text == answers[1].text


@pytest.mark.parametrize(("pickled", "with_tower"), [(True, True), (False, False), (False, True)])
def test_all_kinds_of_files_lead_to_the_same_weights(
    converted: Path, tmp_path: Path, pickled: bool, with_tower: bool
) -> None:
    other = write_original(tmp_path, pickled=pickled, with_tower=with_tower)
    convert(ConvertOptions(str(other.folder), tmp_path / "out"))
    expected = load_file(converted / "model.safetensors")
    found = load_file(tmp_path / "out" / "model.safetensors")
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_the_weights_own_vision_tower_wins_over_the_clip(tmp_path: Path) -> None:
    other = write_original(tmp_path, pickled=False, with_tower=True)
    path = other.folder / "model.safetensors"
    stored = load_file(path)
    name = "model.vision_tower.vision_tower.vision_model.pre_layrnorm.weight"
    stored[name] = stored[name] + 1  # a tower that was trained
    write_weights(other.folder, stored, pickled=False)
    convert(ConvertOptions(str(other.folder), tmp_path / "out"))
    found = load_file(tmp_path / "out" / "model.safetensors")
    assert torch.equal(found["vision_tower.vision_model.pre_layrnorm.weight"], stored[name])


def test_files_are_those_of_the_released_checkpoints(original: Original, converted: Path) -> None:
    def read(name: str) -> dict[str, Any]:
        return dict(json.loads((converted / name).read_text()))

    names = load_file(converted / "model.safetensors").keys()
    assert "language_model.model.layers.0.self_attn.q_proj.weight" in names
    assert "language_model.lm_head.weight" in names
    assert "multi_modal_projector.linear_2.bias" in names
    assert "vision_tower.vision_model.post_layernorm.weight" in names
    assert not [name for name in names if "rotary" in name or "text_model" in name]
    settings = read("config.json")
    assert settings["image_token_index"] == original.pieces.vocab_size()
    assert settings["image_seq_length"] == PER_IMAGE
    assert settings["vision_feature_layer"] == -2
    assert settings["vision_feature_select_strategy"] == "default"
    assert settings["text_config"]["vocab_size"] == 448  # 422 and more, a multiple of 64
    generation = read("generation_config.json")
    assert (generation["eos_token_id"], generation["pad_token_id"]) == (2, 421)
    assert (converted / "LICENSE").is_file()


def test_added_rows_are_never_the_likeliest_token(original: Original, converted: Path) -> None:
    head = load_file(converted / "model.safetensors")["language_model.lm_head.weight"]
    pieces = original.pieces.vocab_size()
    logits = torch.randn(500, head.shape[1]) @ head.T
    assert head.shape[0] == 448
    assert (logits[:, pieces:] < logits[:, :pieces].max(dim=1, keepdim=True).values).all()


def test_the_processor_of_transformers_pads_and_prompts(
    converted: Path, llava: Llava, images: list[Image.Image]
) -> None:
    processor = AutoProcessor.from_pretrained(converted)
    messages = [
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": QUESTION}]},
    ]
    text = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    assert text == f"{SYSTEM} USER: <image>\n{QUESTION} ASSISTANT:"
    batch = processor(images=images[1], text=text, return_tensors="pt")
    own = llava.backend.loaded.processor  # type: ignore[attr-defined]
    assert torch.equal(batch["pixel_values"], preprocess(own, [open_image(images[1])]))
    assert (batch["input_ids"] == processor.image_token_id).sum() == PER_IMAGE


def test_dtype_is_that_of_all_weights(original: Original, tmp_path: Path) -> None:
    done = convert(ConvertOptions(str(original.folder), tmp_path / "out", dtype="float16"))
    found = load_file(tmp_path / "out" / "model.safetensors")
    assert {tensor.dtype for tensor in found.values()} == {torch.float16}
    assert done.dtype == "float16"
    assert done.bytes == sum(tensor.nbytes for tensor in found.values())
    assert json.loads((tmp_path / "out" / "config.json").read_text())["dtype"] == "float16"


def test_large_weights_become_several_files(
    original: Original, converted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "_MAX_FILE", "200KB")
    progress: list[tuple[int, int]] = []
    out = tmp_path / "out"
    convert(ConvertOptions(str(original.folder), out), lambda done, of: progress.append((done, of)))
    files = sorted(path.name for path in out.glob("*.safetensors"))
    assert files[0] == f"model-00001-of-{len(files):05}.safetensors"
    assert progress == [(number, len(files)) for number in range(1, len(files) + 1)]
    index = json.loads((out / "model.safetensors.index.json").read_text())
    found = {name: tensor for file in files for name, tensor in load_file(out / file).items()}
    assert index["weight_map"].keys() == found.keys()
    assert index["metadata"]["total_size"] == sum(tensor.nbytes for tensor in found.values())
    expected = load_file(converted / "model.safetensors")
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_cls_patch_keeps_the_first_feature(tmp_path: Path) -> None:
    other = write_original(tmp_path, mm_vision_select_feature="cls_patch")
    convert(ConvertOptions(str(other.folder), tmp_path / "out"))
    settings = json.loads((tmp_path / "out" / "config.json").read_text())
    assert settings["vision_feature_select_strategy"] == "full"
    assert settings["image_seq_length"] == PER_IMAGE + 1


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"mm_projector_type": "linear"}, "mm_projector_type='linear'"),
        ({"mm_projector_type": None}, "mm_projector_type=None"),
        ({"mm_vision_select_feature": "cls"}, "mm_vision_select_feature='cls'"),
        ({"image_aspect_ratio": "square"}, "image_aspect_ratio='square'"),
        ({"image_aspect_ratio": "anyres"}, "LLaVA-NeXT.*vLLM"),
        ({"mm_patch_merge_type": "spatial_unpad"}, "mm_patch_merge_type='spatial_unpad'"),
        ({"mm_use_im_start_end": True}, "mm_use_im_start_end=True"),
        ({"s2": True}, "s2=True"),
        ({"model_type": "llava_mpt"}, "'llava_mpt'.*vLLM"),
        ({"model_type": "llava_mistral"}, "'llava_mistral'.*vLLM"),
        ({"mm_vision_tower": None}, "not a LLaVA"),
        ({"mm_vision_tower": "./elsewhere"}, "CLIP './elsewhere', which is not found. .*clip="),
        ({"mm_hidden_size": 1024}, "features of 1024 numbers.* 32"),
        ({"num_hidden_layers": 3}, "missing .*layers.2"),
        ({"intermediate_size": 128}, "wrong shape .*mlp"),
        ({"text_config": {}}, "needs no conversion"),
        ({"hidden_size": "x"}, "cannot read config.json of .*hidden_size"),
        ({"num_key_value_heads": 0}, "cannot read config.json of .* ZeroDivisionError"),
        ({"hidden_act": "x"}, "cannot read config.json of .* KeyError"),
    ],
)
def test_what_cannot_be_converted_is_refused(
    tmp_path: Path, fields: dict[str, Any], message: str
) -> None:
    other = write_original(tmp_path, **fields)
    with pytest.raises(ModelError, match=message) as caught:
        convert(ConvertOptions(str(other.folder), tmp_path / "out"))
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir() if "out" in path.name] == []


def test_a_vision_tower_without_its_text_tower_is_enough(
    original: Original, converted: Path, tmp_path: Path
) -> None:
    CLIPVisionModel.from_pretrained(original.clip).save_pretrained(tmp_path / "tower")
    options = ConvertOptions(str(original.folder), tmp_path / "out", clip=str(tmp_path / "tower"))
    convert(options)
    expected = load_file(converted / "model.safetensors")
    found = load_file(tmp_path / "out" / "model.safetensors")
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_the_option_clip_replaces_a_path_of_another_machine(tmp_path: Path) -> None:
    other = write_original(tmp_path, mm_vision_tower="/home/trainer/clip")
    options = ConvertOptions(str(other.folder), tmp_path / "out", clip=str(other.clip))
    assert convert(options).out == tmp_path / "out"


def test_attention_kernels_that_a_clip_names_are_not_loaded(
    original: Original, tmp_path: Path
) -> None:
    clip = shutil.copytree(original.clip, tmp_path / "clip")
    config = json.loads((clip / "config.json").read_text())
    for place in (config, config["vision_config"]):
        place |= {"attn_implementation": "someone/kernel", "_attn_implementation": "someone/kernel"}
    (clip / "config.json").write_text(json.dumps(config))
    convert(ConvertOptions(str(original.folder), tmp_path / "out", clip=str(clip)))
    assert "kernel" not in (tmp_path / "out" / "config.json").read_text()


def test_a_projector_alone_is_refused(original: Original, tmp_path: Path) -> None:
    folder = shutil.copytree(original.folder, tmp_path / "part")
    (folder / "mm_projector.bin").write_bytes(b"")
    with pytest.raises(ModelError, match="a projector alone"):
        convert(ConvertOptions(str(folder), tmp_path / "out"))


@pytest.mark.parametrize("name", ["tokenizer.model", "pytorch_model-00002-of-00002.bin"])
def test_missing_files_are_an_error(original: Original, tmp_path: Path, name: str) -> None:
    folder = shutil.copytree(original.folder, tmp_path / "part")
    (folder / name).unlink()
    with pytest.raises(ModelError, match=name):
        convert(ConvertOptions(str(folder), tmp_path / "out"))


def test_a_pickle_that_runs_code_is_refused(original: Original, tmp_path: Path) -> None:
    folder = shutil.copytree(original.folder, tmp_path / "part")
    torch.save({"x": Path("/")}, folder / "pytorch_model-00001-of-00002.bin")
    with pytest.raises(ModelError, match="more than weights"):
        convert(ConvertOptions(str(folder), tmp_path / "out"))


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_an_existing_target_is_left_alone(original: Original, tmp_path: Path, kind: str) -> None:
    out = tmp_path / "out"
    if kind == "folder":
        out.mkdir()
    kept = out / "kept.txt" if kind == "folder" else out
    kept.write_text("mine")
    with pytest.raises(RequestError, match="not an empty folder"):
        convert(ConvertOptions(str(original.folder), out))
    assert kept.read_text() == "mine"


def test_an_empty_target_is_used(original: Original, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    convert(ConvertOptions(str(original.folder), tmp_path / "out"))
    assert (tmp_path / "out" / "config.json").is_file()
    assert list(tmp_path.iterdir()) == [tmp_path / "out"]


def test_a_folder_with_a_similar_name_is_left_alone(original: Original, tmp_path: Path) -> None:
    (tmp_path / "out.part").mkdir()
    (tmp_path / "out.part" / "kept.txt").write_text("mine")
    convert(ConvertOptions(str(original.folder), tmp_path / "out"))
    assert {path.name for path in tmp_path.iterdir()} == {"out", "out.part"}
    assert (tmp_path / "out.part" / "kept.txt").read_text() == "mine"


def test_a_small_disk_is_an_error_before_anything_is_written(
    original: Original, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(ModelError, match=r"needs 0\.0 GB, and the disk .* has 0\.0 GB free"):
        convert(ConvertOptions(str(original.folder), tmp_path / "out"))
    assert list(tmp_path.iterdir()) == []


def _files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_checkpoint_and_clip_come_from_the_hub(
    original: Original, converted: Path, tmp_path: Path, hub: FakeHub
) -> None:
    settings = original.config | {"mm_vision_tower": "org/clip"}
    files = _files(original.folder) | {"config.json": json.dumps(settings).encode()}
    hub.publish("org/llava", files)
    hub.publish("org/clip", _files(original.clip) | {"tf_model.h5": b"not needed"})
    convert(ConvertOptions("org/llava", tmp_path / "out"))
    expected = load_file(converted / "model.safetensors")
    found = load_file(tmp_path / "out" / "model.safetensors")
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert "tf_model.h5" not in hub.downloads()


def test_a_clip_whose_tower_the_weights_hold_is_not_downloaded(
    tmp_path: Path, hub: FakeHub
) -> None:
    other = write_original(tmp_path, with_tower=True, mm_vision_tower="org/clip")
    hub.publish("org/clip", _files(other.clip))
    convert(ConvertOptions(str(other.folder), tmp_path / "out"))
    assert hub.downloads() == ["config.json", "preprocessor_config.json"]


def test_nothing_large_is_downloaded_for_what_is_refused(
    original: Original, tmp_path: Path, hub: FakeHub
) -> None:
    settings = original.config | {"mm_projector_type": "linear"}
    files = _files(original.folder) | {"config.json": json.dumps(settings).encode()}
    hub.publish("org/llava", files)
    with pytest.raises(ModelError, match="mm_projector_type"):
        convert(ConvertOptions("org/llava", tmp_path / "out"))
    assert not [name for name in hub.downloads() if name.endswith(".bin")]


def test_an_unknown_source_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="nowhere"):
        convert(ConvertOptions("./nowhere", tmp_path / "out"))


def test_an_unknown_dtype_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="dtype='int8'"):
        ConvertOptions("x", tmp_path, dtype="int8")


def test_sentencepiece_comes_with_an_extra(
    original: Original, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    with pytest.raises(MissingExtraError, match="the extra 'convert'"):
        convert(ConvertOptions(str(original.folder), tmp_path / "out"))
