"""Process-wide caches of loaded engines and embedding models, by their options.

Weights are large: they are loaded once, at the first request, and stay until the last user
releases them or the process ends. A user that is garbage-collected releases nothing, so that
`Llava().ask(…)` in a loop loads the model only once.

A user with a `keep_alive` takes a lease for each request instead. When no lease is left for as long
as the most patient user wants, the model is unloaded; the next lease loads it again.

A forked process has none of its parent's models, whose threads stay behind. It connects to servers
anew; a model that runs in the process is refused if the parent had loaded one (`engine.process`).
"""

from __future__ import annotations

import gc
import math
import os
import threading
import time
import weakref
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from llava_tools.core.backend import Backend, EmbeddingModel
from llava_tools.errors import EngineClosedError
from llava_tools.options import EmbeddingOptions, EngineOptions

#: Calls a function after some seconds, in a thread; returns a function that cancels this.
Schedule = Callable[[float, Callable[[], None]], Callable[[], None]]

#: Seconds between two looks at a model that is in use.
_SHORTEST_WAIT = 1.0


class _Closable(Protocol):
    def close(self) -> None: ...


_Options = TypeVar("_Options", bound=Hashable)
_Model = TypeVar("_Model", bound=_Closable)


def _start_timer(seconds: float, action: Callable[[], None]) -> Callable[[], None]:
    timer = threading.Timer(min(seconds, threading.TIMEOUT_MAX), action)
    timer.daemon = True
    timer.start()
    return timer.cancel


@dataclass(eq=False)
class _Entry(Generic[_Model]):
    """A model, loaded or not.

    Attributes:
        lock: Guards what follows; held while the model is loaded and closed.
        model: None if it is not loaded.
        users: The objects that use it, each with the seconds without a request after which it may
            be unloaded as far as they are concerned.
        keep_alive: That of the last user; counts if none is left.
        leases: Leases that are not closed.
        last_use: Clock time of the last request's beginning or end.
        cancel_timer: Cancels the next look at whether the model is idle; None if there is none.
        released: Whether the last user released it.
    """

    lock: threading.Lock = field(default_factory=threading.Lock)
    model: _Model | None = None
    users: weakref.WeakKeyDictionary[object, float] = field(
        default_factory=weakref.WeakKeyDictionary
    )
    keep_alive: float = math.inf
    leases: weakref.WeakSet[ModelLease[_Model]] = field(default_factory=weakref.WeakSet)
    last_use: float = 0.0
    cancel_timer: Callable[[], None] | None = None
    released: bool = False


class ModelLease(Generic[_Model]):
    """See `llava_tools.core.leased_backend.Lease`.

    It takes no lock when it ends, since it may be garbage-collected at any point of any thread.
    """

    def __init__(self, entry: _Entry[_Model], model: _Model, clock: Callable[[], float]) -> None:
        self._entry = entry
        self._model: _Model | None = model
        self._clock = clock

    @property
    def model(self) -> _Model:
        """The loaded model."""
        assert self._model is not None, "The lease is closed."
        return self._model

    def close(self) -> None:
        """End the lease."""
        if self._model is not None:
            self._entry.last_use = self._clock()
            self._model = None
            self._entry.leases.discard(self)

    def __del__(self) -> None:
        if self._model is not None:
            self._entry.last_use = self._clock()


