"""Models that are not loaded, as data: other families, quantizations, other layouts."""

from __future__ import annotations

#: Parts of hints.
_SMALLER = "use '7b' or another LLaVA 1.5 in the layout of llava-hf"
ANY_SERVER = f"Serve it with an engine that runs it and pass base_url, or {_SMALLER}."
VLLM = "Serve it with vLLM and pass base_url, or use '7b'."
VLLM_OR_LLAMA_CPP = "Serve it with vLLM or llama-server and pass base_url, or use '7b'."
UNQUANTIZED = "use the model it was made from, on a CUDA GPU with quantization='4bit'"
GGUF_SERVERS = "Serve it with llama-server or Ollama and pass base_url."

#: Other families by `model_type`: their name, and what runs them (vLLM's docs/models/
#: supported_models.md, llama.cpp's docs/multimodal.md).
FAMILIES = {
    "aria": ("Aria", VLLM),
    "aya_vision": ("Aya Vision", ANY_SERVER),
    "blip": ("BLIP", ANY_SERVER),
    "blip-2": ("BLIP-2", VLLM),
    "chameleon": ("Chameleon", VLLM),
    "clip": ("CLIP", "Name it by clip=..., and as the model a LLaVA that uses its vision tower."),
    "deepseek_vl_v2": ("DeepSeek-VL2", VLLM),
    "florence2": ("Florence-2", ANY_SERVER),
    "fuyu": ("Fuyu", ANY_SERVER),
    "gemma3": ("Gemma 3", VLLM_OR_LLAMA_CPP),
    "gemma3n": ("Gemma 3n", VLLM),
    "gemma4": ("Gemma 4", VLLM),
    "glm4v": ("GLM-4V", VLLM),
    "idefics": ("IDEFICS", ANY_SERVER),
    "idefics2": ("Idefics2", ANY_SERVER),
    "idefics3": ("Idefics3", VLLM),
    "instructblip": ("InstructBLIP", ANY_SERVER),
    "internvl": ("InternVL", VLLM_OR_LLAMA_CPP),
    "internvl_chat": ("InternVL", VLLM_OR_LLAMA_CPP),
    "kosmos-2": ("Kosmos-2", ANY_SERVER),
    "llama4": ("Llama 4", VLLM_OR_LLAMA_CPP),
    "llava_next": ("LLaVA-NeXT", VLLM),
    "llava_next_video": ("LLaVA-NeXT-Video", VLLM),
    "llava_onevision": ("LLaVA-OneVision", VLLM),
    "minicpmo": ("MiniCPM-o", VLLM),
    "minicpmv": ("MiniCPM-V", VLLM),
    "mistral3": ("Mistral 3", VLLM_OR_LLAMA_CPP),
    "mllama": ("Llama 3.2 Vision", "Serve it with Ollama and pass base_url, or use '7b'."),
    "molmo": ("Molmo", VLLM),
    "paligemma": ("PaliGemma", VLLM),
    "phi3_v": ("Phi-3-Vision", VLLM),
    "phi4_multimodal": ("Phi-4-multimodal", VLLM),
    "phi4mm": ("Phi-4-multimodal", VLLM),
    "pixtral": ("Pixtral", VLLM_OR_LLAMA_CPP),
    "qwen2_5_vl": ("Qwen2.5-VL", VLLM_OR_LLAMA_CPP),
    "qwen2_vl": ("Qwen2-VL", VLLM_OR_LLAMA_CPP),
    "qwen3_vl": ("Qwen3-VL", VLLM),
    "siglip": ("SigLIP", f"It is a vision tower alone: {_SMALLER}."),
    "smolvlm": ("SmolVLM", VLLM_OR_LLAMA_CPP),
    "video_llava": ("Video-LLaVA", ANY_SERVER),
    "vipllava": ("ViP-LLaVA", ANY_SERVER),
}

#: Quantizations by `quant_method`: their name, and whether vLLM runs them.
QUANTIZATIONS = {
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
COUNTERPARTS = {
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
