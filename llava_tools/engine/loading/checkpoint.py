"""From a name to a model that is ready to run: found, checked, and loaded whole or not at all."""

from __future__ import annotations

import difflib
import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoTokenizer,
    BitsAndBytesConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    PreTrainedConfig,
)
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil
from transformers.utils import logging as transformers_logging

from llava_tools.engine.device import pick_device, pick_dtype
from llava_tools.engine.tokenizer import Tokenizer
from llava_tools.errors import ModelError, ModelNotFoundError
from llava_tools.images import ImageRef
from llava_tools.options import ALIASES, TINY_NOTICE, EngineOptions, LoadOptions, Quantization

_log = logging.getLogger(__name__)

#: Buffers that older exporters wrote into checkpoints and that are computed, not learned.
_COMPUTED = (".position_ids", ".rotary_emb.inv_freq")


@dataclass(frozen=True)
class Loaded:
    """A model with everything that belongs to it.

    Attributes:
        name: As answers report it.
        model: In evaluation mode, on its device, in its dtype.
        text: Its tokenizer.
        ends: Ids that end an answer.
    """

    name: str
    model: LlavaForConditionalGeneration
    text: Tokenizer
    processor: LlavaImageProcessorPil
    ends: tuple[int, ...]

    @property
    def image_tokens(self) -> int:
        """Tokens that an image takes: 576 in LLaVA 1.5."""
        config: Any = self.model.config
        side = config.vision_config.image_size // config.vision_config.patch_size
        return int(side**2) + int(config.vision_feature_select_strategy == "full")

    def pixels(self, images: Sequence[ImageRef]) -> torch.Tensor:
        """Return `preprocess` by the model's own processor: float32 [images, 3, size, size]."""
        return preprocess(self.processor, images)


def preprocess(processor: LlavaImageProcessorPil, images: Sequence[ImageRef]) -> torch.Tensor:
    """Return the official preprocessing: padded to a square, resized, normalized.

    Args:
        processor: From `picture_processor`.
        images: At least one.

    Returns:
        float32 [images, 3, size, size].

    Raises:
        ImageError: An image is damaged in a way that only decoding finds.
    """
    batch = processor([image.rgb() for image in images], return_tensors="pt")
    pixels: torch.Tensor = batch["pixel_values"]
    return pixels


def load(options: EngineOptions) -> Loaded:
    """Load what the options name.

    Raises:
        ModelNotFoundError: No such model, folder or revision, or it cannot be reached.
        ModelError: Not a LLaVA 1.5, weights missing or unexpected, or no way to run it here.
    """
    device = pick_device(options.device)
    where = locate(options)
    hub: dict[str, Any] = {
        "revision": options.revision,
        "local_files_only": options.local_files_only,
    }
    config = _config(where, options, hub)
    try:
        model = _model(where, config, options, device, hub)
        tokenizer = AutoTokenizer.from_pretrained(where, **hub)
        processor = image_processor(where, config.vision_config, hub)
    except OSError as error:
        raise not_found(options.model, options.revision, options.local_files_only, error) from error
    except torch.OutOfMemoryError as error:
        raise ModelError(
            f"{options.model} does not fit into the memory of {device}.",
            "Use quantization='4bit', or a smaller model; `llava-tools info` says what fits.",
        ) from error
    text = Tokenizer(tokenizer)
    name = "llava-tools/tiny" if options.source == "tiny" else options.source
    _log.info(
        "Loaded %s: %.1f million parameters, %s, on %s.%s",
        name,
        model.num_parameters() / 1e6,
        str(model.dtype).removeprefix("torch."),
        model.device,
        f" {TINY_NOTICE}" if options.source == "tiny" else "",
    )
    return Loaded(name, model, text, processor, _ends(model, text))


def locate(options: LoadOptions) -> str:
    """Return the folder or hub id; a name that can be neither is refused without a look outside."""
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
        near = difflib.get_close_matches(name.lower(), ALIASES, n=1, cutoff=0.5)
        raise ModelNotFoundError(
            f"There is no model {options.model!r}.",
            (f"Did you mean {near[0]!r}? " if near else "")
            + "Use 'tiny', '7b', '13b', a hub id like 'llava-hf/llava-1.5-7b-hf', or a folder.",
        )
    return name


