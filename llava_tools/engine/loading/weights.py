"""Loads weights through transformers, from a local folder."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from transformers.utils import logging as transformers_logging

from llava_tools.engine.loading.checkpoint_files import check_weights, find_weights
from llava_tools.engine.loading.source import Source
from llava_tools.errors import ModelError

#: Buffers that older exporters wrote into checkpoints, although they are computed.
_COMPUTED = (".position_ids", ".rotary_emb.inv_freq")

#: SigLIP's pooling, which many checkpoints of LLaVA hold and LLaVA does not read.
_UNREAD = "model.vision_tower.head."


def load_weights(
    model_class: Any,
    source: Source,
    *,
    progress: bool,
    partial: bool = False,
    attention: str | dict[str, str] = "sdpa",
    **arguments: Any,
) -> Any:
    """Load a model of transformers in evaluation mode and check that it has all of its weights.

    They are downloaded first if they are not in the source's folder. If `progress`, a terminal
    shows a progress bar of loading. If `partial`, the checkpoint may hold more weights than the
    model has. `attention` is `attn_implementation` of transformers, which a checkpoint must not
    choose: it can name code on a hub. `arguments` go to `from_pretrained`.

    Raises:
        ModelError: There are no weights, or they are damaged or hold more than weights; or some
            are missing, unexpected or of the wrong shape; or they cannot be downloaded.
    """
    files = find_weights(source.folder, source.files, source.name)
    source.fetch(files.names)
    check_weights(source.folder, files, source.name)
    with _quiet(progress=progress and sys.stderr.isatty()):
        model, report = model_class.from_pretrained(
            source.folder,
            attn_implementation=attention,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # reported like the others, and checked below
            use_safetensors=files.are_safetensors,
            weights_only=True,
            local_files_only=True,
            trust_remote_code=False,
            **arguments,
        )
    unexpected = [] if partial else report["unexpected_keys"]
    faults = {
        "missing": report["missing_keys"],
        "unexpected": [
            key for key in unexpected if not key.endswith(_COMPUTED) and not key.startswith(_UNREAD)
        ],
        "of the wrong shape": [str(key[0]) for key in report["mismatched_keys"]],
    }
    check_faults(faults, repr(source.name), "config.json")
    return model.eval()


def check_faults(faults: Mapping[str, Collection[str]], owner: str, config: str) -> None:
    """Check that there are no weights with a fault.

    Args:
        faults: Names of weights by what is wrong with them.
        owner: Whose weights they are, for the message.
        config: The file that says which there should be.

    Raises:
        ModelError: There are some.
    """
    listed = [
        f"{len(names)} {fault} (such as {min(names)})" for fault, names in faults.items() if names
    ]
    if listed:
        raise ModelError(
            f"The weights of {owner} are not those of its {config}: {'; '.join(listed)}.",
            "Export or download them again.",
        )


@contextmanager
def _quiet(*, progress: bool) -> Iterator[None]:
    """Silence transformers' report of faulty weights and, without `progress`, its progress bar."""
    verbosity = transformers_logging.get_verbosity()
    progress_enabled = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    if not progress:
        transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if progress_enabled:
            transformers_logging.enable_progress_bar()
