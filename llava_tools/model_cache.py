"""Process-wide caches of loaded engines and embedding models, by their options.

Weights are large: they are loaded once, at the first request, and stay until the last user
releases them or the process ends. A user that is garbage-collected releases nothing, so that
`Llava().ask(…)` in a loop loads the model only once.

A forked process has none of its parent's models, whose threads stay behind. It connects to servers
anew; a model that runs in the process is refused if the parent had loaded one (`engine.process`).
"""

from __future__ import annotations

import os
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
    users: weakref.WeakSet[object] = field(default_factory=weakref.WeakSet)


class ModelCache(Generic[_Options, _Model]):
    """Loaded models by their options, each with the objects that use it. Thread-safe."""

    def __init__(self, load: Callable[[_Options], _Model]) -> None:
        self._load = load
        self._entries: dict[_Options, _Entry[_Model]] = {}
        self._lock = threading.Lock()
        self._inherited: list[object] = []
        self._forgets_after_fork = False

    def acquire(self, options: _Options, user: object) -> _Model:
        """Return the model of some options, and load it if this is the first request for it.

        Models of different options load in parallel; concurrent requests for the same options share
        one load.
        `user` is the object that uses the model; hashable and weakly referable.

        Raises:
            ModelError: It cannot be loaded; the next call tries again.
            EngineError: It would run in this process, which was forked from one that had loaded a
                model.
        """
        self._forget_after_fork()
        with self._lock:
            entry = self._entries.setdefault(options, _Entry())
            entry.users.add(user)
        with entry.lock:
            if entry.model is None:
                entry.model = self._load(options)
            return entry.model

    def release(self, options: _Options, user: object) -> None:
        """Remove a user of a model; the model is closed with its last user."""
        with self._lock:
            entry = self._entries.get(options)
            if entry is None:
                return
            entry.users.discard(user)
            if entry.users:
                return
            del self._entries[options]
        with entry.lock:
            if entry.model is not None:
                entry.model.close()

    def _forget_after_fork(self) -> None:
        if not self._forgets_after_fork and hasattr(os, "register_at_fork"):  # Windows has no fork
            self._forgets_after_fork = True
            os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        """Start empty in a forked process; locks may be held by threads that it does not have."""
        # Kept, since finalizers would close what the parent still uses.
        self._inherited.append(self._entries)
        self._entries = {}
        self._lock = threading.Lock()

    def loaded(self) -> dict[_Options, _Model]:
        """Return the models that are loaded now."""
        with self._lock:
            entries = self._entries.items()
            return {options: e.model for options, e in entries if e.model is not None}


def _load_engine(options: EngineOptions) -> Backend:
    if options.base_url is not None:
        from llava_tools.remote import connect

        return connect(options)
    from llava_tools.engine import load_engine

    return load_engine(options)


def _load_embedding(options: EmbeddingOptions) -> EmbeddingModel:
    from llava_tools.engine import load_embedding

    return load_embedding(options, lambda: engines.loaded())


engines = ModelCache(_load_engine)
embeddings = ModelCache(_load_embedding)
