"""The process that models run in: torch's threads do not survive a fork, so its next call hangs."""

from __future__ import annotations

import os

from llava_tools.errors import EngineError

_loaded_in: int | None = None


def remember_process() -> None:
    """Note that this process loads a model, before torch computes anything.

    Raises:
        EngineError: See `check_process`.
    """
    global _loaded_in
    check_process()
    _loaded_in = os.getpid()


def check_process() -> None:
    """Check that torch can compute here.

    Raises:
        EngineError: This process was forked from one that had loaded a model.
    """
    if is_forked():
        raise EngineError(
            "This process was forked from one that had loaded a model, and torch's threads do not "
            "survive a fork.",
            "Start processes with multiprocessing's 'spawn', or load models in the children alone.",
        )


def is_forked() -> bool:
    """Return whether this process was forked from one that had loaded a model."""
    return _loaded_in not in (None, os.getpid())
