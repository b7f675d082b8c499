"""Models that are not loaded: why, and what to use instead."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llava_tools.errors import ModelError, ModelNotFoundError

_SMALLER = "use '7b' or another LLaVA 1.5 in the layout of llava-hf"
_ANY_SERVER = f"Serve it with an engine that runs it and pass base_url, or {_SMALLER}."
_VLLM = "Serve it with vLLM and pass base_url, or use '7b'."
_VLLM_OR_LLAMA_CPP = "Serve it with vLLM or llama-server and pass base_url, or use '7b'."
_UNQUANTIZED = "use the model it was made from, on a CUDA GPU with quantization='4bit'"
_GGUF_SERVERS = "Serve it with llama-server or Ollama and pass base_url."

#: Other families by `model_type`: their name, and what runs them (vLLM's docs/models/
#: supported_models.md, llama.cpp's docs/multimodal.md).
_FAMILIES = {
    "aria": ("Aria", _VLLM),
    "aya_vision": ("Aya Vision", _ANY_SERVER),
    "blip": ("BLIP", _ANY_SERVER),
    "blip-2": ("BLIP-2", _VLLM),
    "chameleon": ("Chameleon", _VLLM),
    "clip": ("CLIP", "Name it by clip=..., and as the model a LLaVA that uses its vision tower."),
    "deepseek_vl_v2": ("DeepSeek-VL2", _VLLM),
    "florence2": ("Florence-2", _ANY_SERVER),
    "fuyu": ("Fuyu", _ANY_SERVER),
    "gemma3": ("Gemma 3", _VLLM_OR_LLAMA_CPP),
    "gemma3n": ("Gemma 3n", _VLLM),
    "gemma4": ("Gemma 4", _VLLM),
    "glm4v": ("GLM-4V", _VLLM),
    "idefics": ("IDEFICS", _ANY_SERVER),
    "idefics2": ("Idefics2", _ANY_SERVER),
    "idefics3": ("Idefics3", _VLLM),
    "instructblip": ("InstructBLIP", _ANY_SERVER),
    "internvl": ("InternVL", _VLLM_OR_LLAMA_CPP),
    "internvl_chat": ("InternVL", _VLLM_OR_LLAMA_CPP),
    "kosmos-2": ("Kosmos-2", _ANY_SERVER),
    "llama4": ("Llama 4", _VLLM_OR_LLAMA_CPP),
    "llava_next": ("LLaVA-NeXT", _VLLM),
    "llava_next_video": ("LLaVA-NeXT-Video", _VLLM),
    "llava_onevision": ("LLaVA-OneVision", _VLLM),
    "minicpmo": ("MiniCPM-o", _VLLM),
    "minicpmv": ("MiniCPM-V", _VLLM),
    "mistral3": ("Mistral 3", _VLLM_OR_LLAMA_CPP),
    "mllama": ("Llama 3.2 Vision", "Serve it with Ollama and pass base_url, or use '7b'."),
    "molmo": ("Molmo", _VLLM),
    "paligemma": ("PaliGemma", _VLLM),
    "phi3_v": ("Phi-3-Vision", _VLLM),
    "phi4_multimodal": ("Phi-4-multimodal", _VLLM),
    "phi4mm": ("Phi-4-multimodal", _VLLM),
    "pixtral": ("Pixtral", _VLLM_OR_LLAMA_CPP),
    "qwen2_5_vl": ("Qwen2.5-VL", _VLLM_OR_LLAMA_CPP),
    "qwen2_vl": ("Qwen2-VL", _VLLM_OR_LLAMA_CPP),
    "qwen3_vl": ("Qwen3-VL", _VLLM),
    "siglip": ("SigLIP", f"It is a vision tower alone: {_SMALLER}."),
    "smolvlm": ("SmolVLM", _VLLM_OR_LLAMA_CPP),
    "video_llava": ("Video-LLaVA", _ANY_SERVER),
    "vipllava": ("ViP-LLaVA", _ANY_SERVER),
}

#: Quantizations by `quant_method`: their name, and whether vLLM runs them.
_QUANTIZATIONS = {
    "aqlm": ("AQLM", False),
    "auto-round": ("AutoRound", True),
    "awq": ("AWQ", True),
    "bitnet": ("BitNet", False),
    "compressed-tensors": ("compressed-tensors", True),
    "fbgemm_fp8": ("FP8", True),
    "fp8": ("FP8", True),
    "gptq": ("GPTQ", True),
    "hqq": ("HQQ", False),
    "intel/auto-round": ("AutoRound", True),
    "quanto": ("Quanto", False),
    "torchao": ("torchao", False),
}

#: Models whose layout transformers does not read: the same ones in the layout that it reads.
_IN_THE_LAYOUT_OF_TRANSFORMERS = {
    "BakLLaVA-1": "llava-hf/bakLlava-v1-hf",
    "llava-next-interleave-qwen-0.5b": "llava-hf/llava-interleave-qwen-0.5b-hf",
    "llava-next-interleave-qwen-7b": "llava-hf/llava-interleave-qwen-7b-hf",
    "llava-llama-3-8b": "xtuner/llava-llama-3-8b-transformers",
    "llava-llama-3-8b-hf": "xtuner/llava-llama-3-8b-transformers",
    "llava-llama-3-8b-v1_1": "xtuner/llava-llama-3-8b-v1_1-transformers",
    "llava-llama-3-8b-v1_1-hf": "xtuner/llava-llama-3-8b-v1_1-transformers",
    "llava-phi-3-mini": "xtuner/llava-phi-3-mini-hf",
    "llava-llama-3-8b-v1_1-pth": "xtuner/llava-llama-3-8b-v1_1-transformers",
    "llava-phi-3-mini-pth": "xtuner/llava-phi-3-mini-hf",
    "llava-phi-3-mini-xtuner": "xtuner/llava-phi-3-mini-hf",
    "llava-v1.5-7b": "llava-hf/llava-1.5-7b-hf",
    "llava-v1.5-13b": "llava-hf/llava-1.5-13b-hf",
}
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
    known = _FAMILIES.get(model_type)
    if known is None and has_code:
        return Refusal(
            f"{name!r} needs code of its own ('auto_map' in config.json), which is never run.",
            _ANY_SERVER,
        )
    family, hint = known or (repr(model_type), _ANY_SERVER)
    return Refusal(f"{name!r} is a {family} model, not a LLaVA 1.5 ('llava').", hint)


def no_config(name: str, files: Mapping[str, int]) -> Refusal:
    """Return the refusal of a folder or repository without config.json."""
    if any(file.endswith(".gguf") for file in files):
        return gguf(name)
    if {"params.json", "consolidated.safetensors"} <= files.keys():
        return Refusal(f"{name!r} is in Mistral's own layout, such as Pixtral's.", _VLLM)
    if "mm_projector.bin" in files:
        return projector_only(name)
    if not files:
        return Refusal(f"The folder {name!r} is empty.", "Name the folder of a checkpoint.", True)
    return Refusal(f"The folder {name!r} has no config.json.", _folder_hint(files), True)


def _folder_hint(files: Mapping[str, int]) -> str:
    inner = sorted(file for file in files if file.endswith("/config.json"))
    return f"Name the folder of a checkpoint{f', such as its {inner[0][:-12]!r}' if inner else ''}."


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
    return Refusal(f"{name!r} is GGUF, the format of llama.cpp.", _GGUF_SERVERS)


def mlx(name: str) -> Refusal:
    """Return the refusal of weights that MLX quantized."""
    return Refusal(
        f"The weights of {name!r} are quantized by MLX, for Apple's GPUs.",
        f"Serve it with mlx_vlm.server and pass base_url, or {_UNQUANTIZED}.",
    )


def quantization(name: str, method: str) -> Refusal:
    """Return the refusal of weights quantized by a method other than bitsandbytes."""
    title, by_vllm = _QUANTIZATIONS.get(method, (method, False))
    hint = f"Serve it with vLLM and pass base_url, or {_UNQUANTIZED}."
    return Refusal(
        f"The weights of {name!r} are quantized by {title}, which is not loaded here.",
        hint if by_vllm else f"{_UNQUANTIZED[0].upper()}{_UNQUANTIZED[1:]}.",
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
    if other is None and not _is_convertible(config):
        return other_family(name, str((config.get("architectures") or [""])[0]))
    return Refusal(
        f"{name!r} is in LLaVA's original layout, not in transformers'.",
        f"Use {other!r}, the same model."
        if other
        else f"Run: llava-tools convert {name} --out DIR",
    )


def _is_convertible(config: Mapping[str, Any]) -> bool:
    """Whether `llava-tools convert` takes a checkpoint in the original layout."""
    architectures = config.get("architectures") or ["LlavaLlamaForCausalLM"]
    is_llama = config.get("model_type") in ("llava", "llava_llama")
    return is_llama and architectures[0] in ("LlavaLlamaForCausalLM", "LlavaForCausalLM")


def xtuner_layout(name: str) -> Refusal:
    """Return the refusal of XTuner's layout: a language model beside tower and projector."""
    hint = "Use the model in the layout of transformers; XTuner converts it."
    other = _counterpart(name)
    return Refusal(
        f"{name!r} is in XTuner's layout, not in transformers'.",
        f"Use {other!r}, the same model." if other else hint,
    )


