"""What a process has one of: a model for each set of options, and the image store of its images.

Weights are large: they are loaded on the first request, once, and live until the last open wrapper
closes them or the process ends. A wrapper that is merely forgotten closes nothing, so that
`Llava().ask(...)` in a loop does not load the model again and again.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from llava_tools.core.backend import Backend, EmbeddingModel
from llava_tools.options import EmbeddingOptions, EngineOptions


class _Closable(Protocol):
    def close(self) -> None: ...


_Options = TypeVar("_Options", bound=Hashable)
_Model = TypeVar("_Model", bound=_Closable)


@dataclass
class _Entry(Generic[_Model]):
    lock: threading.Lock = field(default_factory=threading.Lock)
    model: _Model | None = None
    holders: weakref.WeakSet[object] = field(default_factory=weakref.WeakSet)


class _Shelf(Generic[_Options, _Model]):
    """The models of one sort that this process has loaded, each with those who hold it."""

    def __init__(self, load: Callable[[_Options], _Model]) -> None:
        self._load = load
        self._entries: dict[_Options, _Entry[_Model]] = {}
        self._lock = threading.Lock()

    def acquire(self, options: _Options, holder: object) -> _Model:
        with self._lock:
            entry = self._entries.setdefault(options, _Entry())
            entry.holders.add(holder)
        with entry.lock:
            if entry.model is None:
                entry.model = self._load(options)
            return entry.model

    def release(self, options: _Options, holder: object) -> None:
        with self._lock:
            entry = self._entries.get(options)
            if entry is None:
                return
            entry.holders.discard(holder)
            if entry.holders:
                return
            del self._entries[options]
        with entry.lock:
            if entry.model is not None:
                entry.model.close()

    def loaded(self) -> dict[_Options, _Model]:
        with self._lock:
            return {opts: e.model for opts, e in self._entries.items() if e.model is not None}


def acquire(options: EngineOptions, holder: object) -> Backend:
    """Return the engine of `options`, loading it if this is the first request for it.

    Two engines with different options load side by side; two requests for one wait for one load.

    Args:
        options: What to load.
        holder: Who wants it; must be hashable and weakly referable.

    Raises:
        ModelError: It cannot be loaded; the next call tries again.
    """
    return _engines.acquire(options, holder)


def release(options: EngineOptions, holder: object) -> None:
    """Give the engine back; the last holder's release closes it."""
    _engines.release(options, holder)


def loaded() -> dict[EngineOptions, Backend]:
    """Return the engines that hold a model now."""
    return _engines.loaded()


def acquire_embedding(options: EmbeddingOptions, holder: object) -> EmbeddingModel:
    """`acquire` for the model that turns texts and images into vectors."""
    return _embeddings.acquire(options, holder)


def release_embedding(options: EmbeddingOptions, holder: object) -> None:
    """`release` for the model that turns texts and images into vectors."""
    _embeddings.release(options, holder)


def _load(options: EngineOptions) -> Backend:
    """Load, or connect: with `_load_embedding`, the only way from above into the engine."""
    if options.base_url is not None:
        from llava_tools.remote import connect

        return connect(options)
    from llava_tools.engine import load_engine

    return load_engine(options)


def _load_embedding(options: EmbeddingOptions) -> EmbeddingModel:
    from llava_tools.engine import load_embedding

    return load_embedding(options, loaded)


_engines = _Shelf(_load)
_embeddings = _Shelf(_load_embedding)
