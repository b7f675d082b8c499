"""Jobs side by side, in processes that never outlive the one that started them."""

from __future__ import annotations

import os
import threading
import traceback
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from multiprocessing import get_context, parent_process
from typing import TypeVar

T = TypeVar("T")

#: One for each core.
PROCESSES = 2


def run_all(job: Callable[[T], object], items: Iterable[T]) -> None:
    """Run a job for each item, `PROCESSES` at once; job and items must be picklable.

    Raises:
        BrokenProcessPool: A job failed; its error is on stderr. The others are ended.
    """
    with ProcessPoolExecutor(PROCESSES, get_context("spawn"), _end_with_parent) as pool:
        for future in as_completed([pool.submit(partial(_run, job), item) for item in items]):
            future.result()


def _run(job: Callable[[T], object], item: T) -> None:
    try:
        job(item)
    except Exception:  # noqa: BLE001 -- whatever it is
        traceback.print_exc()
        os._exit(1)  # a process that waits for this one would wait for ever


def _end_with_parent() -> None:
    """End this process when its parent is killed: the next run would write to the same files."""

    def watch() -> None:
        if (parent := parent_process()) is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
