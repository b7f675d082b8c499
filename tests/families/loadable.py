"""Published checkpoints that must load, as data for stand-ins with random weights.

Every row has the fields of the checkpoint's own config.json with smaller numbers, its kind of
tokenizer, and the files and names of weights of one of its releases.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from PIL import Image

from llava_tools.chat.formats import ConversationName
from tests.families import prompts
from tests.families.prompts import Published

#: Where the weights of a release stand in its files: of 2023, of transformers 5, and as the models
#: of transformers 4.52 name them in memory, which some trainers save.
Names = Literal["2023", "v5", "memory"]
#: How the weights are stored.
Storage = Literal["one file", "shards", "bin", "adapter"]

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
HALVES = (0.5, 0.5, 0.5)


@dataclass(frozen=True)
class Pixels:
    """How the model's own code prepares an image, written once more here for the reference."""

    pads: bool
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    resample: Image.Resampling = Image.Resampling.BICUBIC


CLIP_PIXELS = Pixels(True, CLIP_MEAN, CLIP_STD)
SIGLIP_PIXELS = Pixels(False, HALVES, HALVES)


@dataclass(frozen=True)
class Loadable:
    """A published checkpoint and what its stand-in must do.

    Attributes:
        name: Of the checkpoint on the hub, and of its release if it has several.
        config: config.json without the size of the vocabulary and the id of the image token. Ids of
            other tokens are given by their texts.
        vocabulary: One of `VOCABULARIES`.
        published: Its prompts.
        pixels: How images become pixels.
        files: Further JSON files.
        template: Chat template in tokenizer_config.json.
        jinja: Chat template in chat_template.jinja.
        names: Where its weights stand.
        storage: How they are stored.
        dtype: Their data type.
        conversation: The option with which it must be loaded, if its files do not tell.
        misread: Whether its files look like those of another format, so that the option is needed,
            but nothing shows it.
        source: Where its configuration was read.
    """

    name: str
    config: Mapping[str, Any]
    vocabulary: str
    published: Published
    pixels: Pixels = CLIP_PIXELS
    files: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    template: str | None = None
    jinja: str | None = None
    names: Names = "2023"
    storage: Storage = "one file"
    dtype: str = "float16"
    conversation: ConversationName | None = None
    misread: bool = False
    source: str = "its config.json on the hub"

    @property
    def folder(self) -> str:
        """A name for its folder: for a hub id what stands after the slash."""
        hub_id = self.name.split()[0].rstrip(",")
        return hub_id.rpartition("/")[2] if "/" in hub_id else "model"


