"""Loads a model by its name, and checks that it is a LLaVA with all of its weights."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from transformers import (
    BitsAndBytesConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    SiglipVisionConfig,
)

from llava_tools.core.calibration import Calibration
from llava_tools.engine import vision_tower
from llava_tools.engine.decoder import is_supported
from llava_tools.engine.device import pick_device, pick_dtype, supports_bfloat16
from llava_tools.engine.loading import adapter, adapter_base
from llava_tools.engine.loading.calibration import find_calibration, fingerprint
from llava_tools.engine.loading.config import read_config, valid_config
from llava_tools.engine.loading.conversation import choose_format
from llava_tools.engine.loading.inspection import Inspection, inspect
from llava_tools.engine.loading.memory import check_memory
from llava_tools.engine.loading.processor import ImageProcessor, image_processor
from llava_tools.engine.loading.source import Source, resolve
from llava_tools.engine.loading.tokenizer import read_tokenizer
from llava_tools.engine.loading.weights import load_weights
from llava_tools.engine.quantized_linear import (
    cast_unquantized,
    check_quantization,
    unsupported_error,
)
from llava_tools.engine.tokenizer import Tokenizer
from llava_tools.errors import ModelError
from llava_tools.options import TINY_NOTICE, EngineOptions, Quantization

_log = logging.getLogger(__name__)

#: Text models with softcapped scores or sinks, which torch's SDPA does not have. Some releases of
#: transformers refuse them with it, others leave softcaps out.
_NO_SDPA = {"flint", "gemma2", "gpt_oss", "granite_swa", "granitemoe_swa", "vaultgemma"}

#: Parts that bitsandbytes leaves in 16 bit: the vision tower and the projector are small and
#: sensitive. Names are matched from the beginning of the full name.
WHOLE_MODULES = ("model.vision_tower", "model.multi_modal_projector", "lm_head")


@dataclass(frozen=True)
class LoadedModel:
    """A model with everything that belongs to it.

    Attributes:
        name: As answers report it.
        folder: Local folder of its files.
        model: In evaluation mode, on its device, in its dtype.
        tokenizer: Of its language model.
        processor: Of its images.
        eos_token_ids: Ids that end an answer.
        fingerprint: Of its weight files.
        calibration: Of its probabilities.
    """

    name: str
    folder: Path
    model: LlavaForConditionalGeneration
    tokenizer: Tokenizer
    processor: ImageProcessor
    eos_token_ids: tuple[int, ...]
    fingerprint: str
    calibration: Calibration

    @property
    def image_tokens(self) -> int:
        """Tokens that an image takes: 576 in LLaVA 1.5."""
        return vision_tower.image_tokens(self.model.config)


def load(
    options: EngineOptions, quantization_config: BitsAndBytesConfig | None = None
) -> LoadedModel:
    """Load the model that the options name.

    Args:
        options: Of the engine.
        quantization_config: How bitsandbytes quantizes, on any device, instead of what
            `options.quantization` means for answers.

    Raises:
        ModelNotFoundError: No such model, folder or revision, or it cannot be reached.
        ModelError: Not a LLaVA 1.5, weights are missing or unexpected, or it cannot run here.
    """
    device = pick_device(options.device)
    source = resolve(options.model, options.revision, options.local_files_only)
    inspection = inspect(source.folder, source.files, source.name)
    inspection.require(device.type)
    base, weight_files = source, inspection.weight_files
    if inspection.adapter_base is not None:
        base, inspection = _adapter_base(source, inspection.adapter_base, options, device)
    check_memory(inspection, options, device)
    config = _config(base)
    tokenizer = _tokenizer(adapter_base.with_tokenizer(source, base), config, options)
    processor_folder = adapter_base.with_processor(source, base).folder
    processor = image_processor(processor_folder, config.vision_config)
    lora = None
    if base is not source:
        adapter.check_tokenizer(source, len(tokenizer.tokenizer), config)
        lora = adapter.read_adapter(source, config)
    model = _model(base, config, options, device, lora, quantization_config)
    name = "llava-tools/tiny" if source.name == "tiny" else source.name
    _log.info(
        "Loaded %s: %.1f million parameters, %s, on %s.%s",
        name,
        model.num_parameters() / 1e6,
        str(model.dtype).removeprefix("torch."),
        model.device,
        f" {TINY_NOTICE}" if source.name == "tiny" else "",
    )
    eos_token_ids = _eos_token_ids(model, tokenizer)
    weights = fingerprint(source.folder, weight_files)
    calibration = find_calibration(source, options.calibration, name, weights)
    return LoadedModel(
        name, source.folder, model, tokenizer, processor, eos_token_ids, weights, calibration
    )


def _adapter_base(
    source: Source, base: str, options: EngineOptions, device: torch.device
) -> tuple[Source, Inspection]:
    """Return the base model of an adapter, which must be one that loads without quantization."""
    found = adapter_base.resolve_base(source, base, local_files_only=options.local_files_only)
    inspection = inspect(found.folder, found.files, found.name)
    inspection.require(device.type)
    adapter_base.check_base(source, inspection, options.quantization)
    return found, inspection


def _config(source: Source) -> LlavaConfig:
    config = read_config(source.folder, source.name)
    assert isinstance(config, LlavaConfig)  # `inspect` refuses all others
    vision_tower.check_config(config, source.name)
    with valid_config(source.name), torch.device("meta"):
        LlavaForConditionalGeneration(config)
    if isinstance(config.vision_config, SiglipVisionConfig):
        config.vision_config.vision_use_head = False  # a pooling that LLaVA does not read
    return config


def _tokenizer(source: Source, config: LlavaConfig, options: EngineOptions) -> Tokenizer:
    tokenizer = read_tokenizer(source.folder, source.name)
    image_token = config.image_token_index
    conversation = choose_format(
        source.folder, tokenizer, image_token, options.conversation, source.name
    )
    return Tokenizer(tokenizer, conversation)


def _model(
    source: Source,
    config: LlavaConfig,
    options: EngineOptions,
    device: torch.device,
    lora: adapter.Adapter | None,
    quantization_config: BitsAndBytesConfig | None,
) -> LlavaForConditionalGeneration:
    dtype = pick_dtype(options, device)
    is_chosen = quantization_config is not None
    # The decoder rounds the weights as they are stored; until then they stay in the mapped file.
    rounded_later = options.quantization is not None and device.type == "cpu" and not is_chosen
    try:
        model: LlavaForConditionalGeneration = load_weights(
            LlavaForConditionalGeneration,
            source,
            progress=source.name != "tiny",
            attention=_attention(config),
            config=config,
            dtype="auto" if rounded_later else dtype,
            device_map={"": device} if device.type != "cpu" or is_chosen else None,
            quantization_config=quantization_config
            or _quantization(options.quantization, device, config),
        )
        if rounded_later:
            cast_unquantized(model, dtype)
        return model if lora is None else lora.merge(model)
    except torch.OutOfMemoryError as error:
        raise ModelError(
            f"{source.name} does not fit into the memory of {device}.",
            "Use quantization='4bit', or a smaller model; `llava-tools info` says what fits.",
        ) from error


def _quantization(
    kind: Quantization | None, device: torch.device, config: LlavaConfig
) -> BitsAndBytesConfig | None:
    """Return the bitsandbytes settings for a GPU; on a CPU the decoder quantizes by itself.

    Raises:
        ModelError: The device is of another kind, the processor lacks what is needed, the language
            model is of a kind that is not quantized on it, or the package is not installed.
    """
    if kind is None:
        return None
    if device.type == "cpu":
        check_quantization(kind)
        text: Any = config.text_config
        if not is_supported(text):
            raise unsupported_error(kind, text.model_type)
        return None
    if device.type != "cuda":
        raise ModelError(
            f"quantization={kind!r} needs a CUDA GPU or a CPU, and the model would be on {device}.",
            "Use device='cpu', or leave quantization out.",
        )
    try:
        import_module("bitsandbytes")
    except ModuleNotFoundError as error:
        raise ModelError(
            f"quantization={kind!r} needs the package bitsandbytes.",
            "Run: pip install bitsandbytes",
        ) from error
    whole = list(WHOLE_MODULES)
    if kind == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=whole)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=torch.bfloat16 if supports_bfloat16(device) else torch.float16,
        llm_int8_skip_modules=whole,
    )


def _attention(config: LlavaConfig) -> dict[str, str]:
    """Return what the parts attend with where the engine does not replace it: in fine-tuning."""
    text: Any = config.text_config
    kind = "eager" if text.model_type in _NO_SDPA else "sdpa"
    return {"": "sdpa", "vision_config": "sdpa", "text_config": kind}


def _eos_token_ids(model: LlavaForConditionalGeneration, tokenizer: Tokenizer) -> tuple[int, ...]:
    configured = model.generation_config.eos_token_id
    ids = [*(configured if isinstance(configured, list) else [configured]), *tokenizer.stop_ids]
    return tuple(dict.fromkeys(token for token in ids if token is not None))
