"""What a checkpoint is, and what is refused, from its small files alone."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
from hypothesis import given, strategies
from transformers import LlavaConfig, LlavaForConditionalGeneration
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from llava_tools.engine.loading import dimensions
from llava_tools.engine.loading.inspection import Inspection, inspect, inspect_file, list_files
from llava_tools.errors import ModelError, ModelNotFoundError
from tests import published_configs as published
from tests.published_configs import llava

#: Files of a complete checkpoint, with their sizes.
COMPLETE = {
    "config.json": 1,
    "model.safetensors": 1000,
    "preprocessor_config.json": 1,
    "tokenizer.json": 1,
}
Read = Callable[..., Inspection]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Inspect a checkpoint with some JSON files, and other files that are only listed."""

    def read(
        config: Any = None,
        files: dict[str, int] | None = None,
        name: str = "owner/name",
        **jsons: Any,
    ) -> Inspection:
        jsons = {f"{stem}.json": content for stem, content in jsons.items()}
        jsons |= {} if config is None else {"config.json": config}
        for file, content in jsons.items():
            text = content if isinstance(content, str) else json.dumps(content)
            (tmp_path / file).write_text(text)
        listed = COMPLETE if files is None else files
        return inspect(tmp_path, {**dict.fromkeys(jsons, 1), **listed}, name)

    return read


@pytest.mark.parametrize(
    ("config", "text", "vision", "tokens", "context"),
    [
        (published.LLAVA_7B, "llama", "clip_vision_model", 576, 4096),
        (published.LLAVA_13B, "llama", "clip_vision_model", 576, 4096),
        (published.BAKLLAVA, "mistral", "clip_vision_model", 576, 32768),
        (published.INTERLEAVE_05B, "qwen2", "siglip_vision_model", 729, 32768),
        (published.JOYCAPTION, "llama", "siglip_vision_model", 729, 131072),
        (published.CALM2_SIGLIP, "llama", "siglip_vision_model", 728, 32768),
    ],
    ids=["7b", "13b", "bakllava", "interleave-0.5b", "joycaption", "calm2-siglip"],
)
def test_published_models_are_described_as_transformers_builds_them(
    read: Read, config: Any, text: str, vision: str, tokens: int, context: int
) -> None:
    model = read(config)
    assert model.refusal is None
    assert model.text
    assert model.vision
    assert (model.text.model_type, model.vision.model_type) == (text, vision)
    assert (model.vision.image_tokens, model.text.context_length) == (tokens, context)
    assert model.parameters == _meta_model(config).num_parameters()


def _meta_model(config: Any) -> LlavaForConditionalGeneration:
    with torch.device("meta"):
        return LlavaForConditionalGeneration(LlavaConfig(**json.loads(json.dumps(config))))


@pytest.mark.parametrize(
    "config",
    [
        llava({"model_type": kind, "num_hidden_layers": 3}, {"num_hidden_layers": 2})
        for kind in ("llama", "mistral", "qwen2", "qwen3", "phi3", "gemma")
    ]
    + [
        llava({"attention_bias": True, "mlp_bias": True, "num_key_value_heads": 8}),
        llava({"vocab_size": 100}, vision_feature_layer=[-2, -5], multimodal_projector_bias=False),
        llava({"model_type": "phi3"}, {"model_type": "siglip_vision_model"}),
        {"model_type": "llava", "text_config": {"model_type": "llama"}},
    ],
    ids=lambda config: str(config["text_config"]),
)
def test_left_out_values_count_as_the_defaults_of_transformers(read: Read, config: Any) -> None:
    model = read(config)
    built = LlavaConfig(**json.loads(json.dumps(config)))
    text: Any = built.text_config
    assert model.parameters == _meta_model(config).num_parameters()
    assert model.text
    assert model.vision
    head = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    assert model.text.kv_values == 2 * text.num_hidden_layers * text.num_key_value_heads * head
    assert model.text.context_length == text.max_position_embeddings
    vision: Any = built.vision_config
    assert model.vision.image_size == vision.image_size


def test_supported_parts_are_those_of_transformers() -> None:
    assert not dimensions.TEXT_MODELS - set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
    assert not dimensions.VISION_TOWERS - set(CONFIG_MAPPING)


