"""Models that are not loaded: why, and what to use instead."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llava_tools.engine.loading.other_models import (
    ANY_SERVER,
    COUNTERPARTS,
    FAMILIES,
    GGUF_SERVERS,
    QUANTIZATIONS,
    UNQUANTIZED,
    VLLM,
)
from llava_tools.errors import ModelError, ModelNotFoundError

#: Endings of weight files that are not read, and what reads them.
_FOREIGN = {
    ".onnx": "ONNX",
    ".xml": "OpenVINO",
    ".h5": "TensorFlow",
    ".msgpack": "Flax",
    ".npz": "MLX",
}
_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth")


@dataclass(frozen=True)
class Refusal:
    """Why a model is not loaded.

    Attributes:
        message: The fault, with the model's name; one sentence.
        hint: What to use instead.
        missing: Whether there is no model at all, rather than one of another kind.
    """

    message: str
    hint: str
    missing: bool = False

    def error(self) -> ModelError:
        """Return the error to raise."""
        return (ModelNotFoundError if self.missing else ModelError)(self.message, self.hint)


def other_family(name: str, model_type: str, *, has_code: bool = False) -> Refusal:
    """Return the refusal of a model that is not a LLaVA 1.5.

    Args:
        name: Of the model.
        model_type: From config.json.
        has_code: Whether the repository brings code of its own (`auto_map`).
    """
    known = FAMILIES.get(model_type)
    if known is None and has_code:
        return Refusal(
            f"{name!r} needs code of its own ('auto_map' in config.json), which is never run.",
            ANY_SERVER,
        )
    if not model_type:
        return Refusal(
            f"{name!r} is not a LLaVA 1.5 ('llava'): its config.json has no model_type.", ANY_SERVER
        )
    family, hint = known or (repr(model_type), ANY_SERVER)
    article = "an" if family.strip("'")[:1].lower() in tuple("aeiou") else "a"
    return Refusal(f"{name!r} is {article} {family} model, not a LLaVA 1.5 ('llava').", hint)


def no_config(name: str, files: Mapping[str, int]) -> Refusal:
    """Return the refusal of a folder or repository without config.json."""
    inner = sorted(file for file in files if file.endswith("/config.json"))
    if not inner and any(file.endswith(".gguf") for file in files):
        return gguf(name)
    if {"params.json", "consolidated.safetensors"} <= files.keys():
        return Refusal(f"{name!r} is in Mistral's own layout, such as Pixtral's.", VLLM)
    if "mm_projector.bin" in files:
        return projector_only(name)
    if not files:
        return Refusal(f"The folder {name!r} is empty.", "Name the folder of a checkpoint.", True)
    example = f", such as its {inner[0][:-12]!r}" if inner else ""
    return Refusal(
        f"The folder {name!r} has no config.json.",
        f"Name the folder of a checkpoint{example}.",
        True,
    )


def file(path: Path) -> Refusal:
    """Return the refusal of a file that is named instead of a folder."""
    name = str(path)
    if path.suffix.lower() == ".gguf":
        return gguf(name)
    hint = "Name the folder that holds it together with config.json and the tokenizer."
    if path.suffix.lower() in _WEIGHTS or path.name == "config.json":
        return Refusal(f"{name!r} is one file of a checkpoint.", hint)
    return Refusal(f"{name!r} is a file, not the folder of a checkpoint.", hint, True)


def gguf(name: str) -> Refusal:
    """Return the refusal of GGUF files, llama.cpp's."""
    return Refusal(f"{name!r} is GGUF, the format of llama.cpp.", GGUF_SERVERS)


def mlx(name: str) -> Refusal:
    """Return the refusal of weights that MLX quantized."""
    return Refusal(
        f"The weights of {name!r} are quantized by MLX, for Apple's GPUs.",
        f"Serve it with mlx_vlm.server and pass base_url, or {UNQUANTIZED}.",
    )


def quantization(name: str, method: str) -> Refusal:
    """Return the refusal of weights quantized by a method other than bitsandbytes."""
    title, by_vllm = QUANTIZATIONS.get(method, (repr(method), False))
    hint = f"Serve it with vLLM and pass base_url, or {UNQUANTIZED}."
    return Refusal(
        f"The weights of {name!r} are quantized by {title}, which is not loaded here.",
        hint if by_vllm else f"{UNQUANTIZED[0].upper()}{UNQUANTIZED[1:]}.",
    )


def bitsandbytes(name: str, kind: str, device_type: str) -> Refusal:
    """Return the refusal of bitsandbytes weights on a device other than CUDA."""
    return Refusal(
        f"The weights of {name!r} are quantized to {kind} by bitsandbytes, which needs a CUDA "
        f"GPU, and the model would run on {device_type}.",
        "Use the model it was made from, or serve a GGUF of it with llama-server or Ollama and "
        "pass base_url.",
    )


