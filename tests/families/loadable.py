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
from tests.families import configs, prompts, templates
from tests.families.prompts import Published

#: Where the weights of a release stand in its files: of 2023, of transformers 5, and as the models
#: of transformers 4.52 name them in memory, which some trainers save.
Names = Literal["2023", "v5", "memory"]
#: How the weights are stored.
Storage = Literal["one file", "shards", "bin", "adapter"]


@dataclass(frozen=True)
class Pixels:
    """How the model's own code prepares an image, written once more here for the reference."""

    pads: bool
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    resample: Image.Resampling = Image.Resampling.BICUBIC


CLIP_PIXELS = Pixels(True, configs.CLIP_MEAN, configs.CLIP_STD)
SIGLIP_PIXELS = Pixels(False, configs.HALVES, configs.HALVES)


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
    source: str = "its config.json on the hub"

    @property
    def folder(self) -> str:
        """A name for its folder: for a hub id what stands after the slash."""
        hub_id = self.name.split()[0].rstrip(",")
        return hub_id.rpartition("/")[2] if "/" in hub_id else "model"


def _by(published: Published, source: str) -> Published:
    """Return the same prompts with the files of another model that was trained on them."""
    return replace(published, source=source)


_INTERLEAVE_TOWER = {**configs.SIGLIP, "vision_use_head": False}
_LAST_LAYER = {"vision_feature_layer": -1, "vision_feature_select_strategy": "full"}

