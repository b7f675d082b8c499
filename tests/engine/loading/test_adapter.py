"""LoRA adapters are merged on loading, whatever release named their modules, or refused."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import IA3Config, LoraConfig, PeftModel, get_peft_model
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import LlavaForConditionalGeneration

from llava_tools import Llava
from llava_tools.chat import prompt
from llava_tools.core.requests import Message
from llava_tools.engine import load_engine
from llava_tools.engine.loading.checkpoint import load
from llava_tools.engine.loading.processor import preprocess
from llava_tools.errors import MissingExtraError, ModelError
from llava_tools.images import open_image
from llava_tools.options import EngineOptions
from tests.checkpoints import SMALL, llama_like_tokenizer, write_checkpoint, write_processors
from tests.fake_hub import FakeHub

QUESTION = "What is in the image?"
LANGUAGE = "model.language_model.layers"
#: Beginnings of names in transformers 4.51 and before, by today's.
OLD_NAMES = {
    "model.language_model.": "language_model.model.",
    "lm_head": "language_model.lm_head",
    "model.multi_modal_projector": "multi_modal_projector",
    "model.vision_tower.": "vision_tower.vision_model.",
}
KINDS: dict[str, dict[str, Any]] = {
    "attention of both towers": {"target_modules": ["q_proj", "v_proj"]},
    "all linear layers": {"target_modules": "all-linear"},
    "a pattern": {"target_modules": r".*language_model.*\.(q_proj|up_proj)"},
    "one layer": {"target_modules": ["o_proj"], "layers_to_transform": [1]},
    "exclusion": {"target_modules": ["k_proj"], "exclude_modules": r".*vision_tower.*"},
    "ranks and alphas": {
        "target_modules": ["q_proj", "down_proj"],
        "rank_pattern": {"down_proj": 3},
        "alpha_pattern": {r"layers\.0\.self_attn\.q_proj": 32},
    },
    "rank-stabilized": {"target_modules": ["q_proj"], "use_rslora": True},
    "weight-decomposed": {"target_modules": ["q_proj", "up_proj"], "use_dora": True},
    "projector": {"target_modules": ["v_proj"], "modules_to_save": ["multi_modal_projector"]},
    "output layer": {"target_modules": ["v_proj", "lm_head"]},
    "embeddings": {"target_modules": ["v_proj", "embed_tokens"]},
    "saved embeddings": {
        "target_modules": ["v_proj"], "modules_to_save": ["lm_head", "embed_tokens"]
    },
    "biases": {"target_modules": ["q_proj"], "bias": "all"},
    "principal values": {"target_modules": ["q_proj"], "init_lora_weights": "pissa"},
}  # fmt: skip


def write_adapter(folder: Path, base: Path, seed: int = 3, **settings: Any) -> Path:
    """Write an adapter with random weights as PEFT saves it."""
    model = LlavaForConditionalGeneration.from_pretrained(base, dtype=torch.float32)
    torch.manual_seed(seed)
    adapted = get_peft_model(model, LoraConfig(r=4, lora_alpha=8, **settings))
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if parameter.requires_grad and "lora_A" not in name:
                parameter += 0.3 * torch.randn_like(parameter) / parameter.shape[-1] ** 0.5
    adapted.save_pretrained(folder)
    return folder


def edit(folder: Path, **fields: Any) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def rename(folder: Path, names: dict[str, str]) -> None:
    """Rename an adapter's weights, and the patterns of its configuration, as old ones are."""

    def old(name: str) -> str:
        for begin, new in names.items():
            if name.startswith(begin):
                return new + name.removeprefix(begin)
        return name

    prefix = "base_model.model."
    weights = load_file(folder / "adapter_model.safetensors")
    renamed = {prefix + old(key.removeprefix(prefix)): value for key, value in weights.items()}
    assert renamed.keys() != weights.keys()
    save_file(renamed, folder / "adapter_model.safetensors", metadata={"format": "pt"})


