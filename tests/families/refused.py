"""Published checkpoints that are refused, as their small files and the names of the others."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests import published_configs as published
from tests.published_configs import Config, llava

_GB = 2**30
_TOKENIZER = {"tokenizer.json": 1842767, "tokenizer_config.json": 1330}
_COMPLETE = {**_TOKENIZER, "model.safetensors": 14 * _GB, "preprocessor_config.json": 505}
_BIN = {
    "pytorch_model-00001-of-00002.bin": 10 * _GB,
    "pytorch_model-00002-of-00002.bin": 4 * _GB,
    "tokenizer.model": 499723,
    "tokenizer_config.json": 749,
}


@dataclass(frozen=True)
class Refused:
    """A published checkpoint and what its refusal must say.

    Attributes:
        name: Of the checkpoint on the hub.
        config: Its config.json; None if it has none.
        says: What the message must contain.
        way_out: What the hint must contain.
        files: Names and sizes of its other files.
        jsons: Contents of further JSON files.
    """

    name: str
    config: Config | None
    says: tuple[str, ...]
    way_out: tuple[str, ...]
    files: Mapping[str, int] = field(default_factory=lambda: _COMPLETE)
    jsons: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Write its files; those with weights hold a few bytes that nothing must read."""
        shards = [name for name in self.files if "-of-" in name]
        jsons = dict(self.jsons)
        if self.config is not None:
            jsons["config.json"] = self.config
        if shards:
            weight_map = {f"weight {number}": name for number, name in enumerate(shards)}
            jsons["pytorch_model.bin.index.json"] = {"metadata": {}, "weight_map": weight_map}
        for name in self.files:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"no weights")
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in jsons.items():
            (folder / name).write_text(json.dumps(content), encoding="utf-8")


def _other(model_type: str, architecture: str, **fields: Any) -> Config:
    return {"architectures": [architecture], "model_type": model_type, **fields}


_TOWER_INSIDE = {"mm_vision_tower": "openai/clip-vit-large-patch14-336"}
_CONVERTED = ("original layout",)
_SERVED = ("vLLM", "base_url")

