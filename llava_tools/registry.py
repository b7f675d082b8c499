"""What a process has one of: an engine for each set of options, and the gallery of its pictures.

Weights are large: they are loaded on the first request, once, and live until the last open wrapper
closes them or the process ends. A wrapper that is merely forgotten closes nothing, so that
`Llava().ask(...)` in a loop does not load the model again and again.
"""

from __future__ import annotations

import threading
import weakref
from dataclasses import dataclass, field

from llava_tools.backend import Backend
from llava_tools.gallery import Gallery
from llava_tools.options import EngineOptions


@dataclass
class _Entry:
    lock: threading.Lock = field(default_factory=threading.Lock)
    backend: Backend | None = None
    holders: weakref.WeakSet[object] = field(default_factory=weakref.WeakSet)


_entries: dict[EngineOptions, _Entry] = {}
_gallery = Gallery()
_lock = threading.Lock()


def shared() -> Gallery:
    """Return the gallery of this process, which handles lead to where nobody brings their own."""
    return _gallery


def acquire(options: EngineOptions, holder: object) -> Backend:
    """Return the engine of `options`, loading it if this is the first request for it.

    Two engines with different options load side by side; two requests for one wait for one load.

    Args:
        options: What to load.
        holder: Who wants it; must be hashable and weakly referable.

    Raises:
        ModelError: It cannot be loaded; the next call tries again.
    """
    with _lock:
        entry = _entries.setdefault(options, _Entry())
        entry.holders.add(holder)
    with entry.lock:
        if entry.backend is None:
            entry.backend = _load(options)
        return entry.backend


def release(options: EngineOptions, holder: object) -> None:
    """Give the engine back; the last holder's release closes it."""
    with _lock:
        entry = _entries.get(options)
        if entry is None:
            return
        entry.holders.discard(holder)
        if entry.holders:
            return
        del _entries[options]
    with entry.lock:
        if entry.backend is not None:
            entry.backend.close()


def loaded() -> dict[EngineOptions, Backend]:
    """Return the engines that hold a model now."""
    with _lock:
        return {opts: e.backend for opts, e in _entries.items() if e.backend is not None}


def _load(options: EngineOptions) -> Backend:
    """Import torch and load: the only way from above the seam into the engine."""
    from llava_tools.engine import load_engine

    return load_engine(options)
