"""config.json of published checkpoints, as far as loading depends on it."""

from __future__ import annotations

from typing import Any

Config = dict[str, Any]

CLIP_336: Config = {
    "hidden_size": 1024,
    "image_size": 336,
    "intermediate_size": 4096,
    "model_type": "clip_vision_model",
    "num_attention_heads": 16,
    "num_hidden_layers": 24,
    "patch_size": 14,
    "projection_dim": 768,
    "vocab_size": 32000,
}
SIGLIP_384: Config = {
    "hidden_act": "gelu_pytorch_tanh",
    "hidden_size": 1152,
    "image_size": 384,
    "intermediate_size": 4304,
    "layer_norm_eps": 1e-06,
    "model_type": "siglip_vision_model",
    "num_attention_heads": 16,
    "num_hidden_layers": 27,
    "patch_size": 14,
}
VICUNA_7B: Config = {
    "_name_or_path": "lmsys/vicuna-7b-v1.5",
    "architectures": ["LlamaForCausalLM"],
    "max_position_embeddings": 4096,
    "model_type": "llama",
    "rms_norm_eps": 1e-05,
    "torch_dtype": "float16",
    "vocab_size": 32064,
}
VICUNA_13B: Config = {
    **VICUNA_7B,
    "_name_or_path": "lmsys/vicuna-13b-v1.5",
    "hidden_size": 5120,
    "intermediate_size": 13824,
    "num_attention_heads": 40,
    "num_hidden_layers": 40,
    "num_key_value_heads": 40,
}
LLAMA3_8B: Config = {
    "architectures": ["LlamaForCausalLM"],
    "bos_token_id": 128000,
    "eos_token_id": [128001, 128008, 128009],
    "intermediate_size": 14336,
    "max_position_embeddings": 131072,
    "model_type": "llama",
    "num_key_value_heads": 8,
    "rms_norm_eps": 1e-05,
    "rope_theta": 500000.0,
    "torch_dtype": "bfloat16",
    "vocab_size": 128256,
}
MISTRAL_7B: Config = {
    "architectures": ["MistralForCausalLM"],
    "intermediate_size": 14336,
    "max_position_embeddings": 32768,
    "model_type": "mistral",
    "num_key_value_heads": 8,
    "rms_norm_eps": 1e-05,
    "sliding_window": 4096,
    "vocab_size": 32064,
}
QWEN_05B: Config = {
    "_name_or_path": "Qwen/Qwen1.5-0.5B-Chat",
    "architectures": ["Qwen2ForCausalLM"],
    "bos_token_id": 151643,
    "eos_token_id": 151645,
    "hidden_size": 1024,
    "intermediate_size": 2816,
    "max_position_embeddings": 32768,
    "max_window_layers": 21,
    "model_type": "qwen2",
    "num_attention_heads": 16,
    "num_hidden_layers": 24,
    "num_key_value_heads": 16,
    "rope_theta": 1000000.0,
    "sliding_window": 32768,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
    "use_sliding_window": False,
    "vocab_size": 152000,
}


def llava(text: Config, vision: Config = CLIP_336, **fields: Any) -> Config:
    """Return a configuration of a LLaVA in the layout of transformers."""
    return {
        "architectures": ["LlavaForConditionalGeneration"],
        "ignore_index": -100,
        "image_token_index": 32000,
        "model_type": "llava",
        "projector_hidden_act": "gelu",
        "text_config": text,
        "torch_dtype": "float16",
        "vision_config": vision,
        "vision_feature_layer": -2,
        "vision_feature_select_strategy": "default",
        **fields,
    }


LLAVA_7B = llava(VICUNA_7B, pad_token_id=32001, tie_word_embeddings=False)
LLAVA_13B = llava(VICUNA_13B, pad_token_id=32001)
BAKLLAVA = llava(MISTRAL_7B, pad_token_id=32001)
INTERLEAVE_05B = llava(
    QWEN_05B,
    {**SIGLIP_384, "num_hidden_layers": 26, "vision_use_head": False},
    image_token_index=151646,
    torch_dtype="bfloat16",
    vision_feature_layer=-1,
    vision_feature_select_strategy="full",
)
JOYCAPTION = llava(
    LLAMA3_8B,
    SIGLIP_384,
    image_seq_length=729,
    image_token_index=128077,
    torch_dtype="bfloat16",
    vision_feature_select_strategy="full",
)
#: SigLIP with "default" drops its first patch.
CALM2_SIGLIP = llava(
    {**VICUNA_7B, "max_position_embeddings": 32768, "vocab_size": 65024}, SIGLIP_384
)