LOADABLE = (
    Loadable(
        "llava-hf/llava-1.5-7b-hf (December 2023)",
        configs.llava_config(
            {**configs.VICUNA, "_name_or_path": "meta-llama/Llama-2-7b-hf"}, configs.CLIP
        ),
        "llama",
        prompts.VICUNA_V1,
        files={**configs.ENDS_LLAMA, "preprocessor_config.json": configs.crop(56)},
        storage="shards",
    ),
    Loadable(
        "llava-hf/llava-1.5-7b-hf (November 2024)",
        configs.llava_config(
            configs.VICUNA, configs.CLIP, tie_word_embeddings=False, image_seq_length=16
        ),
        "llama",
        prompts.VICUNA_V1,
        files={
            **configs.ENDS_LLAMA,
            "preprocessor_config.json": configs.crop(56),
            "processor_config.json": configs.processor(num_additional_image_tokens=1),
            "chat_template.json": {"chat_template": templates.HF_15},
        },
        storage="shards",
    ),
    Loadable(
        "llava-hf/llava-1.5-7b-hf, saved again by transformers 5",
        configs.llava_config(configs.VICUNA, configs.CLIP, image_seq_length=16, dtype="float16"),
        "llama",
        prompts.VICUNA_V1,
        files={
            **configs.ENDS_LLAMA,
            "processor_config.json": configs.processor(image_processor=configs.crop(56)),
        },
        jinja=templates.HF_15,
        names="v5",
        source="transformers 5: save_pretrained",
    ),
    Loadable(
        "llava-hf/llava-1.5-13b-hf",
        configs.llava_config(
            {**configs.VICUNA, "num_hidden_layers": 3, "hidden_size": 80}, configs.CLIP
        ),
        "llama",
        prompts.VICUNA_V1,
        files={
            **configs.ENDS_LLAMA,
            "preprocessor_config.json": configs.crop(56),
            "chat_template.json": {"chat_template": templates.HF_15},
        },
    ),
    Loadable(
        "a fine-tune of llava-1.5-7b-hf, with the names that transformers 4.52 has in memory",
        configs.llava_config(configs.VICUNA, configs.CLIP),
        "llama",
        prompts.VICUNA_V1,
        files={**configs.ENDS_LLAMA, "preprocessor_config.json": configs.crop(56)},
        names="memory",
        dtype="bfloat16",
        source="transformers 4.52: state_dict of LlavaForConditionalGeneration",
    ),
    Loadable(
        "a fine-tune of llava-1.5-7b-hf in pytorch_model.bin",
        configs.llava_config(configs.VICUNA, configs.CLIP),
        "llama",
        prompts.VICUNA_V1,
        files={**configs.ENDS_LLAMA, "preprocessor_config.json": configs.crop(56)},
        storage="bin",
        source="transformers 4: save_pretrained(safe_serialization=False)",
    ),
    Loadable(
        "a LoRA of llava-1.5-7b-hf (PEFT)",
        configs.llava_config(configs.VICUNA, configs.CLIP),
        "llama",
        prompts.VICUNA_V1,
        files={**configs.ENDS_LLAMA, "preprocessor_config.json": configs.crop(56)},
        storage="adapter",
        source="PEFT: save_pretrained",
    ),
    Loadable(
        "a LLaVA 1.5 with features of two layers",
        configs.llava_config(configs.VICUNA, configs.CLIP, vision_feature_layer=[-3, -2]),
        "llama",
        prompts.VICUNA_V1,
        files={**configs.ENDS_LLAMA, "preprocessor_config.json": configs.crop(56)},
        source="transformers: LlavaConfig.vision_feature_layer",
    ),
    Loadable(
        "gokul-mbzuai/sharegpt4v-7b-hf (ShareGPT4V-7B)",
        configs.llava_config(configs.VICUNA, configs.CLIP),
        "llama",
        _by(
            prompts.VICUNA_V1,
            "InternLM/InternLM-XComposer: projects/ShareGPT4V/scripts/sharegpt4v/"
            "slurm_finetune_7b.sh (--version v1), share4v/conversation.py",
        ),
        files={**configs.ENDS_LLAMA, "preprocessor_config.json": configs.crop(56)},
        storage="shards",
        source="unverified: the list of its files alone was read",
    ),
    Loadable(
        "llava-hf/bakLlava-v1-hf",
        configs.llava_config(configs.MISTRAL, configs.CLIP, pad_token_id="<pad>"),
        "llama",
        _by(
            prompts.VICUNA_V1,
            "SkunkworksAI/BakLLaVA: scripts/finetune.sh (--version v1), llava/conversation.py",
        ),
        files={
            **configs.ENDS_LLAMA,
            "preprocessor_config.json": configs.crop(56),
            "chat_template.json": {"chat_template": templates.BAKLLAVA},
        },
        dtype="bfloat16",
        source="config.json of a fine-tune of it on the hub",
    ),
    Loadable(
        "a fine-tune of llava-hf/bakLlava-v1-hf",
        configs.llava_config(configs.MISTRAL, configs.CLIP, pad_token_id="<pad>"),
        "llama",
        _by(
            prompts.VICUNA_V1,
            "SkunkworksAI/BakLLaVA: scripts/finetune.sh (--version v1), llava/conversation.py",
        ),
        files={
            **configs.ENDS_LLAMA,
            "preprocessor_config.json": configs.crop(56),
            "chat_template.json": {"chat_template": templates.BAKLLAVA},
        },
        dtype="bfloat16",
        conversation="vicuna_v1",
        source="config.json of a fine-tune of it on the hub",
    ),
    Loadable(
        "bczhou/tiny-llava-v1-hf",
        configs.llava_config(
            configs.TINY_LLAMA, configs.CLIP, pad_token_id="<pad>", torch_dtype="float32"
        ),
        "llama",
        _by(
            prompts.VICUNA_V1,
            "its card (LLaVA 1.5's recipe); TinyLLaVA/TinyLLaVA_Factory: "
            "tinyllava/data/template/llama_template.py",
        ),
        files={**configs.ENDS_LLAMA, "preprocessor_config.json": configs.crop(56)},
        storage="shards",
        dtype="float32",
    ),
    Loadable(
        "xtuner/llava-llama-3-8b-v1_1-transformers",
        configs.llava_config(configs.LLAMA3, configs.CLIP),
        "llama3",
        prompts.LLAMA3,
        files={"preprocessor_config.json": configs.crop(56)},
        template=templates.LLAMA3,
        storage="shards",
        source="InternLM/xtuner: convert_xtuner_weights_to_hf.py; unverified: its config.json",
    ),
    Loadable(
        "xtuner/llava-llama-3-8b-transformers, without its chat template",
        configs.llava_config(configs.LLAMA3, configs.CLIP),
        "llama3",
        prompts.LLAMA3,
        files={"preprocessor_config.json": configs.crop(56)},
        source="InternLM/xtuner: convert_xtuner_weights_to_hf.py; unverified: its config.json",
    ),
    Loadable(
        "xtuner/llava-phi-3-mini-hf",
        configs.llava_config(configs.PHI3_AS_LLAMA, configs.CLIP),
        "phi3",
        prompts.PHI3,
        files={"preprocessor_config.json": configs.crop(56)},
        template=templates.PHI3,
        source="InternLM/xtuner: convert_phi_to_llama.py, convert_xtuner_weights_to_hf.py",
    ),
    Loadable(
        "llava-hf/llava-interleave-qwen-0.5b-hf",
        configs.llava_config(
            {**configs.QWEN, "tie_word_embeddings": True}, _INTERLEAVE_TOWER, **_LAST_LAYER
        ),
        "qwen2",
        prompts.INTERLEAVE,
        SIGLIP_PIXELS,
        files={
            "preprocessor_config.json": configs.squash(60),
            "processor_config.json": configs.processor(vision_feature_select_strategy="full"),
            "chat_template.json": {"chat_template": templates.INTERLEAVE},
        },
    ),
    Loadable(
        "llava-hf/llava-interleave-qwen-7b-hf",
        configs.llava_config(
            {**configs.QWEN, "num_hidden_layers": 3}, _INTERLEAVE_TOWER, **_LAST_LAYER
        ),
        "qwen2",
        prompts.INTERLEAVE,
        SIGLIP_PIXELS,
        files={
            "preprocessor_config.json": configs.squash(60),
            "chat_template.json": {"chat_template": templates.INTERLEAVE},
        },
        storage="shards",
        source="transformers: convert_llava_weights_to_hf.py; unverified: its config.json",
    ),
    Loadable(
        "llava-hf/llava-interleave-qwen-7b-dpo-hf, without its chat template",
        configs.llava_config(configs.QWEN, _INTERLEAVE_TOWER, **_LAST_LAYER),
        "qwen2",
        prompts.INTERLEAVE,
        SIGLIP_PIXELS,
        files={"preprocessor_config.json": configs.squash(60)},
        source="transformers: convert_llava_weights_to_hf.py; unverified: its config.json",
    ),
    Loadable(
        "fancyfeast/llama-joycaption-alpha-two-hf-llava (first release)",
        configs.llava_config(
            configs.LLAMA31,
            configs.SIGLIP,
            image_seq_length=16,
            vision_feature_select_strategy="full",
            torch_dtype="float32",
        ),
        "llama31_reserved",
        prompts.JOYCAPTION,
        SIGLIP_PIXELS,
        template=templates.JOYCAPTION,
        storage="shards",
        dtype="bfloat16",
    ),
    Loadable(
        "fancyfeast/llama-joycaption-beta-one-hf-llava",
        configs.llava_config(
            configs.LLAMA31,
            configs.SIGLIP,
            image_seq_length=16,
            vision_feature_select_strategy="full",
        ),
        "llama31_reserved",
        prompts.JOYCAPTION,
        Pixels(False, configs.HALVES, configs.HALVES, Image.Resampling.LANCZOS),
        files={
            "preprocessor_config.json": configs.squash(60, resample=1),
            "processor_config.json": configs.processor(
                image_token="<|reserved_special_token_69|>", vision_feature_select_strategy="full"
            ),
            "chat_template.json": {"chat_template": templates.JOYCAPTION},
        },
        dtype="bfloat16",
        source="config.json of alpha two; unverified: its own",
    ),
    Loadable(
        "Vicuna's conversation on Qwen2's vocabulary, as TinyLLaVA trains",
        configs.llava_config(
            {**configs.QWEN, "tie_word_embeddings": True}, configs.SIGLIP, **_LAST_LAYER
        ),
        "qwen2",
        prompts.VICUNA_V1_ON_CHATML,
        SIGLIP_PIXELS,
        files={"preprocessor_config.json": configs.squash(60)},
        conversation="vicuna_v1",
        source="TinyLLaVA/TinyLLaVA_Factory: scripts/train/qwen2",
    ),
    Loadable(
        "TitanML/tinyllava-1.1b-v0.1 in the llava-hf layout",
        configs.llava_config(configs.TINY_LLAMA, configs.CLIP),
        "tiny_llama_chatml",
        _by(prompts.VICUNA_V1, "unverified: trained with the code of haotian-liu/LLaVA"),
        files={**configs.ENDS_LLAMA, "preprocessor_config.json": configs.crop(56)},
        conversation="vicuna_v1",
    ),
    Loadable(
        "HuggingFaceTB/SmolLM2-135M-Instruct under a new vision tower",
        configs.llava_config(configs.SMOLLM, configs.CLIP),
        "smollm2",
        prompts.SMOLLM2,
        files={"preprocessor_config.json": configs.crop(56)},
        template=templates.SMOLLM2,
        source="huggingface/smollm",
    ),
)
