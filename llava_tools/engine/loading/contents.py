"""The contents of a checkpoint's small files: configurations, names of weights, the licence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from llava_tools.engine.loading import refusals
from llava_tools.engine.loading.checkpoint_files import ADAPTER_FILES, WeightFiles, find_weights
from llava_tools.engine.loading.dimensions import Config, section
from llava_tools.engine.loading.json_file import read_object
from llava_tools.engine.loading.refusals import Refusal
from llava_tools.errors import ModelError

#: Files of quantizers that leave config.json as it was.
_QUANTIZER_FILES = {"quant_config.json": "awq", "quantize_config.json": "gptq"}
_LICENCES = ("LICENSE", "LICENSE.txt", "LICENSE.md")
#: Files of LLaVA's original code.
_ORIGINAL_FILES = ("mm_projector.bin", "non_lora_trainables.bin")


@dataclass(frozen=True)
class Contents:
    """What stands in a checkpoint's small files, and the names and sizes of the others.

    Attributes:
        name: Of the model, as messages show it.
        files: Names and sizes of all files.
        config: config.json; empty if there is none.
        adapter: adapter_config.json; empty if there is none.
        weights: The files of a model's weights, or why there are none.
        licence: From README.md or a LICENSE file.
        fault: Why a JSON file cannot be read.
    """

    name: str
    files: Mapping[str, int]
    config: Config
    adapter: Config
    weights: WeightFiles | Refusal
    licence: str | None
    fault: Refusal | None

    @property
    def weight_files(self) -> tuple[str, ...]:
        """The files that hold the weights of the model, or of the adapter if it is one."""
        if self.adapter:
            return tuple(file for file in ADAPTER_FILES if file in self.files)[:1]
        return self.weights.shards if isinstance(self.weights, WeightFiles) else ()

    @property
    def is_original(self) -> bool:
        """Whether LLaVA's original code wrote it."""
        own_files = any(file in self.files for file in _ORIGINAL_FILES)
        return own_files or "mm_vision_tower" in self.config

    @property
    def has_code(self) -> bool:
        """Whether a configuration refers to Python code of the repository."""
        return any("auto_map" in place for place in self._places)

    @property
    def dtype(self) -> str | None:
        """Data type of the weights, such as `float16`, if config.json has it."""
        for place in self._places:
            dtype = place.get("dtype") or place.get("torch_dtype")
            if isinstance(dtype, str) and dtype.isidentifier():
                return dtype
        return None

    @property
    def quantization(self) -> str | None:
        """None, `4bit` or `8bit` by bitsandbytes, `mlx`, or another `quant_method`."""
        for place in self._places:
            if section(place, "quantization"):
                return "mlx"
            settings = section(place, "quantization_config") or section(place, "compression_config")
            if settings:
                return _method(settings)
        methods = (method for file, method in _QUANTIZER_FILES.items() if file in self.files)
        return next(methods, None)

    @property
    def _places(self) -> tuple[Config, Config]:
        return self.config, section(self.config, "text_config")


def _method(settings: Config) -> str:
    for kind in ("4bit", "8bit"):
        if settings.get(f"load_in_{kind}") or settings.get(f"_load_in_{kind}"):
            return kind
    # MLX's newer releases write their settings under this name as well, without a method.
    return str(settings.get("quant_method", "mlx" if "group_size" in settings else "unknown"))


def read(folder: Path, files: Mapping[str, int], name: str) -> Contents:
    """Read the small files in `folder`; `files` are the names and sizes of all files."""
    jsons: dict[str, Config] = {}
    fault: Refusal | None = None
    for file in ("config.json", "adapter_config.json"):
        try:
            jsons[file] = read_object(folder / file) if (folder / file).is_file() else {}
        except ValueError as error:
            jsons[file] = {}
            fault = refusals.damaged_json(name, file, str(error))
    weights: WeightFiles | Refusal
    try:
        weights = find_weights(folder, files, name)
    except ModelError as error:
        weights = refusals.other_weights(name, files) or Refusal(error.message, error.hint)
    config, adapter = jsons["config.json"], jsons["adapter_config.json"]
    return Contents(name, files, config, adapter, weights, _licence(folder), fault)


def _licence(folder: Path) -> str | None:
    """Return the licence that the front matter of README.md names, or the title of LICENSE."""
    fields = _front_matter(_read_text(folder / "README.md"))
    if name := fields.get("license_name") or fields.get("license"):
        return _one_line(name.strip("\"'[]"))
    for file in _LICENCES:
        lines = [line.strip(" #*=") for line in _read_text(folder / file).splitlines()]
        if title := next(filter(None, lines), ""):
            return _one_line(title)
    return None


def _read_text(path: Path) -> str:
    """Return the text of a file; "" if there is none, or it may not be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    except OSError:
        return ""


def _one_line(text: str) -> str:
    """Return the beginning of a text that is shown in a terminal, without control characters."""
    return "".join(character for character in text[:80] if character.isprintable())


def _front_matter(text: str) -> dict[str, str]:
    """Return the fields between lines of hyphens that a Markdown file begins with."""
    first, *lines = text.lstrip().splitlines() or [""]
    ends = (number for number, line in enumerate(lines) if line.startswith("---"))
    if first.rstrip() != "---":
        return {}
    fields = (line.partition(":") for line in lines[: next(ends, 0)])
    return {name: value.strip() for name, _, value in fields}
