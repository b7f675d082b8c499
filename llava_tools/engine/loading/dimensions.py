"""Sizes of models from their config.json: parameters, KV, image tokens.

Configurations leave out what equals the defaults of transformers' classes, so these are repeated
here; a test compares them, and the counts, with transformers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Config = Mapping[str, Any]
#: What values that make no sense raise.
_INVALID = (KeyError, TypeError, ValueError, ArithmeticError)
#: The most of anything that a model is counted by.
_MOST = 1 << 60

#: Bytes of a number by precision. 4 bit is NF4 with a scale in float32 for 64 numbers.
BYTES = {"float32": 4.0, "float16": 2.0, "bfloat16": 2.0, "8bit": 1.0, "4bit": 0.5625}
#: Bytes on a CPU, where 4 bit has a scale and an offset in bfloat16 for 32 numbers.
CPU_BYTES = {**BYTES, "4bit": 0.625}

#: Defaults of the text models whose parameters are counted, by `model_type`.
_TEXT_DEFAULTS: Mapping[str, Config] = {
    "llama": {
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "vocab_size": 32000,
        "max_position_embeddings": 2048,
    },
    "mistral": {
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "vocab_size": 32000,
        "max_position_embeddings": 131072,
    },
    "qwen2": {
        "hidden_size": 4096,
        "intermediate_size": 22016,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "vocab_size": 151936,
        "max_position_embeddings": 32768,
    },
    "qwen3": {
        "hidden_size": 4096,
        "intermediate_size": 22016,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "head_dim": 128,
        "vocab_size": 151936,
        "max_position_embeddings": 32768,
    },
    "phi3": {
        "hidden_size": 3072,
        "intermediate_size": 8192,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "vocab_size": 32064,
        "max_position_embeddings": 4096,
    },
    "gemma": {
        "hidden_size": 3072,
        "intermediate_size": 24576,
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
        "num_key_value_heads": 16,
        "head_dim": 256,
        "vocab_size": 256000,
        "max_position_embeddings": 8192,
        "tie_word_embeddings": True,
    },
}
#: Further text models that the engine runs in all releases of transformers that it supports.
_OTHER_TEXT_MODELS = {
    *("apertus", "arcee", "cohere", "cohere2", "cwm", "ernie4_5", "ernie4_5_moe", "exaone4"),
    *("gemma2", "gemma3_text", "glm", "glm4", "glm4_moe", "gpt_neox", "gpt_oss", "granite"),
    *("granitemoe", "granitemoeshared", "helium", "hunyuan_v1_dense", "hunyuan_v1_moe", "jais2"),
    *("ministral", "ministral3", "mixtral", "olmo", "olmo2", "olmo3", "olmoe", "persimmon", "phi"),
    *("phimoe", "qwen2_moe", "qwen3_moe", "seed_oss", "smollm3", "stablelm", "starcoder2"),
}
#: Language models that are supported.
TEXT_MODELS = frozenset(_OTHER_TEXT_MODELS | _TEXT_DEFAULTS.keys())

#: Defaults of the vision towers, by `model_type`.
_VISION_DEFAULTS: Mapping[str, Config] = {
    "clip_vision_model": {
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "image_size": 224,
        "patch_size": 32,
    },
    "siglip_vision_model": {
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "image_size": 224,
        "patch_size": 16,
    },
}
#: Vision towers that are supported.
VISION_TOWERS = frozenset(_VISION_DEFAULTS)
#: The tower of a LLaVA without `vision_config`: CLIP ViT-L/14 at 336 px.
_LLAVA_TOWER = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "image_size": 336,
    "patch_size": 14,
}


@dataclass(frozen=True)
class TextModel:
    """The language model, as config.json describes it.

    Attributes:
        model_type: Of transformers: `llama`, `qwen2`, ...
        context_length: Tokens that it was built for.
        vocab_size: Number of its token ids.
        kv_values: Numbers in the KV of one token; times the bytes of a number, its size.
        parameters: Of the language model with its head; None if they are not counted.
        linear_parameters: Those of its linear layers without the head, which quantization shrinks.
    """

    model_type: str
    context_length: int
    vocab_size: int
    kv_values: int
    parameters: int | None
    linear_parameters: int | None


@dataclass(frozen=True)
class VisionTower:
    """The vision tower and the projector, as config.json describes them.

    Attributes:
        model_type: Of transformers: `clip_vision_model`, `siglip_vision_model`.
        image_size: Side of its square input in pixels.
        image_tokens: Tokens that an image takes in the language model.
        feature_layers: Layers whose features are used, counted as in config.json.
        select_strategy: `default` drops the first feature of each layer, `full` keeps all.
        parameters: Of the tower and the projector; None if the language model's width is unknown.
    """

    model_type: str
    image_size: int
    image_tokens: int
    feature_layers: tuple[int, ...]
    select_strategy: str
    parameters: int | None


def text_type(config: Config) -> str:
    """Return the `model_type` of a LLaVA's language model."""
    return str(section(config, "text_config").get("model_type", "llama"))


def vision_type(config: Config) -> str:
    """Return the `model_type` of a LLaVA's vision tower."""
    return str(section(config, "vision_config").get("model_type", "clip_vision_model"))


def section(config: Config, name: str) -> Config:
    """Return the values of an inner configuration that are not null; {} if there is none."""
    inner = config.get(name)
    if not isinstance(inner, dict):
        return {}
    return {key: value for key, value in inner.items() if value is not None}


