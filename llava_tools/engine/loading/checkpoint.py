"""Loads a model by its name, and checks that it is a LLaVA with all of its weights."""

from __future__ import annotations

import difflib
import logging
from dataclasses import dataclass
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import cast

import torch
from transformers import (
    AutoConfig,
    AutoTokenizer,
    BitsAndBytesConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    PreTrainedConfig,
    SiglipVisionConfig,
)

from llava_tools.engine import vision_tower
from llava_tools.engine.device import pick_device, pick_dtype
from llava_tools.engine.loading.conversation import choose_format
from llava_tools.engine.loading.processor import ImageProcessor, image_processor
from llava_tools.engine.loading.weights import HubOptions, load_weights, readable
from llava_tools.engine.tokenizer import Tokenizer
from llava_tools.errors import ModelError, ModelNotFoundError
from llava_tools.options import ALIASES, TINY_NOTICE, EngineOptions, LoadOptions, Quantization

_log = logging.getLogger(__name__)

#: Text models with softcapped scores or sinks, which torch's SDPA does not have. Some releases of
#: transformers refuse them with it, others leave softcaps out.
_NO_SDPA = {"flint", "gemma2", "gpt_oss", "granite_swa", "granitemoe_swa", "vaultgemma"}


@dataclass(frozen=True)
class LoadedModel:
    """A model with everything that belongs to it.

    Attributes:
        name: As answers report it.
        model: In evaluation mode, on its device, in its dtype.
        tokenizer: Of its language model.
        processor: Of its images.
        eos_token_ids: Ids that end an answer.
    """

    name: str
    model: LlavaForConditionalGeneration
    tokenizer: Tokenizer
    processor: ImageProcessor
    eos_token_ids: tuple[int, ...]

    @property
    def image_tokens(self) -> int:
        """Tokens that an image takes: 576 in LLaVA 1.5."""
        return vision_tower.image_tokens(cast(LlavaConfig, self.model.config))


def load(options: EngineOptions) -> LoadedModel:
    """Load the model that the options name.

    Raises:
        ModelNotFoundError: No such model, folder or revision, or it cannot be reached.
        ModelError: Not a LLaVA 1.5, weights are missing or unexpected, or it cannot run here.
    """
    device = pick_device(options.device)
    location = locate(options)
    hub = {"revision": options.revision, "local_files_only": options.local_files_only}
    try:
        with readable(options.model, hub):
            config = _config(location, options.model, hub)
            vision_tower.check_config(config, options.model)
            if isinstance(config.vision_config, SiglipVisionConfig):
                config.vision_config.vision_use_head = False  # a pooling that LLaVA does not read
            model: LlavaForConditionalGeneration = load_weights(
                LlavaForConditionalGeneration,
                location,
                options.model,
                hub,
                progress=options.source != "tiny",
                attention=_attention(config),
                config=config,
                dtype=pick_dtype(options, device),
                device_map={"": device} if device.type != "cpu" else None,
                quantization_config=_quantization(options.quantization, device),
            )
            backend = AutoTokenizer.from_pretrained(location, **hub)
            conversation = choose_format(
                Path(location),
                backend,
                config.image_token_index,
                options.conversation,
                options.model,
            )
            tokenizer = Tokenizer(backend, conversation)
            processor = image_processor(Path(location), config.vision_config)
    except torch.OutOfMemoryError as error:
        raise ModelError(
            f"{options.model} does not fit into the memory of {device}.",
            "Use quantization='4bit', or a smaller model; `llava-tools info` says what fits.",
        ) from error
    name = "llava-tools/tiny" if options.source == "tiny" else options.source
    _log.info(
        "Loaded %s: %.1f million parameters, %s, on %s.%s",
        name,
        model.num_parameters() / 1e6,
        str(model.dtype).removeprefix("torch."),
        model.device,
        f" {TINY_NOTICE}" if options.source == "tiny" else "",
    )
    return LoadedModel(name, model, tokenizer, processor, _eos_token_ids(model, tokenizer))


def locate(options: LoadOptions) -> str:
    """Return the folder or hub id of a model without using the network.

    Raises:
        ModelNotFoundError: The name can be neither.
    """
    name = options.source
    if name == "tiny":
        return str(files("llava_tools") / "tiny")
    path = Path(name).expanduser()
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise ModelNotFoundError(
                f"The folder {name!r} has no config.json.", "Name the folder of a checkpoint."
            )
        return str(path)
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        similar = difflib.get_close_matches(name.lower(), ALIASES, n=1, cutoff=0.5)
        raise ModelNotFoundError(
            f"There is no model {options.model!r}.",
            (f"Did you mean {similar[0]!r}? " if similar else "")
            + "Use 'tiny', '7b', '13b', a hub id like 'llava-hf/llava-1.5-7b-hf', or a folder.",
        )
    return name


def _config(location: str, name: str, hub: HubOptions) -> LlavaConfig:
    """Read the checkpoint's configuration; anything but a LLaVA 1.5 is an error."""
    try:
        config: PreTrainedConfig = AutoConfig.from_pretrained(location, **hub)
    except ValueError as error:
        raise ModelError(
            f"{name!r} is of a type that transformers does not support: {error}",
            "Use a LLaVA 1.5 checkpoint in the llava-hf layout.",
        ) from error
    if not isinstance(config, LlavaConfig):
        raise ModelError(
            f"{name!r} is a {config.model_type!r} model, not a LLaVA 1.5 ('llava').",
            "Use '7b', '13b', or another checkpoint in the llava-hf layout.",
        )
    return config


def _quantization(kind: Quantization | None, device: torch.device) -> BitsAndBytesConfig | None:
    """Return the bitsandbytes settings; without a CUDA GPU or the package, raise `ModelError`."""
    if kind is None:
        return None
    if device.type != "cuda":
        raise ModelError(
            f"quantization={kind!r} needs a CUDA GPU, and the model would run on {device}.",
            "Leave quantization out, or use a smaller model; `llava-tools info` says what fits.",
        )
    try:
        import_module("bitsandbytes")
    except ModuleNotFoundError as error:
        raise ModelError(
            f"quantization={kind!r} needs the package bitsandbytes.",
            "Run: pip install bitsandbytes",
        ) from error
    # The vision tower and the projector are small and sensitive: they stay in 16 bit.
    whole = ["vision_tower", "multi_modal_projector", "lm_head"]
    if kind == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=whole)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16,
        llm_int8_skip_modules=whole,
    )


def _attention(config: LlavaConfig) -> dict[str, str]:
    """Return what the parts attend with where the engine does not replace it: in fine-tuning."""
    text = "eager" if config.text_config.model_type in _NO_SDPA else "sdpa"
    return {"": "sdpa", "vision_config": "sdpa", "text_config": text}


def _eos_token_ids(model: LlavaForConditionalGeneration, tokenizer: Tokenizer) -> tuple[int, ...]:
    configured = model.generation_config.eos_token_id
    ids = [*(configured if isinstance(configured, list) else [configured]), *tokenizer.stop_ids]
    return tuple(dict.fromkeys(token for token in ids if token is not None))
