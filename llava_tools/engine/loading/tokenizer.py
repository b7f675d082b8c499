"""The tokenizer of a checkpoint, as transformers reads it."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from transformers import AutoTokenizer

from llava_tools.engine.loading.checkpoint_files import check_no_pointers
from llava_tools.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

#: Files that a tokenizer can be made from, in transformers' order of preference.
_FILES = ("tokenizer.json", "vocab.json", "tokenizer.model")
#: Packages that read SentencePiece's format, tokenizer.model, and their modules.
_CONVERTERS = {"sentencepiece": "sentencepiece", "protobuf": "google.protobuf"}
_AGAIN = "Download or export the checkpoint again."


def read_tokenizer(folder: Path, name: str) -> PreTrainedTokenizerBase:
    """Return the tokenizer of the model `name`.

    Raises:
        ModelError: It is missing or damaged, or packages that convert it are.
    """
    file = next((file for file in _FILES if (folder / file).is_file()), None)
    if file is None:
        raise ModelError(f"{name!r} has no tokenizer: none of {', '.join(_FILES)}.", _AGAIN)
    check_no_pointers(folder, [file], name)
    missing = [package for package, module in _CONVERTERS.items() if not _is_installed(module)]
    if file == "tokenizer.model" and missing:
        raise ModelError(
            f"{name!r} has its tokenizer in tokenizer.model alone; {' and '.join(missing)}, which "
            "convert that, are not installed.",
            f"Run: pip install {' '.join(missing)}",
        )
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # tokenizers raises plain `Exception`s for damaged files
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError(f"The tokenizer of {name!r} is damaged: {reason}.", _AGAIN) from error
    return tokenizer


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # its parent
        return False