@pytest.fixture(scope="module", params=KINDS)
def adapter(
    request: pytest.FixtureRequest, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    return write_adapter(tmp_path_factory.mktemp("adapter"), checkpoint, **KINDS[request.param])


@pytest.fixture
def plain(checkpoint: Path, tmp_path: Path) -> Path:
    """An adapter of the attention's query projections."""
    return write_adapter(tmp_path / "plain", checkpoint, target_modules=["q_proj"])


def _inputs(folder: Path, images: list[Image.Image]) -> dict[str, torch.Tensor]:
    loaded = load(EngineOptions(str(folder), dtype="float32"))
    refs = [open_image(image) for image in images]
    pieces = prompt.build((Message("user", (*refs, QUESTION)),))
    image = loaded.model.config.image_token_index
    ids = loaded.tokenizer.tokenize(pieces, lambda ref: [image] * SMALL.image_tokens)
    pixels = {"pixel_values": preprocess(loaded.processor, refs)} if refs else {}
    return {"input_ids": torch.tensor([ids]), **pixels}


def _unmerged(adapter: Path, base: Path) -> PeftModel:
    model = LlavaForConditionalGeneration.from_pretrained(base, dtype=torch.float32)
    return PeftModel.from_pretrained(model, str(adapter)).eval()


def _logits(model: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    with torch.inference_mode():
        logits: torch.Tensor = model(**inputs).logits
    return logits


@pytest.mark.parametrize("names", ["today", "old"])
def test_merged_logits_are_those_of_peft(
    adapter: Path, checkpoint: Path, images: list[Image.Image], tmp_path: Path, names: str
) -> None:
    inputs = _inputs(checkpoint, images[:2])
    expected = _logits(_unmerged(adapter, checkpoint), inputs)
    folder = Path(shutil.copytree(adapter, tmp_path / "adapter"))
    if names == "old":
        rename(folder, OLD_NAMES)
    merged = load(EngineOptions(str(folder), dtype="float32"))
    torch.testing.assert_close(_logits(merged.model, inputs), expected, atol=1e-4, rtol=1e-4)
    plain = load(EngineOptions(str(checkpoint), dtype="float32"))
    assert (_logits(plain.model, inputs) - expected).abs().max() > 0.1, "the adapter does nothing"


@pytest.mark.parametrize("count", [0, 1, 2])
def test_tokens_are_those_of_peft_unmerged(
    plain: Path, checkpoint: Path, images: list[Image.Image], count: int
) -> None:
    inputs = _inputs(checkpoint, images[:count])
    with torch.inference_mode():
        out = _unmerged(plain, checkpoint).generate(
            **inputs, max_new_tokens=12, do_sample=False, eos_token_id=2, pad_token_id=0
        )
    with closing(load_engine(EngineOptions(str(plain), dtype="float32"))) as engine:
        answer = Llava(backend=engine).ask(QUESTION, images[:count], max_tokens=12)
    assert list(answer.token_ids) == out[0, inputs["input_ids"].shape[1] :].tolist()
    assert answer.model == str(plain)


def test_a_pickled_adapter_is_merged(
    plain: Path, checkpoint: Path, images: list[Image.Image]
) -> None:
    inputs = _inputs(checkpoint, images[:1])
    expected = _logits(load(EngineOptions(str(plain), dtype="float32")).model, inputs)
    weights = plain / "adapter_model.safetensors"
    torch.save(load_file(weights), plain / "adapter_model.bin")
    weights.unlink()
    found = _logits(load(EngineOptions(str(plain), dtype="float32")).model, inputs)
    assert torch.equal(found, expected)


def test_names_of_a_language_model_alone_are_those_of_llava(
    checkpoint: Path, tmp_path: Path, images: list[Image.Image]
) -> None:
    folder = write_adapter(
        tmp_path / "adapter", checkpoint, target_modules=rf"{LANGUAGE}.*\.(q_proj|o_proj)"
    )
    inputs = _inputs(checkpoint, images[:1])
    expected = _logits(_unmerged(folder, checkpoint), inputs)
    rename(folder, {"model.language_model.": "model."})
    edit(folder, target_modules=["q_proj", "o_proj"])
    merged = load(EngineOptions(str(folder), dtype="float32")).model
    torch.testing.assert_close(_logits(merged, inputs), expected, atol=1e-4, rtol=1e-4)


def test_old_names_in_modules_to_save_are_mapped(
    checkpoint: Path, tmp_path: Path, images: list[Image.Image]
) -> None:
    folder = write_adapter(
        tmp_path / "adapter", checkpoint, target_modules=["q_proj"], modules_to_save=["lm_head"]
    )
    inputs = _inputs(checkpoint, images[:1])
    expected = _logits(_unmerged(folder, checkpoint), inputs)
    rename(folder, OLD_NAMES)
    edit(folder, modules_to_save=["language_model.lm_head"])
    merged = load(EngineOptions(str(folder), dtype="float32")).model
    torch.testing.assert_close(_logits(merged, inputs), expected, atol=1e-4, rtol=1e-4)


def test_the_adapters_own_tokenizer_and_processor_win(
    plain: Path, checkpoint: Path, images: list[Image.Image]
) -> None:
    base = load(EngineOptions(str(checkpoint), dtype="float32"))
    tokenizer = llama_like_tokenizer()
    tokenizer.chat_template = "{{ messages[0]['content'] }}"
    write_processors(plain, tokenizer, SMALL.image)
    settings = json.loads((plain / "preprocessor_config.json").read_text())
    settings["image_mean"] = [0.0, 0.0, 0.0]
    (plain / "preprocessor_config.json").write_text(json.dumps(settings))
    loaded = load(EngineOptions(str(plain), dtype="float32", conversation="vicuna_v1"))
    assert list(loaded.processor.image_mean) == [0.0, 0.0, 0.0]
    assert list(base.processor.image_mean) != [0.0, 0.0, 0.0]
    assert loaded.tokenizer.tokenizer.chat_template == tokenizer.chat_template
    assert base.tokenizer.tokenizer.chat_template is None


def test_tokens_without_embeddings_are_refused(plain: Path) -> None:
    tokenizer = llama_like_tokenizer()
    tokenizer.add_tokens(["<region>"])
    tokenizer.save_pretrained(plain)
    with pytest.raises(ModelError, match="has 1 tokens more than its base model"):
        load(EngineOptions(str(plain), dtype="float32"))


def test_16_bit_weights_are_merged(plain: Path, checkpoint: Path) -> None:
    name = f"{LANGUAGE}.0.self_attn.q_proj.weight"
    exact = load(EngineOptions(str(plain), dtype="float32")).model.get_parameter(name)
    half = load(EngineOptions(str(plain), dtype="bfloat16")).model.get_parameter(name)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), exact, atol=0.02, rtol=0.02)


