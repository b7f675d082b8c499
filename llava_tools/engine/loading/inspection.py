"""What a checkpoint is, read from its small files before any weights are downloaded or loaded.

`inspect` takes a folder that holds the small files and the names and sizes of all files, and
returns an `Inspection`. `contents` reads the files, `dimensions` has the sizes, `refusals` the
sentences for what is not loaded. None of them imports torch or transformers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from llava_tools.engine.loading import contents, dimensions, refusals
from llava_tools.engine.loading.checkpoint_files import PROCESSOR_FILES, WeightFiles
from llava_tools.engine.loading.contents import Contents
from llava_tools.engine.loading.dimensions import Config, TextModel, VisionTower
from llava_tools.engine.loading.refusals import Refusal


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

    def memory(
        self, precision: str, device_type: str = "cuda", others: str = "float16"
    ) -> int | None:
        """Return the bytes of memory that the weights take; None if that is not known.

        Args:
            precision: `float32`, `float16`, `bfloat16`, or `8bit` or `4bit`, which concern the
                linear layers of the language model alone.
            device_type: `cpu`, `cuda` or `mps`.
            others: Precision of all that `8bit` and `4bit` do not concern.
        """
        if self.quantization is not None:
            return self.weight_bytes
        if self.parameters is None:
            return None
        linear = (self.text and self.text.linear_parameters) or 0
        return dimensions.memory(self.parameters, linear, precision, device_type, others)


def inspect(folder: Path, files: Mapping[str, int], name: str | None = None) -> Inspection:
    """Inspect a checkpoint without loading weights.

    Args:
        folder: Holds its JSON files, and README.md or LICENSE if the licence is wanted.
        files: Names and sizes of all files of the repository or folder, with `/` in paths.
        name: Of the model in messages; by default the folder.
    """
    return _describe(contents.read(folder, files, str(folder) if name is None else name))


def inspect_file(path: Path) -> Inspection:
    """Return the inspection of a file that is named instead of a folder; it is refused."""
    fault = refusals.file(path)
    return _describe(Contents(str(path), {}, {}, {}, weights=fault, licence=None, fault=fault))


def _describe(checkpoint: Contents) -> Inspection:
    config, refusal = checkpoint.config, _refusal(checkpoint)
    is_llava = config.get("model_type") == "llava" and isinstance(config.get("text_config"), dict)
    text = dimensions.text_model(config) if is_llava else None
    vision = dimensions.vision_tower(config) if is_llava else None
    weight_bytes = sum(checkpoint.files[file] for file in checkpoint.weight_files)
    base = checkpoint.adapter.get("base_model_name_or_path")
    return Inspection(
        name=checkpoint.name,
        config=config,
        model_type=str(config.get("model_type") or ""),
        text=text,
        vision=vision,
        dtype=checkpoint.dtype,
        quantization=checkpoint.quantization,
        adapter_base=None if base is None else str(base),
        parameters=_parameters(checkpoint, text, vision, weight_bytes),
        weight_files=checkpoint.weight_files,
        weight_bytes=weight_bytes,
        licence=checkpoint.licence,
        warnings=() if refusal or checkpoint.adapter else _warnings(checkpoint),
        refusal=refusal,
    )


def _parameters(
    checkpoint: Contents, text: TextModel | None, vision: VisionTower | None, weight_bytes: int
) -> int | None:
    if text and vision and text.parameters and vision.parameters:
        return text.parameters + vision.parameters
    size = dimensions.BYTES.get(checkpoint.dtype or "")
    if size is None or checkpoint.quantization or checkpoint.adapter:
        return None
    return int(weight_bytes / size) or None


def list_files(folder: Path) -> dict[str, int]:
    """Return the names and sizes of the files of a folder and of the folders in it."""
    paths = [path for pattern in ("*", "*/*") for path in folder.glob(pattern)]
    names = {path.relative_to(folder).as_posix(): path for path in sorted(paths)}
    return {
        name: path.stat().st_size
        for name, path in names.items()
        if path.is_file() and not name.startswith(".")
    }


def _refusal(checkpoint: Contents) -> Refusal | None:
    """Return why a checkpoint is not loaded on any device."""
    if refusal := _xtuner(checkpoint) or checkpoint.fault:
        return refusal
    if checkpoint.adapter or "non_lora_trainables.bin" in checkpoint.files:
        return _adapter(checkpoint)
    if not checkpoint.config:
        return refusals.no_config(checkpoint.name, checkpoint.files)
    if "mm_projector.bin" in checkpoint.files and isinstance(checkpoint.weights, Refusal):
        return refusals.projector_only(checkpoint.name)
    return (
        _family(checkpoint)
        or _quantized(checkpoint)
        or _layout(checkpoint)
        or _parts(checkpoint)
        or (checkpoint.weights if isinstance(checkpoint.weights, Refusal) else None)
    )


def _xtuner(checkpoint: Contents) -> Refusal | None:
    """XTuner writes tower and projector, or their adapters, into folders of their own."""
    files = checkpoint.files
    folders = {file.partition("/")[0] for file in files if "/" in file}
    parts = {"visual_encoder", "visual_encoder_adapter", "llm_adapter"}
    has_parts = "projector" in folders and bool(folders & parts)
    is_run = files.get("config.json") == 0 and any(file.endswith(".pth") for file in files)
    if has_parts or is_run or "xtuner_config.py" in files:
        return refusals.xtuner_layout(checkpoint.name)
    return None


def _adapter(checkpoint: Contents) -> Refusal | None:
    """Refuse adapters that are not merged on loading."""
    if checkpoint.is_original:
        return refusals.original_lora(checkpoint.name)
    if isinstance(checkpoint.weights, WeightFiles):
        return refusals.model_and_adapter(checkpoint.name)
    base = checkpoint.adapter.get("base_model_name_or_path")
    return refusals.adapter(checkpoint.name, checkpoint.adapter.get("peft_type"), base)


def _family(checkpoint: Contents) -> Refusal | None:
    """Refuse what is no LLaVA, in transformers' layout or in LLaVA's own."""
    model_type = str(checkpoint.config.get("model_type") or "")
    if model_type == "llava" or "mm_vision_tower" in checkpoint.config:
        return None
    return refusals.other_family(checkpoint.name, model_type, has_code=checkpoint.has_code)


def _quantized(checkpoint: Contents) -> Refusal | None:
    method = checkpoint.quantization
    if method in (None, "4bit", "8bit"):
        return None
    if method == "mlx":
        return refusals.mlx(checkpoint.name)
    return refusals.quantization(checkpoint.name, method)


def _layout(checkpoint: Contents) -> Refusal | None:
    """Refuse LLaVA's original layout, and a LLaVA-NeXT that calls itself a LLaVA."""
    if not isinstance(checkpoint.config.get("text_config"), dict):
        return refusals.original_layout(checkpoint.name, checkpoint.config)
    if checkpoint.config.get("use_image_newline_parameter"):
        return refusals.unmarked_next(checkpoint.name)
    return None


def _parts(checkpoint: Contents) -> Refusal | None:
    """Refuse vision towers and language models that are not supported."""
    tower = dimensions.vision_type(checkpoint.config)
    if tower not in dimensions.VISION_TOWERS:
        return refusals.vision_tower(checkpoint.name, tower)
    text = dimensions.text_type(checkpoint.config)
    if text not in dimensions.TEXT_MODELS:
        return refusals.text_model(checkpoint.name, text, has_code=checkpoint.has_code)
    return None


def _warnings(checkpoint: Contents) -> tuple[str, ...]:
    warnings = []
    if "tokenizer.json" not in checkpoint.files:
        warnings.append("It has no tokenizer.json.")
    if not checkpoint.files.keys() & {*PROCESSOR_FILES}:
        warnings.append("It has no preprocessor_config.json.")
    if any(file.endswith(".bin") for file in checkpoint.weight_files):
        warnings.append("Its weights are pickled; code in them is not run.")
    if checkpoint.has_code or any(file.endswith(".py") for file in checkpoint.files):
        warnings.append("It brings Python code, which is not run.")
    return tuple(warnings)