def _counterpart(name: str) -> str | None:
    return _IN_THE_LAYOUT_OF_TRANSFORMERS.get(name.rstrip("/").rpartition("/")[2])


def original_lora(name: str) -> Refusal:
    """Return the refusal of a LoRA of LLaVA's original code."""
    return Refusal(
        f"{name!r} is a LoRA of LLaVA's original code.",
        "Merge it with merge_lora_weights.py of the LLaVA repository, then run: "
        "llava-tools convert MERGED --out DIR",
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
        f"{name!r} is a LLaVA-NeXT model, though its config.json says 'llava'.", _ANY_SERVER
    )


def vision_tower(name: str, model_type: str) -> Refusal:
    """Return the refusal of a vision tower other than CLIP's and SigLIP's."""
    if model_type == "pixtral":
        return other_family(name, "pixtral")
    return Refusal(
        f"The vision tower of {name!r} is a {model_type!r}; CLIP's and SigLIP's are supported.",
        _ANY_SERVER,
    )


def text_model(name: str, model_type: str, *, has_code: bool) -> Refusal:
    """Return the refusal of a language model that transformers does not have."""
    if has_code:
        return other_family(name, model_type, has_code=True)
    return Refusal(
        f"The language model of {name!r} is a {model_type!r}, which is not supported.",
        _ANY_SERVER,
    )


def no_weights(name: str, files: Mapping[str, int]) -> Refusal:
    """Return the refusal of a checkpoint without weights that transformers reads."""
    if any(file.endswith(".gguf") for file in files):
        return gguf(name)
    if "mm_projector.bin" in files:
        return projector_only(name)
    kind = next((kind for end, kind in _FOREIGN.items() if any(f.endswith(end) for f in files)), "")
    more = f", but weights for {kind}" if kind else ""
    return Refusal(
        f"{name!r} has neither model.safetensors nor pytorch_model.bin{more}.",
        "Use the model that it was made from." if kind else "Export or download it again.",
        missing=not kind,
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