def test_quantization_shrinks_the_linear_layers_alone(read: Read) -> None:
    text = read(published.LLAVA_7B).text
    model = _meta_model(published.LLAVA_7B)
    layers: Any = model.model.language_model.layers
    assert text
    assert text.linear_parameters == sum(
        module.weight.numel() for module in layers.modules() if isinstance(module, torch.nn.Linear)
    )


@pytest.mark.parametrize(
    ("config", "message", "hint"),
    [
        ({"model_type": "llama"}, "is a 'llama' model, not a LLaVA 1.5", "base_url"),
        (published.VIP_LLAVA, "is a ViP-LLaVA model, not a LLaVA 1.5", "base_url"),
        (published.NEXT, "is a LLaVA-NeXT model, not a LLaVA 1.5", "vLLM"),
        ({"model_type": "llava_next_video"}, "is a LLaVA-NeXT-Video model", "vLLM"),
        ({"model_type": "llava_onevision"}, "is a LLaVA-OneVision model", "vLLM"),
        (published.PIXTRAL, "is a Pixtral model", "llama-server"),
        ({"model_type": "qwen2_vl"}, "is a Qwen2-VL model", "llama-server"),
        ({"model_type": "qwen2_5_vl"}, "is a Qwen2.5-VL model", "llama-server"),
        ({"model_type": "qwen3_vl"}, "is a Qwen3-VL model", "vLLM"),
        ({"model_type": "idefics3"}, "is an Idefics3 model", "vLLM"),
        ({"model_type": "paligemma"}, "is a PaliGemma model", "vLLM"),
        ({"model_type": "mllama"}, "is a Llama 3.2 Vision model", "Ollama"),
        ({"model_type": "minicpmv", "auto_map": {}}, "is a MiniCPM-V model", "vLLM"),
        ({"model_type": "internvl_chat", "auto_map": {}}, "is an InternVL model", "vLLM"),
        ({"model_type": "blip-2"}, "is a BLIP-2 model", "vLLM"),
        ({"model_type": "clip"}, "is a CLIP model", "clip="),
        ({"model_type": "tiny_llava_phi", "auto_map": {}}, "needs code of its own", "base_url"),
        ({"model_type": "llamavision", "auto_map": {}}, "needs code of its own", "base_url"),
        (llava({"model_type": "phi-msft", "auto_map": {}}), "needs code of its own", "base_url"),
        (llava({"model_type": "falcon"}), "language model .* type 'falcon'", "base_url"),
        (llava({"model_type": "internlm2"}), "language model .* type 'internlm2'", "base_url"),
        (llava({}, {"model_type": "eva_clip"}), "vision tower .* type 'eva_clip'", "base_url"),
        (
            llava(published.MISTRAL_7B, use_image_newline_parameter=True),
            "is a LLaVA-NeXT model, though its config.json says 'llava'",
            "base_url",
        ),
        ({**published.LLAVA_7B, "quantization_config": published.AWQ}, "quantized by AWQ", "vLLM"),
        ({**published.LLAVA_7B, "quantization_config": published.GPTQ}, "by GPTQ", "vLLM"),
        (
            {**published.LLAVA_7B, "compression_config": published.COMPRESSED},
            "quantized by compressed-tensors",
            "vLLM",
        ),
        (
            llava({**published.VICUNA_7B, "quantization_config": published.COMPRESSED}),
            "quantized by compressed-tensors",
            "vLLM",
        ),
        ({**published.LLAVA_7B, "quantization_config": {"quant_method": "fp8"}}, "FP8", "vLLM"),
        ({**published.LLAVA_7B, "quantization_config": {"quant_method": "hqq"}}, "HQQ", "4bit"),
        ({**published.LLAVA_7B, "quantization_config": {"quant_method": "new"}}, "new", "4bit"),
        ({**published.LLAVA_7B, "quantization": published.MLX_4BIT}, "by MLX", "mlx_vlm.server"),
        (
            {**published.LLAVA_7B, "quantization_config": published.MLX_4BIT},
            "quantized by MLX",
            "mlx_vlm.server",
        ),
        (published.ORIGINAL_7B, "original layout", "llava-tools convert owner/name --out DIR"),
        (published.ORIGINAL_NEXT, "is a LLaVA-NeXT model", "vLLM"),
        (
            {**published.ORIGINAL_7B, "architectures": ["LISAForCausalLM"]},
            "is a 'LISAForCausalLM' model, not a LLaVA 1.5",
            "base_url",
        ),
        ("{", "config.json of 'owner/name' is not JSON", "Download"),
        ("[]", "config.json of 'owner/name' is not JSON: it holds no object", "Download"),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, str) else "",
)
def test_what_is_not_a_llava_in_a_supported_format_is_refused_by_name(
    read: Read, config: Any, message: str, hint: str
) -> None:
    model = read(config)
    with pytest.raises(ModelError, match=message) as caught:
        model.require("cuda")
    assert hint in caught.value.hint
    assert "owner/name" in caught.value.message
    assert "\n" not in str(caught.value)
    assert caught.value.message.endswith(".")


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("liuhaotian/llava-v1.5-7b", "llava-hf/llava-1.5-7b-hf"),
        ("liuhaotian/llava-v1.5-13b", "llava-hf/llava-1.5-13b-hf"),
        ("/models/llava-v1.5-7b/", "llava-hf/llava-1.5-7b-hf"),
        ("SkunkworksAI/BakLLaVA-1", "llava-hf/bakLlava-v1-hf"),
        ("xtuner/llava-phi-3-mini", "xtuner/llava-phi-3-mini-hf"),
    ],
)
def test_an_original_with_a_counterpart_names_it(read: Read, name: str, other: str) -> None:
    refusal = read(published.ORIGINAL_7B, name=name).refusal
    assert refusal
    assert repr(other) in refusal.hint


