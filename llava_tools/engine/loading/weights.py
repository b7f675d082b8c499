"""Loads weights through transformers; failures become errors of one line."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from transformers.utils import logging as transformers_logging

from llava_tools.errors import ModelError, ModelNotFoundError

#: Buffers that older exporters wrote into checkpoints, although they are computed.
_COMPUTED = (".position_ids", ".rotary_emb.inv_freq")

#: SigLIP's pooling, which many checkpoints of LLaVA hold and LLaVA does not read.
_UNREAD = "model.vision_tower.head."

#: `revision` and `local_files_only`, as each `from_pretrained` takes them.
HubOptions = dict[str, Any]


def load_weights(
    model_class: Any,
    location: str,
    name: str,
    hub: HubOptions,
    *,
    progress: bool,
    partial: bool = False,
    attention: str | dict[str, str] = "sdpa",
    **arguments: Any,
) -> Any:
    """Load a model of transformers in evaluation mode and check that it has all of its weights.

    `location` is a folder or hub id; errors call the model `name`. If `progress`, a terminal shows
    a progress bar. If `partial`, the checkpoint may hold more weights than the model has.
    `attention` is `attn_implementation` of transformers, which a checkpoint must not choose: it can
    name code on a hub. `arguments` and `hub` go to `from_pretrained`.

    Raises:
        ModelError: Some weights are missing, unexpected or of the wrong shape.
    """
    with _quiet(progress=progress and sys.stderr.isatty()):
        model, report = model_class.from_pretrained(
            location,
            attn_implementation=attention,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # reported like the others, and checked below
            **arguments,
            **hub,
        )
    unexpected = [] if partial else report["unexpected_keys"]
    faults = {
        "missing": sorted(report["missing_keys"]),
        "unexpected": sorted(
            key for key in unexpected if not key.endswith(_COMPUTED) and not key.startswith(_UNREAD)
        ),
        "of the wrong shape": sorted(str(key[0]) for key in report["mismatched_keys"]),
    }
    if any(faults.values()):
        listed = (
            f"{len(keys)} {fault} (such as {keys[0]})" for fault, keys in faults.items() if keys
        )
        raise ModelError(
            f"The weights of {name!r} are not those of its config.json: {'; '.join(listed)}.",
            "Export or download the checkpoint again.",
        )
    return model.eval()


@contextmanager
def readable(name: str, hub: HubOptions) -> Iterator[None]:
    """Turn transformers' error for files that it cannot read into `ModelNotFoundError`."""
    try:
        yield
    except OSError as error:
        at = f" at revision {hub['revision']!r}" if hub["revision"] else ""
        reason = str(error).strip().split("\n")[0]
        raise ModelNotFoundError(
            f"The model {name!r}{at} cannot be read: {reason}",
            "It is not in the local cache, and local_files_only=True forbids a download."
            if hub["local_files_only"]
            else "Check the name and the network, or name a local folder.",
        ) from error


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