def _drop_one(folder: Path) -> None:
    weights = load_file(folder / "adapter_model.safetensors")
    weights.pop(next(key for key in weights if "lora_A" in key and "language" in key))
    save_file(weights, folder / "adapter_model.safetensors", metadata={"format": "pt"})


def _widen_one(folder: Path) -> None:
    weights = load_file(folder / "adapter_model.safetensors")
    key = next(key for key in weights if "lora_A" in key and "language" in key)
    weights[key] = torch.zeros(4, 7)
    save_file(weights, folder / "adapter_model.safetensors", metadata={"format": "pt"})


def _add_one(folder: Path) -> None:
    weights = load_file(folder / "adapter_model.safetensors")
    weights["base_model.model.model.language_model.layers.9.mlp.up_proj.lora_A.weight"] = (
        torch.zeros(4, 64)
    )
    save_file(weights, folder / "adapter_model.safetensors", metadata={"format": "pt"})


def _grow(folder: Path) -> None:
    weights = load_file(folder / "adapter_model.safetensors")
    weights["base_model.model.lm_head.weight"] = torch.zeros(5, 64)
    save_file(weights, folder / "adapter_model.safetensors", metadata={"format": "pt"})


def _truncate(folder: Path) -> None:
    path = folder / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def _forget_saved(folder: Path) -> None:
    edit(folder, modules_to_save=["multi_modal_projector"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_drop_one, "1 missing .such as .*lora_A"),
        (_widen_one, "does not fit its base model: size mismatch"),
        (_add_one, "no module 'model.language_model.layers.9.mlp.up_proj'"),
        (_grow, "changes the vocabulary: it has 5 tokens"),
        (_truncate, "truncated or damaged"),
        (lambda folder: (folder / "adapter_model.safetensors").unlink(), "has no adapter_model"),
        (_forget_saved, "multi_modal_projector"),
        (lambda folder: edit(folder, target_parameters=["lm_head.weight"]), "target_parameters"),
        (lambda folder: edit(folder, trainable_token_indices=[5]), "trainable_token_indices"),
        (lambda folder: edit(folder, layer_replication=[[0, 2], [0, 2]]), "layer_replication"),
        (lambda folder: edit(folder, use_tomorrows_method=True), "use_tomorrows_method"),
        (lambda folder: edit(folder, layers_pattern="layers"), "adapter_config.json .* is damaged"),
        (lambda folder: edit(folder, lora_alpha="many"), "does not fit"),
        (lambda folder: edit(folder, base_model_name_or_path=str(folder)), "is an adapter itself"),
        (
            lambda folder: edit(folder, base_model_name_or_path="/home/trainer/llava"),
            "base model of the adapter .* is not found: .*/home/trainer/llava.*adapter_config.json",
        ),
    ],
)
def test_what_cannot_be_merged_is_refused(
    plain: Path, change: Callable[[Path], None], message: str
) -> None:
    change(plain)
    with pytest.raises(ModelError, match=message) as caught:
        load(EngineOptions(str(plain), dtype="float32"))
    assert "\n" not in str(caught.value)