@pytest.mark.parametrize("kind", ["4bit", "8bit"])
@pytest.mark.parametrize("device", ["cpu", "mps"])
def test_bitsandbytes_weights_need_cuda(read: Read, kind: str, device: str) -> None:
    settings = {"4bit": published.BNB_4BIT, "8bit": published.BNB_8BIT}[kind]
    model = read({**published.LLAVA_7B, "quantization_config": settings})
    assert model.quantization == kind
    model.require("cuda")
    with pytest.raises(ModelError, match=f"quantized to {kind} by bitsandbytes") as caught:
        model.require(device)
    assert "GGUF" in caught.value.hint


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"ggml-model-q4_k.gguf": 9, "mmproj-model-f16.gguf": 9, "README.md": 1}, "is GGUF"),
        ({"a/model.gguf": 9, "b/config.json": 9}, "has no config.json"),
        ({"params.json": 1, "consolidated.safetensors": 9, "tekken.json": 1}, "Mistral's own"),
        ({"mm_projector.bin": 9}, "holds a projector alone"),
        ({"README.md": 1}, "has no config.json"),
        ({}, "is empty"),
        ({"projector/config.json": 1, "llm_adapter/adapter_config.json": 1}, "XTuner's layout"),
        ({"config.json": 0, "iter_1.pth": 9}, "XTuner's layout"),
        ({"llm/config.json": 1}, "has no config.json"),
        ({"quantize_config.json": 1}, "has no config.json"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_folders_without_a_configuration_are_refused(
    read: Read, files: dict[str, int], message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        read(files=files).require("cuda")


@pytest.mark.parametrize(
    ("config", "files", "message"),
    [
        (published.LLAVA_7B, {"model.gguf": 9}, "is GGUF"),
        (published.LLAVA_7B, {"onnx/vision_encoder.onnx": 9}, "has weights for ONNX alone"),
        (published.LLAVA_7B, {}, "neither model.safetensors nor pytorch_model.bin"),
        (published.ORIGINAL_7B, {"mm_projector.bin": 9}, "holds a projector alone"),
        (published.ORIGINAL_7B, {"non_lora_trainables.bin": 9}, "LoRA of LLaVA's original code"),
        (published.ORIGINAL_7B, {"quant_config.json": 1, "model.safetensors": 9}, "by AWQ"),
        (published.ORIGINAL_7B, {"quantize_config.json": 1, "model.safetensors": 9}, "by GPTQ"),
        ({"model_type": "llama"}, {"projector/a": 1, "visual_encoder/b": 1}, "XTuner's layout"),
    ],
)
def test_other_files_beside_a_configuration_decide(
    read: Read, config: Any, files: dict[str, int], message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        read(config, files=files).require("cuda")


def test_a_lora_names_its_base(read: Read) -> None:
    model = read(files={"adapter_model.safetensors": 500}, adapter_config=published.LORA)
    model.require("cpu")
    assert model.adapter_base == "llava-hf/llava-1.5-7b-hf"
    assert (model.weight_files, model.weight_bytes) == (("adapter_model.safetensors",), 500)


@pytest.mark.parametrize(
    ("adapter", "files", "message"),
    [
        ({**published.LORA, "peft_type": "IA3"}, {"adapter_model.bin": 9}, "type 'IA3'"),
        ({"peft_type": "LORA"}, {"adapter_model.bin": 9}, "names no base model"),
        (published.LORA, {"adapter_model.bin": 9, "non_lora_trainables.bin": 9}, "original code"),
        (published.LORA, {"adapter_model.bin": 9, "model.safetensors": 9}, "a whole model and"),
    ],
)
def test_other_adapters_are_refused(
    read: Read, adapter: Any, files: dict[str, int], message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        read(files=files, adapter_config=adapter).require("cuda")


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("ggml-model-q4_k.gguf", "is GGUF"),
        ("model.safetensors", "is one file of a checkpoint"),
        ("notes.txt", "is a file, not the folder"),
    ],
)
def test_a_file_is_refused(tmp_path: Path, file: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        inspect_file(tmp_path / file).require("cpu")


def test_what_is_missing_is_not_found(read: Read) -> None:
    with pytest.raises(ModelNotFoundError, match="Name the folder of a checkpoint, such as its"):
        read(files={"checkpoint-1/config.json": 1}).require("cpu")


@pytest.mark.parametrize(
    ("files", "weights", "size"),
    [
        ({"model.safetensors": 7, "pytorch_model.bin": 8}, ("model.safetensors",), 7),
        ({"a.safetensors": 3, "b.safetensors": 4}, ("a.safetensors", "b.safetensors"), 7),
        ({"a.safetensors": 5, "model.safetensors": 6}, ("model.safetensors",), 6),
    ],
)
def test_the_size_is_that_of_the_weights_that_are_loaded(
    read: Read, files: dict[str, int], weights: tuple[str, ...], size: int
) -> None:
    index = {"metadata": {}, "weight_map": {"x": "a.safetensors", "y": "b.safetensors"}}
    model = read(published.LLAVA_7B, files=files, **{"model.safetensors.index": index})
    assert (model.weight_files, model.weight_bytes) == (weights, size)


def test_pickled_weights_have_their_size(read: Read) -> None:
    model = read(published.LLAVA_7B, files={"pytorch_model.bin": 5, "optimizer.bin": 9})
    assert (model.weight_files, model.weight_bytes) == (("pytorch_model.bin",), 5)


def test_missing_shards_are_named_before_anything_is_loaded(read: Read) -> None:
    index = {"metadata": {}, "weight_map": {"x": "a.safetensors", "y": "b.safetensors"}}
    model = read(published.LLAVA_7B, {"a.safetensors": 1}, **{"model.safetensors.index": index})
    with pytest.raises(ModelError, match=r"lacks b\.safetensors"):
        model.require("cpu")


@pytest.mark.parametrize(
    ("precision", "gigabytes"),
    [("float32", 28.25), ("float16", 14.13), ("bfloat16", 14.13), ("8bit", 7.65), ("4bit", 4.82)],
)
def test_memory_of_the_7b_by_precision(read: Read, precision: str, gigabytes: float) -> None:
    memory = read(published.LLAVA_7B).memory(precision)
    assert memory == pytest.approx(gigabytes * 1e9, rel=1e-3)


def test_quantized_files_take_the_memory_of_their_size(read: Read) -> None:
    config = {**published.LLAVA_7B, "quantization_config": published.BNB_4BIT}
    assert read(config).memory("float16") == 1000


@pytest.mark.parametrize("dtype", ["\x1b[2J", "", 5, None, ["float16"]])
def test_a_dtype_that_is_none_is_not_shown(read: Read, dtype: Any) -> None:
    assert read(llava({"model_type": "llama"}, torch_dtype=dtype)).dtype is None


def test_parameters_of_other_language_models_come_from_the_size(read: Read) -> None:
    config = llava({"model_type": "granite"}, torch_dtype="bfloat16")
    assert read(config).parameters == 500


def test_warnings_name_what_may_go_wrong(read: Read) -> None:
    config = {**published.LLAVA_7B, "auto_map": {"AutoModel": "modeling_x.Model"}}
    assert read(config, files={"pytorch_model.bin": 9}).warnings == (
        "It has no tokenizer.json.",
        "It has no preprocessor_config.json.",
        "Its weights are pickled; code in them is not run.",
        "It brings Python code, which is not run.",
    )
    assert read(published.LLAVA_7B).warnings == ()


@pytest.mark.parametrize(
    ("files", "licence"),
    [
        ({"README.md": "---\nlicense: llama2\ntags:\n- vision\n---\n# LLaVA\n"}, "llama2"),
        (
            {"README.md": "---\nlicense: other\nlicense_name: tongyi-qianwen-research\n---\n"},
            "tongyi-qianwen-research",
        ),
        ({"README.md": "# No front matter\nlicense: mit\n"}, None),
        ({"README.md": "---" + 200_000 * "\n" + "license: mit\n"}, None),
        ({"README.md": "---\nlicense: \x1b[31mmit\x07\n---\n"}, "[31mmit"),
        ({"LICENSE": "\n    Apache License\n  Version 2.0\n"}, "Apache License"),
        ({}, None),
    ],
)
def test_the_licence_is_the_card_s_or_the_file_s(
    read: Read, tmp_path: Path, files: dict[str, str], licence: str | None
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert read(published.LLAVA_7B).licence == licence


_JSON = strategies.recursive(
    strategies.none()
    | strategies.booleans()
    | strategies.integers()
    | strategies.floats()
    | strategies.text(max_size=5),
    lambda inner: (
        strategies.lists(inner, max_size=3)
        | strategies.dictionaries(strategies.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)
_CONFIGS = [published.LLAVA_7B, published.JOYCAPTION, published.ORIGINAL_7B, published.PIXTRAL]


@given(strategies.data())
def test_no_configuration_raises_anything_but_a_refusal(data: strategies.DataObject) -> None:
    config = json.loads(json.dumps(data.draw(strategies.sampled_from(_CONFIGS))))
    inner = [config[name] for name in ("text_config", "vision_config") if name in config]
    for place in (config, *inner):
        for key in data.draw(strategies.lists(strategies.sampled_from(sorted(place)), max_size=2)):
            place[key] = data.draw(_JSON)
    extra = strategies.sampled_from(["quantization_config", "quantization", "auto_map", "dtype"])
    config[data.draw(extra)] = data.draw(_JSON)
    with TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps(config))
        model = inspect(Path(folder), COMPLETE, "owner/name")
    for precision in ("float16", "4bit"):
        model.memory(precision)
    with suppress(ModelError):
        model.require("cpu")


@pytest.mark.parametrize("part", ["text_config", "vision_config"])
def test_dimensions_beyond_any_model_are_unknown(part: str) -> None:
    config = {**published.LLAVA_7B, part: {**published.LLAVA_7B[part], "hidden_size": 1e154}}
    with TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps(config), encoding="utf-8")
        model = inspect(Path(folder), COMPLETE, "owner/name")
    assert (model.text if part == "text_config" else model.vision) is None
    assert (model.memory("float16") or 0) < 1e12


def test_deep_json_is_refused(read: Read) -> None:
    refusal = read("[" * 100_000).refusal
    assert refusal
    assert "is not JSON" in refusal.message


def test_files_of_a_folder_are_listed_with_their_sizes(tmp_path: Path) -> None:
    for name in ("config.json", "onnx/model.onnx", ".git/index", "a/b/c.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("12345")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    assert list_files(tmp_path) == {"config.json": 5, "onnx/model.onnx": 5}


def test_the_embedded_model_and_a_stand_in_are_not_refused(checkpoint: Path) -> None:
    model = inspect(checkpoint, list_files(checkpoint))
    model.require("cpu")
    assert model.name == str(checkpoint)
    assert model.vision
    assert model.vision.image_tokens == 16


def test_inspecting_loads_neither_torch_nor_transformers(checkpoint: Path) -> None:
    program = (
        "import sys; from pathlib import Path\n"
        "from llava_tools.engine.loading.inspection import inspect, list_files\n"
        "folder = Path(sys.argv[1]); inspect(folder, list_files(folder)).require('cpu')\n"
        "print({'torch', 'transformers', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(checkpoint)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n"