REFUSED = (
    Refused(
        "liuhaotian/llava-v1.5-7b",
        published.ORIGINAL_7B,
        _CONVERTED,
        ("llava-hf/llava-1.5-7b-hf",),
        {**_BIN, "mm_projector.bin": 41961648},
    ),
    Refused(
        "liuhaotian/llava-v1.5-13b",
        {**published.ORIGINAL_7B, "hidden_size": 5120, "num_hidden_layers": 40},
        _CONVERTED,
        ("llava-hf/llava-1.5-13b-hf",),
        {**_BIN, "mm_projector.bin": 62930624},
    ),
    Refused(
        "liuhaotian/llava-v1.5-7b-lora",
        {**published.ORIGINAL_7B, "_name_or_path": "lmsys/vicuna-7b-v1.5"},
        ("LoRA", "original"),
        ("convert",),
        {"adapter_model.bin": 639805264, "non_lora_trainables.bin": 41961648},
        {"adapter_config.json": {"peft_type": "LORA", "r": 128, "lora_alpha": 256}},
    ),
    Refused(
        "tennant/agent-7b-lora-1ep-llava-1.5-7b",
        {**published.ORIGINAL_7B, "model_type": "llava_llama"},
        _CONVERTED,
        ("llava-tools convert",),
    ),
    Refused(
        "SkunkworksAI/BakLLaVA-1",
        {
            **published.ORIGINAL_7B,
            "architectures": ["LlavaMistralForCausalLM"],
            "model_type": "llava_mistral",
            "num_key_value_heads": 8,
        },
        _CONVERTED,
        ("llava-hf/bakLlava-v1-hf",),
        _BIN,
    ),
    Refused(
        "Lin-Chen/ShareGPT4V-7B",
        {
            **published.ORIGINAL_7B,
            "architectures": ["Share4VLlamaForCausalLM"],
            "mm_vision_tower": "Lin-Chen/ShareGPT4V-7B_Pretrained_vit-large336-l12",
            "model_type": "share4v",
        },
        ("not a LLaVA 1.5",),
        ("base_url",),
        _BIN,
    ),
    Refused(
        "xtuner/llava-llama-3-8b-v1_1-hf",
        {
            **published.ORIGINAL_7B,
            "model_type": "llava",
            "unfreeze_mm_vision_tower": True,
            "vocab_size": 128256,
        },
        _CONVERTED,
        ("xtuner/llava-llama-3-8b-v1_1-transformers",),
    ),
    Refused(
        "xtuner/llava-phi-3-mini",
        {**published.ORIGINAL_7B, "model_type": "llava_llama", "unfreeze_mm_vision_tower": True},
        _CONVERTED,
        ("xtuner/llava-phi-3-mini-hf",),
    ),
    Refused(
        "xtuner/llava-llama-3-8b-v1_1",
        {**published.LLAMA3_8B},
        ("XTuner",),
        ("xtuner/llava-llama-3-8b-v1_1-transformers",),
        {
            **_TOKENIZER,
            "model.safetensors": 16 * _GB,
            "projector/config.json": 300,
            "projector/model.safetensors": 41961648,
            "visual_encoder_adapter/adapter_config.json": 700,
            "visual_encoder_adapter/adapter_model.safetensors": 26214400,
            "xtuner_config.py": 7180,
        },
    ),
    Refused(
        "hari02/llava_report_4bit (bitsandbytes, 4 bit), on a CPU",
        {**published.LLAVA_7B, "quantization_config": published.BNB_4BIT},
        ("4bit", "bitsandbytes", "cpu"),
        ("model it was made from",),
    ),
    Refused(
        "matChmp/llava-phi-3-mini-hf (bitsandbytes, 8 bit), on a CPU",
        {**published.LLAVA_7B, "quantization_config": published.BNB_8BIT},
        ("8bit", "bitsandbytes", "cpu"),
        ("model it was made from",),
    ),
    Refused(
        "ybelkada/llava-1.5-7b-hf-awq",
        {**published.LLAVA_7B, "quantization_config": published.AWQ},
        ("AWQ",),
        _SERVED,
    ),
    Refused(
        "llava-1.5-7b-hf-GPTQ",
        {**published.LLAVA_7B, "quantization_config": published.GPTQ},
        ("GPTQ",),
        _SERVED,
    ),
    Refused(
        "nm-testing/llava-1.5-7b-hf-FP8-dynamic",
        {**published.LLAVA_7B, "quantization_config": published.COMPRESSED},
        ("compressed-tensors",),
        _SERVED,
    ),
    Refused(
        "TheBloke/llava-v1.5-13B-GPTQ",
        {
            **_other("llama", "LlamaForCausalLM", **_TOWER_INSIDE),
            "quantization_config": published.GPTQ,
        },
        ("GPTQ",),
        _SERVED,
        {**_TOKENIZER, "model.safetensors": 7 * _GB},
        {"quantize_config.json": {"bits": 4, "group_size": 128}},
    ),
    Refused(
        "mlx-community/llava-1.5-7b-4bit",
        {**published.LLAVA_7B, "quantization": published.MLX_4BIT},
        ("MLX",),
        ("base_url",),
    ),
    Refused(
        "mlx-community/llava-interleave-qwen-0.5b-8bit",
        {**published.INTERLEAVE_05B, "quantization": {"bits": 8, "group_size": 64}},
        ("MLX",),
        ("base_url",),
    ),
    Refused(
        "xtuner/llava-llama-3-8b-v1_1-gguf",
        None,
        ("GGUF",),
        ("llama-server", "Ollama", "base_url"),
        {
            "llava-llama-3-8b-v1_1-int4.gguf": 5 * _GB,
            "llava-llama-3-8b-v1_1-mmproj-f16.gguf": 2**29,
        },
    ),
    Refused(
        "mys/ggml_llava-v1.5-7b",
        None,
        ("GGUF",),
        ("llama-server", "Ollama", "base_url"),
        {"ggml-model-q4_k.gguf": 4 * _GB, "mmproj-model-f16.gguf": _GB},
    ),
    Refused("llava-hf/vip-llava-7b-hf", published.VIP_LLAVA, ("ViP-LLaVA",), ("base_url",)),
    Refused("llava-hf/llava-v1.6-mistral-7b-hf", published.NEXT, ("LLaVA-NeXT",), _SERVED),
    Refused(
        "llava-hf/llava-v1.6-vicuna-7b-hf",
        {**published.NEXT, "text_config": published.VICUNA_7B},
        ("LLaVA-NeXT",),
        _SERVED,
    ),
    Refused(
        "llava-hf/llama3-llava-next-8b-hf",
        {**published.NEXT, "text_config": published.LLAMA3_8B},
        ("LLaVA-NeXT",),
        _SERVED,
    ),
    Refused(
        "liuhaotian/llava-v1.6-mistral-7b",
        published.ORIGINAL_NEXT,
        ("LLaVA-NeXT",),
        _SERVED,
    ),
    Refused(
        "llava-hf/llava-onevision-qwen2-0.5b-ov-hf",
        {
            **llava(published.QWEN_05B, published.SIGLIP_384),
            "architectures": ["LlavaOnevisionForConditionalGeneration"],
            "model_type": "llava_onevision",
        },
        ("LLaVA-OneVision",),
        _SERVED,
    ),
    Refused("mistral-community/pixtral-12b", published.PIXTRAL, ("Pixtral",), ("base_url",)),
    Refused(
        "Qwen/Qwen2-VL-2B-Instruct",
        _other("qwen2_vl", "Qwen2VLForConditionalGeneration", hidden_size=1536),
        ("Qwen2-VL",),
        _SERVED,
    ),
    Refused(
        "HuggingFaceM4/idefics2-8b",
        _other("idefics2", "Idefics2ForConditionalGeneration"),
        ("Idefics2",),
        ("base_url",),
    ),
    Refused(
        "LanguageBind/Video-LLaVA-7B-hf",
        _other("video_llava", "VideoLlavaForConditionalGeneration"),
        ("Video-LLaVA",),
        ("base_url",),
    ),
    Refused(
        "tinyllava/TinyLLaVA-Phi-2-SigLIP-3.1B",
        _other(
            "tinyllava",
            "TinyLlavaForConditionalGeneration",
            auto_map={
                "AutoConfig": "configuration.TinyLlavaConfig",
                "AutoModelForCausalLM": "modeling_tinyllava_phi.TinyLlavaForConditionalGeneration",
            },
        ),
        ("code of its own", "never run"),
        ("base_url",),
    ),
    Refused(
        "visheratin/MC-LLaVA-3b",
        _other(
            "mc-llava",
            "LlavaForConditionalGeneration",
            auto_map={
                "AutoConfig": "configuration_llava.LlavaConfig",
                "AutoModel": "modeling_llava.LlavaForConditionalGeneration",
            },
            image_token_index=50297,
            text_config={"model_type": "phi"},
            vision_tower_name="ViT-SO400M-14-SigLIP-384",
        ),
        ("code of its own", "never run"),
        ("base_url",),
    ),
    Refused(
        "lmsys/vicuna-7b-v1.5",
        _other("llama", "LlamaForCausalLM", hidden_size=4096, vocab_size=32000),
        ("llama", "not a LLaVA"),
        ("7b",),
        _BIN,
    ),
    Refused(
        "openai/clip-vit-large-patch14-336",
        _other("clip", "CLIPModel", projection_dim=768),
        ("CLIP", "not a LLaVA"),
        ("clip=",),
    ),
    Refused(
        "liuhaotian/llava-v1.5-mlp2x-336px-pretrain-vicuna-7b-v1.5",
        published.ORIGINAL_7B,
        ("projector",),
        ("7b",),
        {"mm_projector.bin": 41961648},
    ),
)
