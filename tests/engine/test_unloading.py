"""A model that is unloaded gives its memory back, and answers the same when it is loaded again."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from llava_tools import Llava, model_cache
from llava_tools.engine import free_memory, load_engine
from llava_tools.engine.engine import LlavaEngine
from llava_tools.options import EngineOptions
from tests.idle_timer import IdleTimer


class Loading:
    """Loads engines and remembers them and their tensors weakly."""

    def __init__(self) -> None:
        self.count = 0
        self.engines: weakref.WeakSet[LlavaEngine] = weakref.WeakSet()
        self.tensors: weakref.WeakSet[object] = weakref.WeakSet()

    def __call__(self, options: EngineOptions) -> LlavaEngine:
        engine = load_engine(options)
        self.count += 1
        self.engines.add(engine)
        self.tensors.add(engine.decoder)
        self.tensors.update(engine.loaded.model.parameters())
        self.tensors.update([*engine.cache.keys, *engine.cache.values])
        return engine


@pytest.fixture
def loading(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Loading, IdleTimer]]:
    loading, timer = Loading(), IdleTimer()
    cache = model_cache.ModelCache(loading, free_memory, timer.clock, timer.schedule)
    monkeypatch.setattr(model_cache, "engines", cache)
    yield loading, timer
    for engine in cache.loaded().values():
        engine.close()


def test_an_idle_engine_leaves_no_tensor_behind(
    loading: tuple[Loading, IdleTimer], checkpoint: Path, images: list[Image.Image]
) -> None:
    loads, timer = loading
    model = Llava(str(checkpoint), dtype="float32", keep_alive="1m")
    stream = model.stream("What is it?", images[0], max_tokens=12)
    next(stream)
    timer.pass_time(300)
    assert loads.engines, "unloaded while it answered"
    first = "".join(chunk.text for chunk in stream)
    whole = model.ask("What is it?", images[0], max_tokens=12)
    assert model.choose("Which?", images[0], ["yes", "no"]).label in ("yes", "no")
    assert len(loads.tensors) > 10
    timer.pass_time(60)
    assert not loads.engines
    assert not loads.tensors
    again = model.ask("What is it?", images[0], max_tokens=12)
    assert loads.count == 2
    assert again.token_ids == whole.token_ids
    assert whole.text.endswith(first)


def test_a_stream_that_nobody_reads_does_not_keep_the_engine(
    loading: tuple[Loading, IdleTimer], checkpoint: Path
) -> None:
    loads, timer = loading
    model = Llava(str(checkpoint), dtype="float32", keep_alive=5)
    stream = model.stream("Hello?", max_tokens=2)
    (engine,) = loads.engines
    while not engine.loop.idle:
        pass
    del stream, engine
    timer.pass_time(11)
    assert not loads.engines
