"""The base model of a LoRA adapter, and which of the two a file is read from.

Nothing here imports torch or transformers.
"""

from __future__ import annotations

from llava_tools.engine.loading.checkpoint_files import PROCESSOR_FILES, TOKENIZER_FILES
from llava_tools.engine.loading.inspection import Inspection
from llava_tools.engine.loading.json_file import read_object
from llava_tools.engine.loading.source import Source, resolve
from llava_tools.errors import ModelError, ModelNotFoundError

#: The way out for adapters that are not merged here.
MERGE_YOURSELF = (
    "Merge it with PEFT, save the merged model and its tokenizer, and name that folder."
)


def resolve_base(adapter: Source, base: str, *, local_files_only: bool) -> Source:
    """Find the base model of an adapter: a hub id, or a folder.

    Raises:
        ModelNotFoundError: It is not found.
    """
    revision = read_object(adapter.folder / "adapter_config.json").get("revision")
    try:
        return resolve(base, revision and str(revision), local_files_only=local_files_only)
    except ModelNotFoundError as error:
        raise ModelNotFoundError(
            f"The base model of the adapter {adapter.name!r} is not found: {error.message}",
            "Set base_model_name_or_path in adapter_config.json to its hub id or folder.",
        ) from error


def check_base(adapter: Source, base: Inspection, quantization: str | None) -> None:
    """Check that weights can be added to the base model's.

    Raises:
        ModelError: It is an adapter itself, or quantized.
    """
    if base.adapter_base is not None:
        raise ModelError(
            f"The base model of the adapter {adapter.name!r}, {base.name!r}, is an adapter itself.",
            MERGE_YOURSELF,
        )
    if quantization is not None or base.quantization is not None:
        raise ModelError(
            f"The adapter {adapter.name!r} cannot be merged into quantized weights.",
            "Leave quantization out, or merge it with PEFT, save the merged model, and name that "
            "folder."
            if base.quantization is None
            else "Set base_model_name_or_path in adapter_config.json to the model that was "
            "quantized.",
        )


def with_tokenizer(adapter: Source, base: Source) -> Source:
    """Return which of the two the tokenizer and its chat template are read from."""
    return adapter if adapter.files.keys() & {*TOKENIZER_FILES} else base


def with_processor(adapter: Source, base: Source) -> Source:
    """Return which of the two the image processor is read from."""
    return adapter if adapter.files.keys() & {*PROCESSOR_FILES} else base
