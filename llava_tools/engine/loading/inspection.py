"""What a checkpoint is, read from its small files before any weights are downloaded or loaded.

`inspect` takes a folder that holds the JSON files and the names and sizes of all files, and returns
an `Inspection`. `small_files` reads them, `dimensions` has the sizes, `refusals` the sentences for
what is not loaded. None of them imports torch or transformers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from llava_tools.engine.loading import dimensions, refusals, small_files
from llava_tools.engine.loading.dimensions import Config, TextModel, VisionTower
from llava_tools.engine.loading.refusals import Refusal

#: Bytes of a number, by the names of data types in config.json.
_DTYPE_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
_IMAGE_PROCESSORS = {"preprocessor_config.json", "processor_config.json"}


@dataclass(frozen=True)
class Inspection:
    """What a checkpoint is.

    Attributes:
        name: Of the model, as messages show it.
        config: config.json; empty if there is none.
        model_type: `llava`, or another of transformers; empty if there is none.
        text: The language model, if config.json says enough about it.
        vision: The vision tower, if it is a CLIP's or a SigLIP's.
        dtype: Data type of the weights in the files, such as `float16`, if config.json has it.
        quantization: How the weights are quantized: `4bit` or `8bit` for bitsandbytes, another name
            for other methods, None for plain weights.
        adapter_base: The base model of a PEFT adapter, which adapter_config.json names.
        parameters: Number of parameters, from config.json; else estimated from the weights' size.
        weight_files: Files to load the weights from; those of the adapter, if it is one.
        weight_bytes: Their size.
        licence: From README.md or a LICENSE file, if they are at hand.
        warnings: Faults that do not prevent loading, one sentence each.
        refusal: Why the model is not loaded on any device.
    """

    name: str
    config: Config
    model_type: str
    text: TextModel | None
    vision: VisionTower | None
    dtype: str | None
    quantization: str | None
    adapter_base: str | None
    parameters: int | None
    weight_files: tuple[str, ...]
    weight_bytes: int
    licence: str | None
    warnings: tuple[str, ...]
    refusal: Refusal | None

    def require(self, device_type: str) -> None:
        """Check that the model can be loaded on a device: `cpu`, `cuda` or `mps`.

        Raises:
            ModelNotFoundError: There is no model.
            ModelError: It is not a LLaVA 1.5 in a format that is loaded on this device.
        """
        if refusal := self.refusal_on(device_type):
            raise refusal.error()

    def refusal_on(self, device_type: str) -> Refusal | None:
        """Return why the model is not loaded on a device: `cpu`, `cuda` or `mps`."""
        if self.refusal is None and self.quantization is not None and device_type != "cuda":
            return refusals.bitsandbytes(self.name, self.quantization, device_type)
        return self.refusal


def inspect(folder: Path, files: Mapping[str, int], name: str | None = None) -> Inspection:
    """Inspect a checkpoint without loading weights.

    Args:
        folder: Holds its JSON files, and README.md or LICENSE if the licence is wanted.
        files: Names and sizes of all files of the repository or folder, with `/` in paths.
        name: Of the model in messages; by default the folder.
    """
    name = str(folder) if name is None else name
    jsons: dict[str, Config] = {}
    fault: Refusal | None = None
    for file in ("config.json", "adapter_config.json"):
        try:
            jsons[file] = small_files.read_json(folder / file)
        except ValueError as error:
            jsons[file] = {}
            fault = refusals.damaged_json(name, file, str(error))
    config, adapter = jsons.values()
    refusal = _xtuner(name, files) or fault or _refusal(name, config, adapter, files)
    return _describe(folder, files, name, config, adapter, refusal)


def inspect_file(path: Path) -> Refusal:
    """Return why a file that is named instead of a folder is not loaded."""
    return refusals.file(path)


def list_files(folder: Path) -> dict[str, int]:
    """Return the names and sizes of the files of a folder and of the folders in it."""
    paths = [path for pattern in ("*", "*/*") for path in folder.glob(pattern)]
    names = {path.relative_to(folder).as_posix(): path for path in sorted(paths)}
    return {
        name: path.stat().st_size
        for name, path in names.items()
        if path.is_file() and not name.startswith(".")
    }


def _describe(
    folder: Path,
    files: Mapping[str, int],
    name: str,
    config: Config,
    adapter: Config,
    refusal: Refusal | None,
) -> Inspection:
    is_llava = config.get("model_type") == "llava" and isinstance(config.get("text_config"), dict)
    text = dimensions.text_model(config) if is_llava else None
    vision = dimensions.vision_tower(config) if is_llava else None
    weights = small_files.weight_files(files)
    weight_bytes = sum(files[file] for file in weights)
    quantization, dtype = small_files.quantization(config, files), small_files.data_type(config)
    parameters = None
    if text and vision and text.parameters and vision.parameters:
        parameters = text.parameters + vision.parameters
    elif dtype in _DTYPE_BYTES and not quantization and not adapter:
        parameters = weight_bytes // _DTYPE_BYTES[dtype] or None
    return Inspection(
        name=name,
        config=config,
        model_type=str(config.get("model_type", "")),
        text=text,
        vision=vision,
        dtype=dtype,
        quantization=quantization,
        adapter_base=str(adapter["base_model_name_or_path"]) if adapter and not refusal else None,
        parameters=parameters,
        weight_files=weights,
        weight_bytes=weight_bytes,
        licence=small_files.licence(folder),
        warnings=() if refusal or adapter else _warnings(config, files, weights),
        refusal=refusal,
    )


def _refusal(
    name: str, config: Config, adapter: Config, files: Mapping[str, int]
) -> Refusal | None:
    """Return why a checkpoint is not loaded on any device."""
    is_original = "mm_vision_tower" in config or "mm_projector.bin" in files
    if "non_lora_trainables.bin" in files or (adapter and is_original):
        return refusals.original_lora(name)
    weights = small_files.weight_files(files)
    if adapter:
        if any(not file.startswith("adapter_") for file in weights):
            return refusals.model_and_adapter(name)
        base = adapter.get("base_model_name_or_path")
        return refusals.adapter(name, adapter.get("peft_type"), base)
    if not config:
        return refusals.no_config(name, files)
    return (
        _family(name, config)
        or _quantized(name, small_files.quantization(config, files))
        or _layout(name, config)
        or _parts(name, config)
        or (None if weights else refusals.no_weights(name, files))
    )


def _xtuner(name: str, files: Mapping[str, int]) -> Refusal | None:
    """XTuner writes tower and projector, or their adapters, into folders of their own."""
    folders = {file.partition("/")[0] for file in files if "/" in file}
    parts = {"visual_encoder", "visual_encoder_adapter", "llm_adapter"}
    is_run = files.get("config.json") == 0 and any(file.endswith(".pth") for file in files)
    if is_run or "xtuner_config.py" in files or ("projector" in folders and folders & parts):
        return refusals.xtuner_layout(name)
    return None


def _family(name: str, config: Config) -> Refusal | None:
    """Refuse what is no LLaVA, in transformers' layout or in LLaVA's own."""
    model_type = str(config.get("model_type", ""))
    if model_type == "llava" or "mm_vision_tower" in config:
        return None
    return refusals.other_family(name, model_type, has_code="auto_map" in config)


def _quantized(name: str, method: str | None) -> Refusal | None:
    if method in (None, "4bit", "8bit"):
        return None
    return refusals.mlx(name) if method == "mlx" else refusals.quantization(name, method)


def _layout(name: str, config: Config) -> Refusal | None:
    """Refuse LLaVA's original layout, and a LLaVA-NeXT that calls itself a LLaVA."""
    if not isinstance(config.get("text_config"), dict):
        return refusals.original_layout(name, config)
    if config.get("use_image_newline_parameter"):
        return refusals.unmarked_next(name)
    return None


def _parts(name: str, config: Config) -> Refusal | None:
    """Refuse vision towers and language models that are not supported."""
    tower = dimensions.vision_type(config)
    if tower not in dimensions.VISION_TOWERS:
        return refusals.vision_tower(name, tower)
    text = dimensions.text_type(config)
    if text not in dimensions.TEXT_MODELS:
        has_code = "auto_map" in config or "auto_map" in config["text_config"]
        return refusals.text_model(name, text, has_code=has_code)
    return None


def _warnings(
    config: Config, files: Mapping[str, int], weights: tuple[str, ...]
) -> tuple[str, ...]:
    warnings = []
    if "tokenizer.json" not in files:
        warnings.append("It has no tokenizer.json.")
    if not _IMAGE_PROCESSORS & files.keys():
        warnings.append("It has no preprocessor_config.json.")
    if any(file.endswith(".bin") for file in weights):
        warnings.append("Its weights are pickled; code in them is not run.")
    if "auto_map" in config or any(file.endswith(".py") for file in files):
        warnings.append("It brings Python code, which is not run.")
    return tuple(warnings)
