"""The process that indexes are used in: after a fork, LanceDB's next call may crash or hang."""

from __future__ import annotations

import os

from llava_tools.errors import IndexStoreError

_connected_in: int | None = None


def remember_process() -> None:
    """Note that this process uses an index, before LanceDB starts its threads.

    Raises:
        IndexStoreError: See `check_process`.
    """
    global _connected_in
    check_process()
    _connected_in = os.getpid()


def check_process() -> None:
    """Check that LanceDB can be used here.

    Raises:
        IndexStoreError: This process was forked from one that had used an index.
    """
    if _connected_in not in (None, os.getpid()):
        raise IndexStoreError(
            "This process was forked from one that had used an index, and LanceDB's threads do not "
            "survive a fork.",
            "Start processes with multiprocessing's 'spawn', or use indexes in the children alone.",
        )