#: LLaVA's own layout: liuhaotian/llava-v1.5-7b.
ORIGINAL_7B: Config = {
    "_name_or_path": "llava-v1.5-7b",
    "architectures": ["LlavaLlamaForCausalLM"],
    "hidden_size": 4096,
    "image_aspect_ratio": "pad",
    "intermediate_size": 11008,
    "max_position_embeddings": 4096,
    "mm_hidden_size": 1024,
    "mm_projector_type": "mlp2x_gelu",
    "mm_use_im_patch_token": False,
    "mm_use_im_start_end": False,
    "mm_vision_select_feature": "patch",
    "mm_vision_select_layer": -2,
    "mm_vision_tower": "openai/clip-vit-large-patch14-336",
    "model_type": "llava",
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 32,
    "torch_dtype": "float16",
    "vocab_size": 32000,
}
#: liuhaotian/llava-v1.6-mistral-7b.
ORIGINAL_NEXT: Config = {
    **ORIGINAL_7B,
    "_name_or_path": "llava-v1.6-mistral-7b",
    "architectures": ["LlavaMistralForCausalLM"],
    "image_aspect_ratio": "anyres",
    "image_grid_pinpoints": [[336, 672], [672, 336], [672, 672]],
    "mm_patch_merge_type": "spatial_unpad",
    "model_type": "llava_mistral",
}
NEXT: Config = {
    **llava(MISTRAL_7B, image_grid_pinpoints=[[336, 672], [672, 336]]),
    "architectures": ["LlavaNextForConditionalGeneration"],
    "model_type": "llava_next",
}
VIP_LLAVA: Config = {
    **llava(VICUNA_7B, vision_feature_layers=[-2, -5, -8, -11, 6]),
    "architectures": ["VipLlavaForConditionalGeneration"],
    "model_type": "vipllava",
}
PIXTRAL = llava(
    {"head_dim": 128, "hidden_size": 5120, "max_position_embeddings": 1024000, **MISTRAL_7B},
    {"head_dim": 64, "image_size": 1024, "model_type": "pixtral", "patch_size": 16},
    image_seq_length=1,
    image_token_index=10,
    vision_feature_layer=-1,
    vision_feature_select_strategy="full",
)
#: Quantizers' settings as they stand in config.json.
BNB_4BIT: Config = {
    "_load_in_4bit": True,
    "_load_in_8bit": False,
    "bnb_4bit_compute_dtype": "bfloat16",
    "bnb_4bit_quant_type": "nf4",
    "llm_int8_skip_modules": None,
    "load_in_4bit": True,
    "load_in_8bit": False,
    "quant_method": "bitsandbytes",
}
BNB_8BIT: Config = {**BNB_4BIT, "load_in_4bit": False, "load_in_8bit": True, "_load_in_4bit": False}
AWQ: Config = {
    "bits": 4,
    "group_size": 128,
    "modules_to_not_convert": ["vision_tower", "multi_modal_projector"],
    "quant_method": "awq",
    "version": "gemm",
    "zero_point": True,
}
GPTQ: Config = {"bits": 4, "desc_act": True, "group_size": 128, "quant_method": "gptq", "sym": True}
COMPRESSED: Config = {
    "config_groups": {"group_0": {"targets": ["Linear"], "weights": {"num_bits": 8}}},
    "format": "float-quantized",
    "quant_method": "compressed-tensors",
    "quantization_status": "compressed",
}
MLX_4BIT: Config = {"bits": 4, "group_size": 64}
#: adapter_config.json of PEFT, of a LoRA on llava-hf/llava-1.5-7b-hf.
LORA: Config = {
    "auto_mapping": {
        "base_model_class": "LlavaForConditionalGeneration",
        "parent_library": "transformers.models.llava.modeling_llava",
    },
    "base_model_name_or_path": "llava-hf/llava-1.5-7b-hf",
    "bias": "none",
    "lora_alpha": 16,
    "peft_type": "LORA",
    "r": 64,
    "target_modules": ["q_proj", "v_proj"],
    "task_type": None,
}
