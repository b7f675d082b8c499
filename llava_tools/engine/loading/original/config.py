"""config.json of the original layout: checked, and written as the llava-hf layout's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from transformers import CLIPConfig, CLIPVisionConfig, LlamaConfig, LlavaConfig, PreTrainedConfig

from llava_tools.engine.loading import refusals
from llava_tools.engine.loading.config import valid_config
from llava_tools.engine.loading.json_file import read_object
from llava_tools.engine.vision_tower import image_tokens
from llava_tools.errors import ModelError, ModelNotFoundError

#: Fields of Llama's configuration; LLaVA's own begin with `mm_`.
_LLAMA_FIELDS = (
    "attention_bias",
    "bos_token_id",
    "eos_token_id",
    "head_dim",
    "hidden_act",
    "hidden_size",
    "initializer_range",
    "intermediate_size",
    "max_position_embeddings",
    "mlp_bias",
    "num_attention_heads",
    "num_hidden_layers",
    "num_key_value_heads",
    "rms_norm_eps",
    "rope_parameters",
    "rope_scaling",
    "rope_theta",
    "tie_word_embeddings",
)
_MODEL_TYPES = ("llava", "llava_llama")
_STRATEGIES: dict[str, Literal["default", "full"]] = {"patch": "default", "cls_patch": "full"}
_SERVER = "Run the model with vLLM, and name the server: base_url='http://…/v1'."

#: What the llava-hf layout can hold, by the field of config.json.
_RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "mm_projector_type": (
        lambda value: value == "mlp2x_gelu",
        "LLaVA 1.0 and others with that projector run in the original code only.",
    ),
    "mm_vision_select_layer": (
        lambda value: isinstance(value, int) and not isinstance(value, bool),
        "Name a checkpoint of LLaVA 1.5.",
    ),
    "mm_vision_select_feature": (
        lambda value: value is None or value in _STRATEGIES,
        "Name a checkpoint of LLaVA 1.5.",
    ),
    # Without a value the original code crops, which no LLaVA 1.5 was trained with.
    "image_aspect_ratio": (lambda value: value == "pad", "Name a checkpoint of LLaVA 1.5."),
    "mm_patch_merge_type": (lambda value: value in (None, "flat"), _SERVER),
    "mm_use_im_start_end": (
        lambda value: not value,
        "Its prompts have tokens around images; they run in the original code only.",
    ),
    "mm_resampler_type": (lambda value: value is None, _SERVER),
    "s2": (lambda value: not value, "Images in several sizes (S2) need the original code."),
    "quantization_config": (
        lambda value: value is None,
        "Convert the checkpoint that was quantized, in 16 bit.",
    ),
}


def read_original(folder: Path, name: str) -> dict[str, Any]:
    """Read and check the config.json of a checkpoint in the original layout.

    Raises:
        ModelNotFoundError: The folder has no config.json.
        ModelError: It is in another layout, or of a kind that the llava-hf layout cannot hold; the
            message calls the model `name`.
    """
    config = _read_json(folder / "config.json", name)
    model_type = config.get("model_type")
    if "text_config" in config:
        raise ModelError(
            f"{name!r} is not in LLaVA's original layout: its config.json has a text_config.",
            "A checkpoint in the llava-hf layout needs no conversion.",
        )
    if not config.get("mm_vision_tower"):
        if model_type in _MODEL_TYPES:
            raise ModelError(
                f"{name!r} is not a LLaVA in the original layout: its config.json has no "
                "mm_vision_tower.",
                "Name a checkpoint of LLaVA 1.5.",
            )
        raise refusals.other_family(name, str(model_type)).error()
    if "anyres" in str(config.get("image_aspect_ratio")):
        raise refusals.original_layout(name, config).error()
    if model_type not in _MODEL_TYPES:
        raise ModelError(
            f"{name!r} is a {model_type!r} model; only LLaVA on Llama or Vicuna is converted.",
            _SERVER,
        )
    for field, (is_supported, hint) in _RULES.items():
        if not is_supported(config.get(field)):
            raise ModelError(
                f"{name!r} has {field}={config.get(field)!r} in its config.json, which the "
                "llava-hf layout of LLaVA 1.5 does not have.",
                hint,
            )
    return config


def vision_config(folder: Path, name: str) -> CLIPVisionConfig:
    """Read the configuration of a CLIP's vision tower.

    Raises:
        ModelNotFoundError: The folder has no config.json.
        ModelError: It is not a CLIP; the message calls it `name`.
    """
    config = _read_json(folder / "config.json", name)
    kinds: dict[object, type[PreTrainedConfig]] = {
        "clip": CLIPConfig, "clip_vision_model": CLIPVisionConfig
    }  # fmt: skip
    kind = kinds.get(config.get("model_type"))
    if kind is None:
        raise ModelError(
            f"The vision tower {name!r} is a {config.get('model_type')!r} model, not a CLIP.",
            _SERVER,
        )
    with valid_config(name):
        read: Any = kind.from_dict(config)
    vision = read.vision_config if kind is CLIPConfig else read
    assert isinstance(vision, CLIPVisionConfig)
    return vision


def write_config(
    original: Mapping[str, Any], vision: CLIPVisionConfig, *, vocab_size: int, image_token: int
) -> LlavaConfig:
    """Return the configuration in the llava-hf layout.

    Args:
        original: From `read_original`.
        vision: Of the CLIP that the vision tower was taken from.
        vocab_size: Number of rows of the padded embeddings.
        image_token: Id of `<image>`, which stands for one of an image's features.

    Raises:
        ModelError: The vision tower has another width than the projector.
    """
    if vision.hidden_size != original.get("mm_hidden_size", vision.hidden_size):
        raise ModelError(
            f"The projector reads features of {original['mm_hidden_size']} numbers, and the CLIP's "
            f"vision tower has {vision.hidden_size}.",
            f"Name the right CLIP: config.json names {original['mm_vision_tower']!r}.",
        )
    fields = {name: original[name] for name in _LLAMA_FIELDS if original.get(name) is not None}
    strategy = _STRATEGIES[original.get("mm_vision_select_feature", "patch")]
    config = LlavaConfig(
        text_config=LlamaConfig(vocab_size=vocab_size, **fields),
        vision_config=vision,
        image_token_index=image_token,
        projector_hidden_act="gelu",
        vision_feature_select_strategy=strategy,
        vision_feature_layer=original["mm_vision_select_layer"],
        architectures=["LlavaForConditionalGeneration"],
    )
    config.image_seq_length = image_tokens(config)
    return config


def _read_json(path: Path, name: str) -> dict[str, Any]:
    if not path.is_file():
        raise ModelNotFoundError(f"{name!r} has no config.json.", "Name a checkpoint's folder.")
    try:
        return read_object(path)
    except ValueError as error:
        raise ModelError(
            f"{path} is damaged: {error}.", "Download the checkpoint again."
        ) from error