class ModelCache(Generic[_Options, _Model]):
    """Loaded models by their options, each with the objects that use it. Thread-safe.

    Args:
        load: Loads a model.
        free: Returns the memory of a model that was dropped to the system.
        clock: Returns seconds.
        schedule: See `Schedule`.
    """

    def __init__(
        self,
        load: Callable[[_Options], _Model],
        free: Callable[[], object] = gc.collect,
        clock: Callable[[], float] = time.monotonic,
        schedule: Schedule = _start_timer,
    ) -> None:
        self._load = load
        self._free = free
        self._clock = clock
        self._schedule = schedule
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
        entry = self._entry(options, user, math.inf)
        with entry.lock:
            return self._loaded(entry, options)

    def lease(self, options: _Options, user: object, keep_alive: float) -> ModelLease[_Model]:
        """`acquire` for one request; between requests the model may be unloaded.

        Args:
            options: The model's.
            user: The object that uses the model.
            keep_alive: Seconds without a request after which `user` lets it be unloaded. With
                several users, the longest counts.
        """
        entry = self._entry(options, user, keep_alive)
        with entry.lock:
            lease = ModelLease(entry, self._loaded(entry, options), self._clock)
            entry.leases.add(lease)
            entry.last_use = self._clock()
            if entry.cancel_timer is None:
                self._look_later(entry, keep_alive)
            return lease

    def release(self, options: _Options, user: object) -> None:
        """Remove a user of a model; the model is closed with its last user."""
        with self._lock:
            entry = self._entries.get(options)
            if entry is None:
                return
            entry.users.pop(user, None)
            last = not entry.users
            if last:
                del self._entries[options]
        with entry.lock:
            if entry.cancel_timer is not None:
                entry.cancel_timer()
                entry.cancel_timer = None
            if last:
                entry.released = True
                self._close(entry)
            elif entry.model is not None:
                self._look_later(entry, self._keep_alive(entry))

    def unload(self, options: _Options) -> bool:
        """Unload a model that answers nothing; the next lease loads it again.

        Returns:
            Whether it is not loaded now. False also if a user keeps it for ever.
        """
        with self._lock:
            entry = self._entries.get(options)
        if entry is None:
            return True
        with entry.lock:
            busy = entry.leases or not getattr(entry.model, "idle", True)
            if entry.model is not None and (busy or math.isinf(self._keep_alive(entry))):
                return False
            self._close(entry)
            self._free()
            return True

    def seconds_left(self, options: _Options) -> float | None:
        """Return the seconds until a model is unloaded if no request comes.

        Infinity if a user keeps it for ever; None if it is not loaded.
        """
        with self._lock:
            entry = self._entries.get(options)
        if entry is None or entry.model is None:
            return None
        return max(entry.last_use + self._keep_alive(entry) - self._clock(), 0.0)

    def loaded(self) -> dict[_Options, _Model]:
        """Return the models that are loaded now."""
        with self._lock:
            entries = self._entries.items()
            return {options: e.model for options, e in entries if e.model is not None}

    def _entry(self, options: _Options, user: object, keep_alive: float) -> _Entry[_Model]:
        self._forget_after_fork()
        with self._lock:
            entry = self._entries.setdefault(options, _Entry())
            entry.users[user] = entry.keep_alive = keep_alive
            return entry

    def _loaded(self, entry: _Entry[_Model], options: _Options) -> _Model:
        if entry.released:
            raise EngineClosedError("The model was closed.", "Send the request again.")
        if entry.model is None:
            entry.model = self._load(options)
        return entry.model

    def _keep_alive(self, entry: _Entry[_Model]) -> float:
        with self._lock:
            return max(entry.users.values(), default=entry.keep_alive)

    def _look_later(self, entry: _Entry[_Model], seconds: float) -> None:
        """Look after some seconds whether a model is idle."""
        if not math.isinf(seconds):
            wait = max(seconds, _SHORTEST_WAIT)
            entry.cancel_timer = self._schedule(wait, lambda: self._look(entry))

    def _look(self, entry: _Entry[_Model]) -> None:
        """Unload a model that has been idle for long enough, else look again later."""
        with entry.lock:
            entry.cancel_timer = None
            if entry.model is None:
                return
            keep_alive = self._keep_alive(entry)
            # An engine answers others without a lease, too.
            if entry.leases or not getattr(entry.model, "idle", True):
                self._look_later(entry, keep_alive)
            elif (rest := entry.last_use + keep_alive - self._clock()) > 0:
                self._look_later(entry, rest)
            else:
                self._close(entry)
                self._free()  # before the lock lets another request load it

    def _close(self, entry: _Entry[_Model]) -> None:
        model, entry.model = entry.model, None
        if model is not None:
            model.close()

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


def _load_engine(options: EngineOptions) -> Backend:
    if options.base_url is not None:
        from llava_tools.remote import connect

        return connect(options)
    from llava_tools.engine import load_engine

    return load_engine(options)


def _load_embedding(options: EmbeddingOptions) -> EmbeddingModel:
    from llava_tools.engine import load_embedding

    return load_embedding(options, lambda: engines.loaded())


def _free_engine_memory() -> None:
    from llava_tools.engine import free_memory

    free_memory()


engines = ModelCache(_load_engine, _free_engine_memory)
embeddings = ModelCache(_load_embedding)
