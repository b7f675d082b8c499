"""Whether weights fit into memory, and the option with which they do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from llava_tools.engine.loading import memory
from llava_tools.engine.loading.inspection import Inspection, inspect
from llava_tools.errors import ModelError
from llava_tools.options import EngineOptions
from tests import published_configs as published

FILES = {"config.json": 1, "model.safetensors": 1000, "tokenizer.json": 1}
GEMMA = {
    **published.LLAVA_7B,
    "text_config": {**published.LLAVA_7B["text_config"], "model_type": "gemma"},
}


def _inspect(folder: Path, config: Any) -> Inspection:
    (folder / "config.json").write_text(json.dumps(config))
    return inspect(folder, FILES, "model")


def _check(
    inspection: Inspection,
    monkeypatch: pytest.MonkeyPatch,
    device: str,
    gigabytes: float,
    capability: str = "AVX512",
    **options: Any,
) -> str:
    """Return the hint if the weights do not fit, else ""."""
    monkeypatch.setattr(memory, "free_bytes", lambda device: int(gigabytes * 1e9))
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    try:
        memory.check_memory(inspection, EngineOptions("model", **options), torch.device(device))
    except ModelError as error:
        return error.hint
    return ""


@pytest.mark.parametrize(
    ("options", "gigabytes", "hint"),
    [
        ({"dtype": "float32"}, 28.3, ""),
        ({"dtype": "float32"}, 28.2, "Use dtype='bfloat16'."),
        ({"dtype": "bfloat16"}, 14.2, ""),
        ({"dtype": "bfloat16"}, 14.1, "Use quantization='8bit'."),
        ({"dtype": "bfloat16", "quantization": "8bit"}, 7.7, ""),
        ({"dtype": "bfloat16", "quantization": "8bit"}, 7.6, "Use quantization='4bit'."),
        ({"dtype": "bfloat16", "quantization": "4bit"}, 5.3, ""),
        ({"dtype": "bfloat16", "quantization": "4bit"}, 5.2, "Use a smaller model"),
        # What is not quantized is widened.
        ({"dtype": "float32", "quantization": "4bit"}, 6.5, ""),
        ({"dtype": "float32", "quantization": "4bit"}, 6.3, "Use a smaller model"),
    ],
)
def test_the_7b_on_a_cpu(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any],
    gigabytes: float,
    hint: str,
) -> None:
    result = _check(
        _inspect(tmp_path, published.LLAVA_7B), monkeypatch, "cpu", gigabytes, **options
    )
    assert result.startswith(hint)
    assert bool(result) is bool(hint)


@pytest.mark.parametrize(
    ("config", "device", "capability", "gigabytes", "hint"),
    [
        (published.LLAVA_7B, "cpu", "AVX512", 5.3, "Use quantization='4bit'."),
        (published.LLAVA_7B, "cpu", "AVX2", 8.0, "Use quantization='8bit'."),
        (published.LLAVA_7B, "cpu", "AVX2", 5.3, "Use a smaller model"),
        (published.LLAVA_7B, "cpu", "DEFAULT", 8.0, "Use a smaller model"),
        (published.LLAVA_7B, "mps", "AVX512", 8.0, "Use a smaller model"),
        (published.LLAVA_7B, "cuda", "DEFAULT", 5.0, "Use quantization='4bit'."),
        (GEMMA, "cpu", "AVX512", 8.0, "Use a smaller model"),
    ],
)
def test_quantization_is_named_only_where_it_works(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    config: Any,
    device: str,
    capability: str,
    gigabytes: float,
    hint: str,
) -> None:
    inspection = _inspect(tmp_path, config)
    result = _check(inspection, monkeypatch, device, gigabytes, capability, dtype="float16")
    assert result.startswith(hint)
