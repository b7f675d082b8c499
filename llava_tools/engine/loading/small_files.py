"""What the small files of a checkpoint say: its JSON, quantization, data type, licence."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llava_tools.engine.loading.dimensions import Config, section

#: Names of weight files, in the order in which they are preferred.
_WEIGHTS = (
    re.compile(r"model(-\d+-of-\d+)?\.safetensors"),
    re.compile(r"pytorch_model(-\d+-of-\d+)?\.bin"),
    re.compile(r"adapter_model\.(safetensors|bin)"),
)
#: Files of quantizers that leave config.json as it was.
_QUANTIZER_FILES = {"quant_config.json": "awq", "quantize_config.json": "gptq"}
_LICENCES = ("LICENSE", "LICENSE.txt", "LICENSE.md")


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file; {} if there is no file.

    Raises:
        ValueError: It is not JSON, or not an object.
    """
    if not path.is_file():
        return {}
    content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise ValueError("it holds no object")
    return content


def weight_files(files: Mapping[str, int]) -> tuple[str, ...]:
    """Return the files that hold the weights of a model, or else those of an adapter."""
    for pattern in _WEIGHTS:
        names = sorted(file for file in files if pattern.fullmatch(file))
        # Some repositories hold the weights twice: split, and in one file, which transformers
        # prefers.
        if whole := [name for name in names if "-of-" not in name]:
            return (whole[-1],)
        if names:
            return tuple(names)
    return ()


def quantization(config: Config, files: Mapping[str, int]) -> str | None:
    """Return how weights are quantized: None, `4bit` or `8bit` by bitsandbytes, or the method."""
    for place in (config, section(config, "text_config")):
        if section(place, "quantization"):
            return "mlx"
        settings = section(place, "quantization_config") or section(place, "compression_config")
        if settings:
            return _method(settings)
    return next((method for file, method in _QUANTIZER_FILES.items() if file in files), None)


def _method(settings: Config) -> str:
    for kind in ("4bit", "8bit"):
        if settings.get(f"load_in_{kind}") or settings.get(f"_load_in_{kind}"):
            return kind
    # MLX's newer releases write their settings under this name as well, without a method.
    return str(settings.get("quant_method", "mlx" if "group_size" in settings else "unknown"))


def data_type(config: Config) -> str | None:
    """Return the data type of the weights, such as `float16`, as config.json has it."""
    for place in (config, section(config, "text_config")):
        dtype = place.get("dtype") or place.get("torch_dtype")
        if isinstance(dtype, str):
            return dtype
    return None


def licence(folder: Path) -> str | None:
    """Return the licence that the front matter of README.md names, or the title of LICENSE."""
    readme = folder / "README.md"
    if readme.is_file():
        text = readme.read_text(encoding="utf-8", errors="replace")
        if match := re.match(r"\s*---\s*\n(.*?)\n---", text, flags=re.DOTALL):
            fields = dict(re.findall(r"^(license|license_name):[ \t]*(\S.*?)\s*$", match[1], re.M))
            if name := fields.get("license_name") or fields.get("license"):
                return str(name).strip("\"'[]")
    for path in (folder / name for name in _LICENCES):
        if path.is_file():
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
            if title := next((line.strip(" #*=") for line in lines if line.strip(" #*=")), ""):
                return title[:80]
    return None