def original_layout(name: str, config: Mapping[str, Any]) -> Refusal:
    """Return the refusal of LLaVA's own layout, which has no `text_config`."""
    other = _counterpart(name)
    if other is None and "anyres" in str(config.get("image_aspect_ratio")):
        return Refusal(
            f"{name!r} is a LLaVA-NeXT model, not a LLaVA 1.5 ('llava').",
            "Serve its counterpart of llava-hf with vLLM and pass base_url, or use '7b'.",
        )
    if _architecture(config) == "LlavaForConditionalGeneration":  # the llava-hf layout's
        return Refusal(
            f"config.json of {name!r} has no text_config.", "Download the checkpoint again."
        )
    if other is None and not _is_convertible(config):
        return other_family(name, _architecture(config))
    return Refusal(
        f"{name!r} is in LLaVA's original layout, not in transformers'.",
        f"Use {other!r}, the same model."
        if other
        else f"Run: llava-tools convert {name} --out DIR",
    )


def _is_convertible(config: Mapping[str, Any]) -> bool:
    """Whether `llava-tools convert` takes a checkpoint in the original layout."""
    is_llama = config.get("model_type") in ("llava", "llava_llama")
    return is_llama and _architecture(config) in ("LlavaLlamaForCausalLM", "LlavaForCausalLM")


def _architecture(config: Mapping[str, Any]) -> str:
    names = config.get("architectures")
    return str(names[0]) if isinstance(names, list) and names else "LlavaLlamaForCausalLM"


def xtuner_layout(name: str) -> Refusal:
    """Return the refusal of XTuner's layout: a language model beside tower and projector."""
    hint = "Use the model in the layout of transformers; XTuner converts it."
    other = _counterpart(name)
    return Refusal(
        f"{name!r} is in XTuner's layout, not in transformers'.",
        f"Use {other!r}, the same model." if other else hint,
    )


def _counterpart(name: str) -> str | None:
    return COUNTERPARTS.get(name.rstrip("/").rpartition("/")[2])


def original_lora(name: str) -> Refusal:
    """Return the refusal of a LoRA of LLaVA's original code."""
    return Refusal(
        f"{name!r} is a LoRA of LLaVA's original code.",
        f"Run: llava-tools convert {name} --out DIR",
    )


def projector_only(name: str) -> Refusal:
    """Return the refusal of a projector without a language model."""
    return Refusal(
        f"{name!r} holds a projector alone, without a language model.",
        "Use '7b', or a model that was trained to the end.",
    )


def unmarked_next(name: str) -> Refusal:
    """Return the refusal of a LLaVA-NeXT that calls itself `llava`."""
    return Refusal(
        f"{name!r} is a LLaVA-NeXT model, though its config.json says 'llava'.", ANY_SERVER
    )


def vision_tower(name: str, model_type: str) -> Refusal:
    """Return the refusal of a vision tower other than CLIP's and SigLIP's."""
    if model_type == "pixtral":
        return other_family(name, "pixtral")
    return Refusal(
        f"The vision tower of {name!r} is of the type {model_type!r}, neither CLIP's nor SigLIP's.",
        ANY_SERVER,
    )


def text_model(name: str, model_type: str, *, has_code: bool) -> Refusal:
    """Return the refusal of a language model that transformers does not have."""
    if has_code:
        return other_family(name, model_type, has_code=True)
    return Refusal(
        f"The language model of {name!r} is of the type {model_type!r}, which is not supported.",
        ANY_SERVER,
    )


def other_weights(name: str, files: Mapping[str, int]) -> Refusal | None:
    """Return the refusal of weights in another format; None if there are none."""
    if any(file.endswith(".gguf") for file in files):
        return gguf(name)
    if "mm_projector.bin" in files:
        return projector_only(name)
    kinds = (kind for end, kind in _FOREIGN.items() if any(file.endswith(end) for file in files))
    kind = next(kinds, None)
    if kind is None:
        return None
    return Refusal(
        f"{name!r} has weights for {kind} alone.",
        "Use the model that it was made from, in safetensors files.",
    )


def damaged_json(name: str, file: str, reason: str) -> Refusal:
    """Return the refusal of a JSON file that is damaged."""
    return Refusal(f"{file} of {name!r} is not JSON: {reason}.", "Download the checkpoint again.")


def adapter(name: str, peft_type: str | None, base: str | None) -> Refusal | None:
    """Return the refusal of a PEFT adapter that cannot be merged; None for a LoRA with a base."""
    if peft_type != "LORA":
        return Refusal(
            f"{name!r} is a PEFT adapter of the type {peft_type!r}; only LoRA is merged.",
            "Merge it with PEFT, and name the folder of the merged model.",
        )
    if not base:
        return Refusal(
            f"The adapter {name!r} names no base model in adapter_config.json.",
            "Set base_model_name_or_path in it to a hub id or a folder.",
        )
    return None


def model_and_adapter(name: str) -> Refusal:
    """Return the refusal of a folder with weights of a model and of an adapter."""
    return Refusal(
        f"{name!r} holds a whole model and a PEFT adapter, so it is not clear which is meant.",
        "Move the files adapter_* into a folder of their own.",
    )
