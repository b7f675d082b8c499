"""QLoRA's base: a language model of 4-bit weights from bitsandbytes, which LoRA trains on.

Its weights are frozen; gradients flow through them to the low-rank updates. The files keep the
original weights, to which `merge` adds the updates, so nothing is dequantized.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import BitsAndBytesConfig

from llava_tools.engine.loading.checkpoint import WHOLE_MODULES
from llava_tools.errors import ModelError, require

_DEVICES = ("cuda", "cpu")


def quantization_config(device: torch.device, compute_dtype: torch.dtype) -> BitsAndBytesConfig:
    """Return how to load such a model: QLoRA's data type NF4, with scales quantized a second time.

    The vision tower, the projector, the embeddings and the head stay whole.

    Raises:
        MissingExtraError: bitsandbytes is not installed.
        ModelError: The device is of a kind on which it does not train.
    """
    if device.type not in _DEVICES:
        raise ModelError(
            f"QLoRA needs a CUDA GPU or a CPU, and the model would be on {device}.",
            "Use method='lora', or another device.",
        )
    require("bitsandbytes", extra="qlora")
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=compute_dtype,
        llm_int8_skip_modules=list(WHOLE_MODULES),
    )


def prepare(language_model: nn.Module) -> None:
    """Turn the norms to float32, and keep the weights in the layout that has gradients, in place.

    peft's `prepare_model_for_kbit_training` turns all that is not in 4 bit to float32. As in
    LLaVA's own code, embeddings and head stay in 16 bit, which saves 0.5 GB of a 7B.
    """
    for name, module in language_model.named_modules():
        if "norm" in name.rsplit(".", 1)[-1]:
            module.to(torch.float32)
        if isinstance(module, nn.Linear):
            # Else an evaluation on a CPU with AVX512-BF16 packs its weights for answers only.
            layer: Any = module
            layer.support_avx512bf16_for_cpu = False