def text_model(config: Config) -> TextModel | None:
    """Return the language model of a LLaVA; None if config.json does not say enough."""
    try:
        return _text_model(config)
    except _INVALID:
        return None


def vision_tower(config: Config) -> VisionTower | None:
    """Return the vision tower of a LLaVA; None for another kind than `VISION_TOWERS`."""
    try:
        return _vision_tower(config) if vision_type(config) in VISION_TOWERS else None
    except _INVALID:
        return None


def _text_section(config: Config) -> Config:
    return {**_TEXT_DEFAULTS.get(text_type(config), {}), **section(config, "text_config")}


def _text_model(config: Config) -> TextModel:
    model_type, text = text_type(config), _text_section(config)
    hidden, heads = int(text["hidden_size"]), int(text["num_attention_heads"])
    layers, vocabulary = int(text["num_hidden_layers"]), int(text["vocab_size"])
    context = _context_length(text)
    head = int(text.get("head_dim", hidden // heads))
    keys = int(text.get("num_key_value_heads", heads)) * head
    parameters = linear = None
    if model_type in _TEXT_DEFAULTS:
        queries, wide = heads * head, int(text["intermediate_size"])
        linear = layers * (2 * hidden * (queries + keys) + 3 * hidden * wide)
        vectors = layers * _norms_and_biases(model_type, text, hidden, queries, keys, head)
        is_tied = text.get("tie_word_embeddings") or config.get("tie_word_embeddings")
        parameters = linear + vectors + hidden * (1 + vocabulary * (1 if is_tied else 2))
    kv_values = 2 * layers * keys
    _check_counts(context, vocabulary, kv_values, parameters or 0, linear or 0)
    return TextModel(model_type, context, vocabulary, kv_values, parameters, linear)


def _check_counts(*counts: int) -> None:
    """Raise `ValueError` for a count beyond any model, whose bytes no float may hold."""
    if max(map(abs, counts)) > _MOST:
        raise ValueError("a dimension makes no sense")


def _context_length(text: Config) -> int:
    """Return the longest context; see `engine.context_length`."""
    length = int(text["max_position_embeddings"])
    rotary = text.get("rope_parameters") or text.get("rope_scaling")
    if not isinstance(rotary, dict) or "longrope" not in (
        rotary.get("rope_type"),
        rotary.get("type"),
    ):
        return length
    original = "original_max_position_embeddings"
    return min(length, int(text.get(original) or rotary.get(original) or length))


def _norms_and_biases(
    model_type: str, text: Config, hidden: int, queries: int, keys: int, head: int
) -> int:
    """Return the parameters of a layer that are vectors."""
    count = 2 * hidden
    if model_type == "qwen2":
        count += queries + 2 * keys
    elif model_type == "qwen3":
        count += 2 * head
    if text.get("attention_bias"):
        count += queries + 2 * keys + hidden
    if text.get("mlp_bias"):
        count += 2 * int(text["intermediate_size"]) + hidden
    return count


def _vision_tower(config: Config) -> VisionTower:
    model_type, vision = vision_type(config), section(config, "vision_config")
    vision = {**(_VISION_DEFAULTS[model_type] if vision else _LLAVA_TOWER), **vision}
    layer = config.get("vision_feature_layer", -2)
    layers = tuple(int(item) for item in (layer if isinstance(layer, list) else [layer]))
    strategy = str(config.get("vision_feature_select_strategy", "default"))
    size, patch = int(vision["image_size"]), int(vision["patch_size"])
    is_clip = model_type == "clip_vision_model"
    patches = (size // patch) ** 2
    parameters = None
    if width := _text_section(config).get("hidden_size"):
        bias = bool(config.get("multimodal_projector_bias", True))
        inputs = int(vision["hidden_size"]) * len(layers)
        projector = int(width) * (inputs + int(width) + 2 * bias)
        parameters = projector + _tower_parameters(vision, patches, is_clip=is_clip)
    tokens = patches + is_clip - (strategy == "default")  # a SigLIP has no class token
    _check_counts(size, tokens, parameters or 0)
    return VisionTower(model_type, size, tokens, layers, strategy, parameters)


def _tower_parameters(vision: Config, patches: int, *, is_clip: bool) -> int:
    hidden, wide = int(vision["hidden_size"]), int(vision["intermediate_size"])
    mlp = 2 * hidden * wide + wide + hidden
    attention = 4 * (hidden * hidden + hidden)
    layers = int(vision["num_hidden_layers"]) * (attention + mlp + 4 * hidden)
    patch = 3 * int(vision["patch_size"]) ** 2 * hidden
    if is_clip:  # a class token, and norms before and after the layers
        return layers + patch + hidden + (patches + 1) * hidden + 4 * hidden
    pooling = attention + mlp + 3 * hidden if vision.get("vision_use_head", True) else 0
    return layers + patch + hidden + patches * hidden + 2 * hidden + pooling


def memory(
    parameters: int,
    linear_parameters: int,
    precision: str,
    device_type: str = "cuda",
    others: str = "float16",
) -> int:
    """Return the bytes that weights take in a precision of `BYTES`.

    `linear_parameters` of them are the language model's linear layers, which `8bit` and `4bit`
    quantize; the others have the precision `others` then.
    """
    if precision not in ("8bit", "4bit"):
        return int(parameters * BYTES[precision])
    size = (CPU_BYTES if device_type == "cpu" else BYTES)[precision]
    return int(linear_parameters * size + (parameters - linear_parameters) * BYTES[others])
