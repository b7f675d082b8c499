"""Parts of published configurations, with small numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
HALVES = (0.5, 0.5, 0.5)

CLIP = {
    "hidden_size": 32,
    "image_size": 56,
    "intermediate_size": 128,
    "model_type": "clip_vision_model",
    "num_attention_heads": 2,
    "num_hidden_layers": 3,
    "patch_size": 14,
    "projection_dim": 24,
    "vocab_size": 32000,
}
#: 60 is no multiple of 14, as 384 is not.
SIGLIP = {
    "hidden_act": "gelu_pytorch_tanh",
    "hidden_size": 32,
    "image_size": 60,
    "intermediate_size": 120,
    "layer_norm_eps": 1e-06,
    "model_type": "siglip_vision_model",
    "num_attention_heads": 2,
    "num_hidden_layers": 3,
    "patch_size": 14,
}


def llava_config(text: Mapping[str, Any], vision: Mapping[str, Any], **top: Any) -> dict[str, Any]:
    """Return a config.json of the llava-hf layout with small widths and depths."""
    widths = {
        "hidden_size": 64,
        "intermediate_size": 160,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
    }
    return {
        "architectures": ["LlavaForConditionalGeneration"],
        "ignore_index": -100,
        "model_type": "llava",
        "projector_hidden_act": "gelu",
        "text_config": {**widths, **text},
        "transformers_version": "4.36.0.dev0",
        "vision_config": dict(vision),
        "vision_feature_layer": -2,
        "vision_feature_select_strategy": "default",
        **top,
    }


def crop(side: int, **fields: Any) -> dict[str, Any]:
    """Return a preprocessor_config.json like CLIP's, which crops."""
    return {
        "crop_size": {"height": side, "width": side},
        "do_center_crop": True,
        "do_convert_rgb": True,
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": list(CLIP_MEAN),
        "image_processor_type": "CLIPImageProcessor",
        "image_std": list(CLIP_STD),
        "processor_class": "LlavaProcessor",
        "resample": 3,
        "rescale_factor": 0.00392156862745098,
        "size": {"shortest_edge": side},
        **fields,
    }


def squash(side: int, **fields: Any) -> dict[str, Any]:
    """Return a preprocessor_config.json like SigLIP's."""
    return {
        "do_convert_rgb": None,
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": list(HALVES),
        "image_processor_type": "SiglipImageProcessor",
        "image_std": list(HALVES),
        "processor_class": "LlavaProcessor",
        "resample": 3,
        "rescale_factor": 0.00392156862745098,
        "size": {"height": side, "width": side},
        **fields,
    }


def processor(**fields: Any) -> dict[str, Any]:
    return {
        "image_token": "<image>",
        "patch_size": 14,
        "processor_class": "LlavaProcessor",
        "vision_feature_select_strategy": "default",
        **fields,
    }


ENDS_LLAMA = {"generation_config.json": {"bos_token_id": 1, "eos_token_id": 2}}

VICUNA = {
    "_name_or_path": "lmsys/vicuna-7b-v1.5",
    "architectures": ["LlamaForCausalLM"],
    "max_position_embeddings": 512,
    "model_type": "llama",
    "rms_norm_eps": 1e-05,
    "torch_dtype": "float16",
}
TINY_LLAMA = {
    "_name_or_path": "TinyLlama/TinyLlama-1.1B-Chat-v1.0",
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-05,
    "torch_dtype": "bfloat16",
}
#: The window is shorter than a prompt with two images.
MISTRAL = {
    "_name_or_path": "mistralai/Mistral-7B-v0.1",
    "architectures": ["MistralForCausalLM"],
    "max_position_embeddings": 512,
    "model_type": "mistral",
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-05,
    "sliding_window": 48,
    "torch_dtype": "bfloat16",
}
LLAMA3 = {
    "_name_or_path": "meta-llama/Meta-Llama-3-8B-Instruct",
    "architectures": ["LlamaForCausalLM"],
    "max_position_embeddings": 512,
    "model_type": "llama",
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-05,
    "bos_token_id": "<|begin_of_text|>",
    "eos_token_id": "<|end_of_text|>",
    "rope_theta": 500000.0,
    "torch_dtype": "float16",
}
LLAMA31 = {
    **LLAMA3,
    "eos_token_id": ["<|end_of_text|>", "<|eom_id|>", "<|eot_id|>"],
    "pad_token_id": "<|finetune_right_pad_id|>",
    "_name_or_path": "unsloth/Meta-Llama-3.1-8B-Instruct",
    "rope_scaling": {
        "factor": 8.0,
        "high_freq_factor": 4.0,
        "low_freq_factor": 1.0,
        "original_max_position_embeddings": 64,
        "rope_type": "llama3",
    },
    "torch_dtype": "bfloat16",
}
PHI3_AS_LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "max_position_embeddings": 512,
    "model_type": "llama",
    "bos_token_id": "<s>",
    "eos_token_id": "<|endoftext|>",
    "original_max_position_embeddings": 512,
    "rms_norm_eps": 1e-05,
    "sliding_window": 2047,
    "torch_dtype": "bfloat16",
}
QWEN = {
    "architectures": ["Qwen2ForCausalLM"],
    "bos_token_id": "<|endoftext|>",
    "eos_token_id": "<|im_end|>",
    "max_position_embeddings": 512,
    "max_window_layers": 21,
    "model_type": "qwen2",
    "num_key_value_heads": 4,
    "rope_theta": 1000000.0,
    "sliding_window": 512,
    "torch_dtype": "bfloat16",
    "use_sliding_window": False,
}
SMOLLM = {
    "architectures": ["LlamaForCausalLM"],
    "bos_token_id": "<|im_start|>",
    "eos_token_id": "<|im_end|>",
    "pad_token_id": "<|im_end|>",
    "max_position_embeddings": 512,
    "model_type": "llama",
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-05,
    "rope_theta": 100000,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
}