def test_an_adapter_of_another_size_is_refused_before_the_weights_are_read(
    plain: Path, checkpoint: Path, tmp_path: Path
) -> None:
    other = Path(shutil.copytree(checkpoint, tmp_path / "other"))
    config = json.loads((other / "config.json").read_text())
    config["text_config"] |= {"hidden_size": 128, "head_dim": 64}
    (other / "config.json").write_text(json.dumps(config))
    (other / "model.safetensors").write_bytes(b"not read")
    edit(plain, base_model_name_or_path=str(other))
    with pytest.raises(ModelError, match="size mismatch"):
        load(EngineOptions(str(plain), dtype="float32"))


def test_shared_embeddings_are_not_updated(tmp_path: Path) -> None:
    base = write_checkpoint(tmp_path / "base")
    folder = write_adapter(tmp_path / "adapter", base, target_modules=["embed_tokens"])
    config = json.loads((base / "config.json").read_text())
    config["tie_word_embeddings"] = config["text_config"]["tie_word_embeddings"] = True
    (base / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="shares between input and output"):
        load(EngineOptions(str(folder), dtype="float32"))


def test_other_kinds_of_adapters_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    model = LlavaForConditionalGeneration.from_pretrained(checkpoint, dtype=torch.float32)
    settings = IA3Config(target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"])
    get_peft_model(model, settings).save_pretrained(tmp_path / "ia3")
    with pytest.raises(ModelError, match="IA3"):
        load(EngineOptions(str(tmp_path / "ia3")))


def test_values_that_are_not_finite_are_an_error(plain: Path) -> None:
    weights = load_file(plain / "adapter_model.safetensors")
    weights = {key: tensor.fill_(float("nan")) for key, tensor in weights.items()}
    save_file(weights, plain / "adapter_model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match="cannot be merged"):
        load(EngineOptions(str(plain), dtype="float32"))


def test_quantization_does_not_go_with_an_adapter(
    plain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ModelError, match="cannot be merged into quantized weights"):
        load(EngineOptions(str(plain), device="cpu", quantization="4bit"))


def _files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_adapter_and_base_come_from_the_hub(plain: Path, checkpoint: Path, hub: FakeHub) -> None:
    edit(plain, base_model_name_or_path="org/llava", revision="v2")
    hub.publish("org/lora", _files(plain) | {"optimizer.pt": b"not needed"})
    hub.publish("org/llava", _files(checkpoint), revision="v2")
    loaded = load(EngineOptions("org/lora", dtype="float32"))
    assert loaded.name == "org/lora"
    assert "optimizer.pt" not in hub.downloads()


def test_a_base_is_not_downloaded_for_an_adapter_that_does_not_fit(
    plain: Path, checkpoint: Path, hub: FakeHub
) -> None:
    _add_one(plain)
    edit(plain, base_model_name_or_path="org/llava")
    hub.publish("org/llava", _files(checkpoint))
    with pytest.raises(ModelError, match="was made for another model"):
        load(EngineOptions(str(plain), dtype="float32"))
    assert "model.safetensors" not in hub.downloads()


def test_peft_comes_with_an_extra(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MissingExtraError, match="the extra 'train'"):
        load(EngineOptions(str(plain), dtype="float32"))
