"""What a named model is: its source, resolved and inspected, with its conversation format.

Weights are neither downloaded nor read. torch is not imported; transformers is, for the tokenizer,
where it is installed.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from llava_tools.engine.loading.adapter_base import check_base, resolve_base, with_tokenizer
from llava_tools.engine.loading.inspection import Inspection, inspect, inspect_file
from llava_tools.engine.loading.refusals import Refusal
from llava_tools.engine.loading.source import Source, is_file, resolve
from llava_tools.errors import ModelError


@dataclass(frozen=True)
class Description:
    """What a model is.

    Attributes:
        name: `tiny`, a hub id or a folder.
        inspection: Of the model; of its base if it is an adapter.
        adapter_base: The base model, if it is an adapter.
        conversation: Name of its conversation format; None if it is refused, or if transformers,
            which reads the tokenizer, is not installed.
        disk_bytes: Size of the files with its weights, those of the base included.
        is_downloaded: Whether these files are on this machine.
        refusal: Why it is not loaded here.
    """

    name: str
    inspection: Inspection
    adapter_base: str | None
    conversation: str | None
    disk_bytes: int
    is_downloaded: bool
    refusal: Refusal | None


def describe(
    name: str, revision: str | None, device_type: str, *, local_files_only: bool
) -> Description:
    """Describe the model `name`, which would run on a device: `cpu`, `cuda` or `mps`.

    Raises:
        ModelNotFoundError: No such model or revision, or it cannot be reached.
        MissingExtraError: It is on the hub, and huggingface_hub is not installed.
    """
    if is_file(name):
        path = Path(name).expanduser()
        inspection = inspect_file(path)
        size = path.stat().st_size
        return Description(name, inspection, None, None, size, True, inspection.refusal)
    source = resolve(name, revision, local_files_only)
    own = inspect(source.folder, source.files, source.name)
    whole, inspection, refusal = source, own, own.refusal_on(device_type)
    if own.adapter_base is not None and refusal is None:
        whole = resolve_base(source, own.adapter_base, local_files_only=local_files_only)
        inspection = inspect(whole.folder, whole.files, whole.name)
        refusal = inspection.refusal_on(device_type)
    conversation: str | None = None
    if refusal is None:
        try:
            if whole is not source:
                check_base(source, inspection, None)
            conversation = _conversation(with_tokenizer(source, whole), whole)
        except ModelError as error:
            refusal = Refusal(error.message, error.hint)
    parts = {source.name: (source, own), whole.name: (whole, inspection)}.values()
    return Description(
        name=source.name,
        inspection=inspection,
        adapter_base=own.adapter_base,
        conversation=conversation,
        disk_bytes=sum(part.weight_bytes for _, part in parts),
        is_downloaded=all(
            (place.folder / file).exists() for place, part in parts for file in part.weight_files
        ),
        refusal=refusal,
    )


def _conversation(source: Source, whole: Source) -> str | None:
    if find_spec("transformers") is None or find_spec("jinja2") is None:
        return None
    from llava_tools.engine.loading.config import read_config
    from llava_tools.engine.loading.conversation import choose_format
    from llava_tools.engine.loading.tokenizer import read_tokenizer

    config: Any = read_config(whole.folder, whole.name)
    tokenizer = read_tokenizer(source.folder, source.name)
    return choose_format(source.folder, tokenizer, config.image_token_index, None, source.name).name
