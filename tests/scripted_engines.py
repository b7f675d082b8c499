"""A model cache whose engines are scripted, with a clock that a test sets."""

from __future__ import annotations

import gc
import weakref

import pytest

from llava_tools import model_cache
from llava_tools.core.backend import Backend
from llava_tools.errors import ModelError
from llava_tools.options import EngineOptions
from llava_tools.testing import ScriptedBackend
from tests.idle_timer import IdleTimer


class Engines:
    """Replaces `model_cache.engines`.

    Attributes:
        timer: The clock.
        loads: Number of loads.
        freed: Number of times that memory was freed.
        fails: Whether loading fails.
        live: The engines that something holds.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.timer = IdleTimer()
        self.loads = 0
        self.freed = 0
        self.fails = False
        self.live: weakref.WeakSet[ScriptedBackend] = weakref.WeakSet()
        cache = model_cache.ModelCache(
            self._load, self._free, self.timer.clock, self.timer.schedule
        )
        monkeypatch.setattr(model_cache, "engines", cache)
        self.cache = cache

    def _load(self, options: EngineOptions) -> Backend:
        if self.fails:
            raise ModelError("no room")
        self.loads += 1
        backend = ScriptedBackend(["one two three"])
        self.live.add(backend)
        return backend

    def _free(self) -> None:
        gc.collect()
        self.freed += 1

    @property
    def loaded(self) -> bool:
        return bool(self.cache.loaded())
