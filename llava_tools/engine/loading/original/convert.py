"""A checkpoint in the original layout, written as one in the llava-hf layout."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import CLIPVisionConfig, GenerationConfig, LlavaConfig, PreTrainedTokenizerFast
from transformers.utils import IMAGE_PROCESSOR_NAME, PROCESSOR_NAME

from llava_tools.engine.loading import refusals
from llava_tools.engine.loading.checkpoint_files import WeightFiles, find_weights
from llava_tools.engine.loading.config import valid_config
from llava_tools.engine.loading.mapped_weights import map_weights
from llava_tools.engine.loading.original import weights
from llava_tools.engine.loading.original.config import read_original, vision_config, write_config
from llava_tools.engine.loading.original.lora import CONFIG, Lora, Update, is_lora, read_lora
from llava_tools.engine.loading.original.tokenizer import read_tokenizer, save_tokenizer
from llava_tools.engine.loading.processor import image_processor
from llava_tools.engine.loading.source import Source
from llava_tools.errors import ModelError

#: The embeddings' rows are a multiple of this, as in the released checkpoints.
_ROWS = 64
_COPIED = ("LICENSE", "LICENCE", "NOTICE", "USE_POLICY", "README")


@dataclass(frozen=True)
class Conversion:
    """A checkpoint that can be written in the llava-hf layout.

    Attributes:
        original: The checkpoint in the original layout, or a LoRA of one.
        clip: The CLIP that its vision tower was taken from.
        config: In the llava-hf layout.
        vision: Its vision tower's.
        vocab_size: Rows of the padded embeddings.
        tokenizer: With `<image>` and `<pad>`.
        tensors: By their names in the llava-hf layout; on disk until they are written.
        updates: Of a LoRA, by the same names.
        dtype: Of the weights to write.
    """

    original: Source
    clip: Source
    config: LlavaConfig
    vision: CLIPVisionConfig
    vocab_size: int
    tokenizer: PreTrainedTokenizerFast
    tensors: dict[str, torch.Tensor]
    updates: dict[str, Update]
    dtype: torch.dtype

    @property
    def bytes(self) -> int:
        """Bytes of the weights to write."""
        return weights.count_bytes(self.tensors, self.dtype, self.vocab_size)


def read_config(original: Source) -> dict[str, Any]:
    """Return config.json of a checkpoint, or a LoRA, in the original layout.

    Raises:
        ModelNotFoundError: There is no config.json.
        ModelError: The checkpoint cannot be converted.
    """
    if CONFIG in original.files and "config.json" not in original.files:
        raise ModelError(
            f"{original.name!r} is an adapter by PEFT, which needs no conversion.",
            "Name it as the model.",
        )
    if "mm_projector.bin" in original.files:
        raise refusals.projector_only(original.name).error()
    return read_original(original.folder, original.name)


def check_disk(base: Source, out: Path) -> None:
    """Check, before weights are downloaded, that they and what is written fit on the disk.

    Args:
        base: The checkpoint with the language model.
        out: Target folder.

    Raises:
        ModelError: They do not, or there are no weights.
    """
    files = find_weights(base.folder, base.files, base.name)
    _check_disk(out, _bytes(base, files.shards) + _bytes_to_download(base, files, out))


def prepare(original: Source, base: Source, clip: Source, dtype: torch.dtype | None) -> Conversion:
    """Download and check everything; nothing is written.

    Args:
        original: The checkpoint.
        base: The one with the language model: the same, except for a LoRA.
        clip: The CLIP that its config.json names.
        dtype: Of the weights to write; None for that of the embeddings.

    Raises:
        MissingExtraError: The tokenizer needs the extra `convert`.
        ModelError: The checkpoint cannot be converted.
    """
    name = original.name
    values = read_original(original.folder, name)
    vision = vision_config(clip.folder, clip.name)
    tokenizer = read_tokenizer(base.folder, base.name)
    stored = map_source(base)
    lora = read_lora(original, stored) if is_lora(original) else Lora({}, {})
    tensors = weights.rename({**stored, **lora.trained})
    if not weights.has_vision_tower(tensors):
        tensors |= weights.vision_tower(map_source(clip))
    embeddings = weights.embeddings(tensors, name)
    rows = padded_rows(max(embeddings.shape[0], len(tokenizer)))
    image_token = tokenizer.get_vocab()["<image>"]
    with valid_config(name):
        config = write_config(values, vision, vocab_size=rows, image_token=image_token)
    weights.check(tensors, config, name)
    dtype = dtype or embeddings.dtype
    updates = weights.rename(lora.updates)
    return Conversion(original, clip, config, vision, rows, tokenizer, tensors, updates, dtype)


def write(
    conversion: Conversion, out: Path, chat_template: str, progress: Callable[[int, int], None]
) -> None:
    """Write a checkpoint; `out` appears once it is complete.

    Args:
        conversion: From `prepare`.
        out: May exist if it is empty.
        chat_template: Written if the tokenizer has none and ends answers with `</s>`.
        progress: Called with the number of weight files written, and of all.

    Raises:
        ModelError: The disk is too small, or `out` cannot be written.
    """
    _check_disk(out, conversion.bytes)
    out = out.absolute()
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=f"{out.name}.", suffix=".part", dir=out.parent) as folder:
            part = Path(folder) / "part"  # the folder itself is its owner's alone
            part.mkdir()
            weights.write(
                conversion.tensors,
                conversion.updates,
                part,
                dtype=conversion.dtype,
                vocab_size=conversion.vocab_size,
                progress=progress,
            )
            _write_small_files(conversion, part, chat_template)
            if out.exists():
                out.rmdir()
            part.rename(out)
    except (OSError, SafetensorError) as error:
        raise ModelError(
            f"{str(out)!r} cannot be written: {error}.", "Name a folder on another disk."
        ) from error


def _write_small_files(conversion: Conversion, folder: Path, chat_template: str) -> None:
    _write_configs(conversion, folder)
    for path in folder.glob("*.safetensors"):  # written for their owner alone
        shutil.copymode(folder / "config.json", path)
    tokenizer = conversion.tokenizer
    save_tokenizer(tokenizer, folder)
    if tokenizer.chat_template is None and tokenizer.eos_token == "</s>":
        (folder / "chat_template.jinja").write_text(chat_template, encoding="utf-8")
    for path in conversion.original.folder.iterdir():
        if path.is_file() and path.name.upper().startswith(_COPIED):
            shutil.copyfile(path, folder / path.name)


def _write_configs(conversion: Conversion, folder: Path) -> None:
    config, vision, tokenizer = conversion.config, conversion.vision, conversion.tokenizer
    config.dtype = conversion.dtype
    config.pad_token_id = tokenizer.pad_token_id
    config.save_pretrained(folder)
    GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    ).save_pretrained(folder)
    # Without "Pil" in the type, releases of transformers before the fifth read it too.
    processor = image_processor(conversion.clip.folder, vision).to_dict()
    names = {"processor_class": "LlavaProcessor", "image_processor_type": "LlavaImageProcessor"}
    _write_json(folder / IMAGE_PROCESSOR_NAME, processor | names)
    settings = {
        "processor_class": "LlavaProcessor",
        "image_token": "<image>",
        "patch_size": vision.patch_size,
        "vision_feature_select_strategy": config.vision_feature_select_strategy,
        "num_additional_image_tokens": 1,  # CLIP's CLS
    }
    _write_json(folder / PROCESSOR_NAME, settings)


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def padded_rows(tokens: int) -> int:
    """Return the rows of the embeddings of so many tokens."""
    return -(-tokens // _ROWS) * _ROWS


def map_source(checkpoint: Source) -> dict[str, torch.Tensor]:
    """Download the weights of a checkpoint, and return them; they stay on disk until read."""
    files = find_weights(checkpoint.folder, checkpoint.files, checkpoint.name)
    checkpoint.fetch(files.names)
    return map_weights(checkpoint.folder, files, checkpoint.name)


def _bytes(checkpoint: Source, names: tuple[str, ...]) -> int:
    return sum(checkpoint.files[name] for name in names)


def _bytes_to_download(checkpoint: Source, files: WeightFiles, out: Path) -> int:
    """Return the bytes that a download of weights takes from the disk of `out`."""
    missing = tuple(name for name in files.shards if not (checkpoint.folder / name).exists())
    same_disk = checkpoint.folder.stat().st_dev == _existing(out).stat().st_dev
    return _bytes(checkpoint, missing) if same_disk else 0


def _check_disk(out: Path, needed: int) -> None:
    free = shutil.disk_usage(_existing(out)).free
    if needed > free:
        raise ModelError(
            f"The conversion needs {needed / 1e9:.1f} GB, and the disk of {str(out)!r} has "
            f"{free / 1e9:.1f} GB free.",
            "Free some space, or name a folder on another disk.",
        )


def _existing(path: Path) -> Path:
    """Return the nearest folder of a path that exists."""
    return next(parent for parent in (path, *path.absolute().parents) if parent.exists())