_CLIP = {
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
_SIGLIP = {
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


def _config(text: Mapping[str, Any], vision: Mapping[str, Any], **top: Any) -> dict[str, Any]:
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


def clip_llava(text: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config.json of a language model under CLIP."""
    return _config(text, _CLIP)


def _crop(side: int, **fields: Any) -> dict[str, Any]:
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


def _squash(side: int, **fields: Any) -> dict[str, Any]:
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


def _processor(**fields: Any) -> dict[str, Any]:
    return {
        "image_token": "<image>",
        "patch_size": 14,
        "processor_class": "LlavaProcessor",
        "vision_feature_select_strategy": "default",
        **fields,
    }


# Chat templates that write what those of the hub do.
_PARTS = (
    "{%- for part in message.content if part.type == 'image' %}IMAGE{% endfor -%}"
    "{%- for part in message.content if part.type == 'text' %}TEXT{% endfor -%}"
)
#: llava-1.5-hf: no system sentence, a space after every text, and no end of a turn.
_HF_15_TEMPLATE = (
    "{%- for message in messages -%}"
    "{% if message.role != 'system' %}{{ message.role | upper + ': ' }}{% endif %}"
    + _PARTS.replace("IMAGE", "{{ '<image>\\n' }}").replace("TEXT", "{{ part.text + ' ' }}")
    + "{%- endfor -%}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)
#: llava-interleave: a line break before every text, also without an image; no system sentence.
_INTERLEAVE_TEMPLATE = (
    "{%- for message in messages -%}{{ '<|im_start|>' + message.role + '\\n' }}"
    + _PARTS.replace("IMAGE", "{{ '<image>' }}").replace("TEXT", "{{ '\\n' + part.text }}")
    + "{{ '<|im_end|>\\n' }}{%- endfor -%}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
#: bakLlava-v1-hf: that of Mistral-Instruct, with which the model was not trained.
_BAKLLAVA_TEMPLATE = (
    "{%- for message in messages -%}{% if message.role == 'user' %}{{ '[INST] ' }}"
    + _PARTS.replace("IMAGE", "{{ '<image>\\n' }}").replace("TEXT", "{{ part.text }}")
    + "{{ ' [/INST]' }}{% else %}{{ ' ' + message.content[0].text + '<\\\\s> ' }}{% endif %}"
    "{%- endfor -%}"
)
_LLAMA3_TEMPLATE = (
    "{%- for message in messages -%}{% if loop.first %}{{ bos_token }}{% endif %}"
    "{{ '<|start_header_id|>' + message.role + '<|end_header_id|>\\n\\n' }}"
    "{{ message.content | trim + '<|eot_id|>' }}{%- endfor -%}"
    "{% if add_generation_prompt %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"
)
_PHI3_TEMPLATE = (
    "{{ bos_token }}{%- for message in messages -%}"
    "{{ '<|' + message.role + '|>\\n' + message.content + '<|end|>\\n' }}"
    "{% if message.role == 'user' %}{{ '<|assistant|>\\n' }}{% endif %}{%- endfor -%}"
)
_CHATML_TURNS = (
    "{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}"
    "{%- endfor -%}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
_SMOLLM_TEMPLATE = (
    "{%- for message in messages -%}{% if loop.first and message.role != 'system' %}"
    "{{ '<|im_start|>system\\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face"
    "<|im_end|>\\n' }}{% endif %}" + _CHATML_TURNS
)
#: JoyCaption: Llama 3.1's system turn, and an image in the user's first turn.
_JOYCAPTION_TEMPLATE = (
    "{{ bos_token }}{% set parts = namespace(first=true) %}"
    "{{ '<|start_header_id|>system<|end_header_id|>\\n\\nCutting Knowledge Date: December 2023\\n"
    "Today Date: 26 July 2024\\n\\n' }}"
    "{% if messages[0].role == 'system' %}{{ messages[0].content | trim }}"
    "{% set messages = messages[1:] %}{% endif %}{{ '<|eot_id|>' }}"
    "{%- for message in messages -%}"
    "{{ '<|start_header_id|>' + message.role + '<|end_header_id|>\\n\\n' }}"
    "{% if parts.first and message.role == 'user' %}{% set parts.first = false %}"
    "{{ '<|reserved_special_token_70|><|reserved_special_token_69|><|reserved_special_token_71|>'"
    " + message.content | replace('<|reserved_special_token_69|>', '') | trim }}"
    "{% else %}{{ message.content }}{% endif %}{{ '<|eot_id|>' }}{%- endfor -%}"
    "{% if add_generation_prompt %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"
)


def _by(published: Published, source: str) -> Published:
    """Return the same prompts with the files of another model that was trained on them."""
    return replace(published, source=source)


_ENDS_LLAMA = {"generation_config.json": {"bos_token_id": 1, "eos_token_id": 2}}

_VICUNA = {
    "_name_or_path": "lmsys/vicuna-7b-v1.5",
    "architectures": ["LlamaForCausalLM"],
    "max_position_embeddings": 512,
    "model_type": "llama",
    "rms_norm_eps": 1e-05,
    "torch_dtype": "float16",
}
_TINY_LLAMA = {
    "_name_or_path": "TinyLlama/TinyLlama-1.1B-Chat-v1.0",
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-05,
    "torch_dtype": "bfloat16",
}
#: The window is shorter than a prompt with two images.
_MISTRAL = {
    "_name_or_path": "mistralai/Mistral-7B-v0.1",
    "architectures": ["MistralForCausalLM"],
    "max_position_embeddings": 512,
    "model_type": "mistral",
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-05,
    "sliding_window": 48,
    "torch_dtype": "bfloat16",
}
_LLAMA3 = {
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
_LLAMA31 = {
    **_LLAMA3,
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
_PHI3_AS_LLAMA = {
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
_QWEN = {
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
_SMOLLM = {
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
_INTERLEAVE_TOWER = {**_SIGLIP, "vision_use_head": False}
_LAST_LAYER = {"vision_feature_layer": -1, "vision_feature_select_strategy": "full"}

LOADABLE = (
    Loadable(
        "llava-hf/llava-1.5-7b-hf (December 2023)",
        _config({**_VICUNA, "_name_or_path": "meta-llama/Llama-2-7b-hf"}, _CLIP),
        "llama",
        prompts.VICUNA_V1,
        files={**_ENDS_LLAMA, "preprocessor_config.json": _crop(56)},
        storage="shards",
    ),
    Loadable(
        "llava-hf/llava-1.5-7b-hf (November 2024)",
        _config(_VICUNA, _CLIP, tie_word_embeddings=False, image_seq_length=16),
        "llama",
        prompts.VICUNA_V1,
        files={
            **_ENDS_LLAMA,
            "preprocessor_config.json": _crop(56),
            "processor_config.json": _processor(num_additional_image_tokens=1),
            "chat_template.json": {"chat_template": _HF_15_TEMPLATE},
        },
        storage="shards",
    ),
    Loadable(
        "llava-hf/llava-1.5-7b-hf, saved again by transformers 5",
        _config(_VICUNA, _CLIP, image_seq_length=16, dtype="float16"),
        "llama",
        prompts.VICUNA_V1,
        files={
            **_ENDS_LLAMA,
            "processor_config.json": _processor(image_processor=_crop(56)),
        },
        jinja=_HF_15_TEMPLATE,
        names="v5",
        source="transformers 5: save_pretrained",
    ),
    Loadable(
        "llava-hf/llava-1.5-13b-hf",
        _config({**_VICUNA, "num_hidden_layers": 3, "hidden_size": 80}, _CLIP),
        "llama",
        prompts.VICUNA_V1,
        files={
            **_ENDS_LLAMA,
            "preprocessor_config.json": _crop(56),
            "chat_template.json": {"chat_template": _HF_15_TEMPLATE},
        },
    ),
    Loadable(
        "a fine-tune of llava-1.5-7b-hf, with the names that transformers 4.52 has in memory",
        _config(_VICUNA, _CLIP),
        "llama",
        prompts.VICUNA_V1,
        files={**_ENDS_LLAMA, "preprocessor_config.json": _crop(56)},
        names="memory",
        dtype="bfloat16",
        source="transformers 4.52: state_dict of LlavaForConditionalGeneration",
    ),
    Loadable(
        "a fine-tune of llava-1.5-7b-hf in pytorch_model.bin",
        _config(_VICUNA, _CLIP),
        "llama",
        prompts.VICUNA_V1,
        files={**_ENDS_LLAMA, "preprocessor_config.json": _crop(56)},
        storage="bin",
        source="transformers 4: save_pretrained(safe_serialization=False)",
    ),
    Loadable(
        "a LoRA of llava-1.5-7b-hf (PEFT)",
        _config(_VICUNA, _CLIP),
        "llama",
        prompts.VICUNA_V1,
        files={**_ENDS_LLAMA, "preprocessor_config.json": _crop(56)},
        storage="adapter",
        source="PEFT: save_pretrained",
    ),
    Loadable(
        "a LLaVA 1.5 with features of two layers",
        _config(_VICUNA, _CLIP, vision_feature_layer=[-3, -2]),
        "llama",
        prompts.VICUNA_V1,
        files={**_ENDS_LLAMA, "preprocessor_config.json": _crop(56)},
        source="transformers: LlavaConfig.vision_feature_layer",
    ),
    Loadable(
        "gokul-mbzuai/sharegpt4v-7b-hf (ShareGPT4V-7B)",
        _config(_VICUNA, _CLIP),
        "llama",
        _by(
            prompts.VICUNA_V1,
            "InternLM/InternLM-XComposer: projects/ShareGPT4V/scripts/sharegpt4v/"
            "slurm_finetune_7b.sh (--version v1), share4v/conversation.py",
        ),
        files={**_ENDS_LLAMA, "preprocessor_config.json": _crop(56)},
        storage="shards",
        source="unverified: the list of its files alone was read",
    ),
    Loadable(
        "llava-hf/bakLlava-v1-hf",
        _config(_MISTRAL, _CLIP, pad_token_id="<pad>"),
        "llama",
        _by(
            prompts.VICUNA_V1,
            "SkunkworksAI/BakLLaVA: scripts/finetune.sh (--version v1), llava/conversation.py",
        ),
        files={
            **_ENDS_LLAMA,
            "preprocessor_config.json": _crop(56),
            "chat_template.json": {"chat_template": _BAKLLAVA_TEMPLATE},
        },
        dtype="bfloat16",
        source="config.json of a fine-tune of it on the hub",
    ),
    Loadable(
        "a fine-tune of llava-hf/bakLlava-v1-hf",
        _config(_MISTRAL, _CLIP, pad_token_id="<pad>"),
        "llama",
        _by(
            prompts.VICUNA_V1,
            "SkunkworksAI/BakLLaVA: scripts/finetune.sh (--version v1), llava/conversation.py",
        ),
        files={
            **_ENDS_LLAMA,
            "preprocessor_config.json": _crop(56),
            "chat_template.json": {"chat_template": _BAKLLAVA_TEMPLATE},
        },
        dtype="bfloat16",
        conversation="vicuna_v1",
        source="config.json of a fine-tune of it on the hub",
    ),
    Loadable(
        "bczhou/tiny-llava-v1-hf",
        _config(_TINY_LLAMA, _CLIP, pad_token_id="<pad>", torch_dtype="float32"),
        "llama",
        _by(
            prompts.VICUNA_V1,
            "its card (LLaVA 1.5's recipe); TinyLLaVA/TinyLLaVA_Factory: "
            "tinyllava/data/template/llama_template.py",
        ),
        files={**_ENDS_LLAMA, "preprocessor_config.json": _crop(56)},
        storage="shards",
        dtype="float32",
    ),
    Loadable(
        "xtuner/llava-llama-3-8b-v1_1-transformers",
        _config(_LLAMA3, _CLIP),
        "llama3",
        prompts.LLAMA3,
        files={"preprocessor_config.json": _crop(56)},
        template=_LLAMA3_TEMPLATE,
        storage="shards",
        source="InternLM/xtuner: convert_xtuner_weights_to_hf.py; unverified: its config.json",
    ),
    Loadable(
        "xtuner/llava-llama-3-8b-transformers, without its chat template",
        _config(_LLAMA3, _CLIP),
        "llama3",
        prompts.LLAMA3,
        files={"preprocessor_config.json": _crop(56)},
        source="InternLM/xtuner: convert_xtuner_weights_to_hf.py; unverified: its config.json",
    ),
    Loadable(
        "xtuner/llava-phi-3-mini-hf",
        _config(_PHI3_AS_LLAMA, _CLIP),
        "phi3",
        prompts.PHI3,
        files={"preprocessor_config.json": _crop(56)},
        template=_PHI3_TEMPLATE,
        source="InternLM/xtuner: convert_phi_to_llama.py, convert_xtuner_weights_to_hf.py",
    ),
    Loadable(
        "llava-hf/llava-interleave-qwen-0.5b-hf",
        _config({**_QWEN, "tie_word_embeddings": True}, _INTERLEAVE_TOWER, **_LAST_LAYER),
        "qwen2",
        prompts.INTERLEAVE,
        SIGLIP_PIXELS,
        files={
            "preprocessor_config.json": _squash(60),
            "processor_config.json": _processor(vision_feature_select_strategy="full"),
            "chat_template.json": {"chat_template": _INTERLEAVE_TEMPLATE},
        },
    ),
    Loadable(
        "llava-hf/llava-interleave-qwen-7b-hf",
        _config({**_QWEN, "num_hidden_layers": 3}, _INTERLEAVE_TOWER, **_LAST_LAYER),
        "qwen2",
        prompts.INTERLEAVE,
        SIGLIP_PIXELS,
        files={
            "preprocessor_config.json": _squash(60),
            "chat_template.json": {"chat_template": _INTERLEAVE_TEMPLATE},
        },
        storage="shards",
        source="transformers: convert_llava_weights_to_hf.py; unverified: its config.json",
    ),
    Loadable(
        "llava-hf/llava-interleave-qwen-7b-dpo-hf, without its chat template",
        _config(_QWEN, _INTERLEAVE_TOWER, **_LAST_LAYER),
        "qwen2",
        prompts.INTERLEAVE,
        SIGLIP_PIXELS,
        files={"preprocessor_config.json": _squash(60)},
        source="transformers: convert_llava_weights_to_hf.py; unverified: its config.json",
    ),
    Loadable(
        "fancyfeast/llama-joycaption-alpha-two-hf-llava (first release)",
        _config(
            _LLAMA31,
            _SIGLIP,
            image_seq_length=16,
            vision_feature_select_strategy="full",
            torch_dtype="float32",
        ),
        "llama31_reserved",
        prompts.JOYCAPTION,
        SIGLIP_PIXELS,
        template=_JOYCAPTION_TEMPLATE,
        storage="shards",
        dtype="bfloat16",
    ),
    Loadable(
        "fancyfeast/llama-joycaption-beta-one-hf-llava",
        _config(_LLAMA31, _SIGLIP, image_seq_length=16, vision_feature_select_strategy="full"),
        "llama31_reserved",
        prompts.JOYCAPTION,
        Pixels(False, HALVES, HALVES, Image.Resampling.LANCZOS),
        files={
            "preprocessor_config.json": _squash(60, resample=1),
            "processor_config.json": _processor(
                image_token="<|reserved_special_token_69|>", vision_feature_select_strategy="full"
            ),
            "chat_template.json": {"chat_template": _JOYCAPTION_TEMPLATE},
        },
        dtype="bfloat16",
        source="config.json of alpha two; unverified: its own",
    ),
    Loadable(
        "Vicuna's conversation on Qwen2's vocabulary, as TinyLLaVA trains",
        _config({**_QWEN, "tie_word_embeddings": True}, _SIGLIP, **_LAST_LAYER),
        "qwen2",
        prompts.VICUNA_V1_ON_CHATML,
        SIGLIP_PIXELS,
        files={"preprocessor_config.json": _squash(60)},
        conversation="vicuna_v1",
        misread=True,
        source="TinyLLaVA/TinyLLaVA_Factory: scripts/train/qwen2",
    ),
    Loadable(
        "TitanML/tinyllava-1.1b-v0.1 in the llava-hf layout",
        _config(_TINY_LLAMA, _CLIP),
        "tiny_llama_chatml",
        _by(prompts.VICUNA_V1, "unverified: trained with the code of haotian-liu/LLaVA"),
        files={**_ENDS_LLAMA, "preprocessor_config.json": _crop(56)},
        conversation="vicuna_v1",
    ),
    Loadable(
        "HuggingFaceTB/SmolLM2-135M-Instruct under a new vision tower",
        _config(_SMOLLM, _CLIP),
        "smollm2",
        prompts.SMOLLM2,
        files={"preprocessor_config.json": _crop(56)},
        template=_SMOLLM_TEMPLATE,
        source="huggingface/smollm",
    ),
)