def _config(where: str, options: EngineOptions, hub: dict[str, Any]) -> LlavaConfig:
    """Read the checkpoint's configuration and refuse what is not a LLaVA 1.5."""
    try:
        config: PreTrainedConfig = AutoConfig.from_pretrained(where, **hub)
    except OSError as error:
        raise not_found(options.model, options.revision, options.local_files_only, error) from error
    except ValueError as error:
        raise ModelError(
            f"{options.model!r} is of a kind that transformers does not know: {error}",
            "Use a LLaVA 1.5 checkpoint in the llava-hf layout.",
        ) from error
    if not isinstance(config, LlavaConfig):
        raise ModelError(
            f"{options.model!r} is a {config.model_type!r} model, not a LLaVA 1.5 ('llava').",
            "Use '7b', '13b', or another checkpoint in the llava-hf layout.",
        )
    return config


def _model(
    where: str,
    config: LlavaConfig,
    options: EngineOptions,
    device: torch.device,
    hub: dict[str, Any],
) -> LlavaForConditionalGeneration:
    """Load the weights and make sure that all of them arrived."""
    extra: dict[str, Any] = {}
    if options.quantization:
        extra["quantization_config"] = _quantization(options.quantization, device)
    with only_errors(progress=options.source != "tiny" and sys.stderr.isatty()):
        loaded: Any = LlavaForConditionalGeneration.from_pretrained(
            where,
            config=config,
            dtype=pick_dtype(options, device),
            device_map={"": device} if device.type != "cpu" else None,
            attn_implementation="sdpa",
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # reported like the others, and refused below
            **extra,
            **hub,
        )
    model: LlavaForConditionalGeneration = loaded[0]
    refuse_faults(loaded[1], options.model)
    model.eval()
    return model


def refuse_faults(report: dict[str, Any], name: str) -> None:
    """Make sure that all of a checkpoint's weights arrived, as transformers' report says.

    Raises:
        ModelError: Some are missing, unexpected or of the wrong shape.
    """
    faults = {
        "missing": sorted(report["missing_keys"]),
        "unexpected": sorted(k for k in report["unexpected_keys"] if not k.endswith(_COMPUTED)),
        "of the wrong shape": sorted(str(key[0]) for key in report["mismatched_keys"]),
    }
    told = [
        f"{len(keys)} {kind} (such as {keys[0]})" for kind, keys in faults.items() if len(keys) > 0
    ]
    if told:
        raise ModelError(
            f"The weights of {name!r} are not those of its config.json: {'; '.join(told)}.",
            "Export or download the checkpoint again.",
        )


@contextmanager
def only_errors(*, progress: bool) -> Iterator[None]:
    """Keep transformers' report of faulty weights quiet: our error says the same in one line."""
    told = transformers_logging
    verbosity, shown = told.get_verbosity(), told.is_progress_bar_enabled()
    told.set_verbosity_error()
    if not progress:
        told.disable_progress_bar()
    try:
        yield
    finally:
        told.set_verbosity(verbosity)
        if shown:
            told.enable_progress_bar()


def _quantization(kind: Quantization, device: torch.device) -> BitsAndBytesConfig:
    """Return the bitsandbytes settings, or say why they cannot be used."""
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


def image_processor(where: str, vision: Any, hub: dict[str, Any]) -> LlavaImageProcessorPil:
    """Return the image processor that pads as LLaVA was trained; checkpoints say to crop."""
    size = vision.image_size
    return LlavaImageProcessorPil.from_pretrained(
        where,
        do_pad=True,
        size={"shortest_edge": size},
        crop_size={"height": size, "width": size},
        **hub,
    )


def _ends(model: LlavaForConditionalGeneration, text: Tokenizer) -> tuple[int, ...]:
    named = model.generation_config.eos_token_id
    listed = named if isinstance(named, list) else [named] if named is not None else []
    return tuple(dict.fromkeys([*listed, text.end_of_turn]))


def not_found(
    name: str, revision: str | None, local_files_only: bool, error: OSError
) -> ModelNotFoundError:
    """Return the error for a checkpoint that transformers could not read."""
    at = f" at revision {revision!r}" if revision else ""
    reason = str(error).strip().split("\n")[0]
    return ModelNotFoundError(
        f"The model {name!r}{at} cannot be read: {reason}",
        "It is not in the local cache, and offline=True forbids asking the hub."
        if local_files_only
        else "Check the name and the network, or name a local folder.",
    )
