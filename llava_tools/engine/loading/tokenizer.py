"""The tokenizer of a checkpoint, as transformers reads it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from transformers import AutoTokenizer

from llava_tools.engine.loading.checkpoint_files import AGAIN, TOKENIZER_FILES, check_no_pointers
from llava_tools.engine.loading.original import tokenizer as sentencepiece
from llava_tools.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def read_tokenizer(folder: Path, name: str) -> PreTrainedTokenizerBase:
    """Return the tokenizer of the model `name`.

    Raises:
        MissingExtraError: It is a tokenizer.model alone, and sentencepiece is not installed.
        ModelError: It is missing or damaged.
    """
    file = next((file for file in TOKENIZER_FILES if (folder / file).is_file()), None)
    if file is None:
        raise ModelError(f"{name!r} has no tokenizer: none of {', '.join(TOKENIZER_FILES)}.", AGAIN)
    check_no_pointers(folder, [file], name)
    if file == "tokenizer.model":  # transformers' own conversion splits texts in another way
        return sentencepiece.read_tokenizer(folder, name)
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # tokenizers raises plain `Exception`s for damaged files
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError(f"The tokenizer of {name!r} is damaged: {reason}.", AGAIN) from error
    return tokenizer
