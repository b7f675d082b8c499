"""Models are unloaded when they are idle, and loaded again by the next request."""

from __future__ import annotations

import gc
import math
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from llava_tools import Llava, Message, model_cache
from llava_tools.core.backend import Backend
from llava_tools.core.requests import Request
from llava_tools.errors import EngineClosedError, ModelError, RequestError
from llava_tools.options import EngineOptions
from llava_tools.testing import ScriptedBackend
from tests.scripted_engines import Engines

REQUEST = Request((Message("user", ("?",)),))


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> Engines:
    return Engines(monkeypatch)


@pytest.mark.parametrize("keep_alive", [300, "5m", "300"])
def test_an_idle_model_is_unloaded_and_loaded_again(
    engines: Engines, keep_alive: float | str
) -> None:
    model = Llava(keep_alive=keep_alive)
    assert model.ask("?").text == "one two three"
    engines.timer.pass_time(299)
    assert engines.loaded
    engines.timer.pass_time(1)
    assert not engines.loaded
    assert not engines.live
    assert engines.freed == 1
    assert not engines.timer.actions
    assert model.ask("?").text == "one two three"
    assert engines.loads == 2


@pytest.mark.parametrize("keep_alive", [None, -1, "-1m"])
def test_without_a_limit_a_model_stays(engines: Engines, keep_alive: float | str | None) -> None:
    Llava(keep_alive=keep_alive).ask("?")
    engines.timer.pass_time(1e9)
    assert engines.loaded
    assert not engines.timer.actions


def test_zero_unloads_after_the_answer(engines: Engines) -> None:
    model = Llava(keep_alive=0)
    stream = model.stream("?")
    engines.timer.pass_time(10)
    assert [chunk.text for chunk in stream] == ["one", " two", " three"]
    assert engines.loaded
    engines.timer.pass_time(1)
    assert not engines.loaded


def test_every_request_begins_the_wait_anew(engines: Engines) -> None:
    model = Llava(keep_alive=100)
    for _ in range(5):
        model.ask("?")
        engines.timer.pass_time(90)
    assert engines.loads == 1
    assert model.backend.count_tokens(REQUEST)
    engines.timer.pass_time(99)
    assert engines.loaded
    engines.timer.pass_time(1)
    assert not engines.loaded


@pytest.mark.parametrize("way", ["read", "close", "drop"])
def test_a_running_answer_keeps_the_model(engines: Engines, way: str) -> None:
    model = Llava(keep_alive=60)
    stream = model.stream("?")
    next(stream)
    engines.timer.pass_time(1000)
    assert engines.loaded
    if way == "read":
        assert [chunk.text for chunk in stream] == [" two", " three"]
    elif way == "close":
        stream.close()
        assert list(stream) == []
    else:
        del stream
        gc.collect()
    engines.timer.pass_time(59)
    assert engines.loaded
    engines.timer.pass_time(60)
    assert not engines.loaded


def test_a_request_that_is_refused_ends_its_lease(engines: Engines) -> None:
    model = Llava(keep_alive=60)
    with pytest.raises(RequestError):
        model.backend.stream(Request(()))
    with pytest.raises(RequestError):
        model.choose("?", (), ["a", "a"])
    engines.timer.pass_time(61)
    assert not engines.loaded


def test_the_longest_wish_of_those_who_share_a_model_counts(engines: Engines) -> None:
    short, long, for_ever = Llava(keep_alive=10), Llava(keep_alive=100), Llava()
    assert short.options == long.options == for_ever.options
    for model in (for_ever, short, long):
        model.ask("?")
    assert engines.loads == 1
    engines.timer.pass_time(1e6)
    assert engines.loaded
    for_ever.close()
    engines.timer.pass_time(99)
    assert engines.loaded
    short.ask("?")
    engines.timer.pass_time(99)
    assert engines.loaded
    long.close()
    engines.timer.pass_time(10)
    assert not engines.loaded
    assert short.ask("?").text == "one two three"
    short.close()
    assert not engines.loaded
    assert not engines.timer.actions


def test_an_answer_of_one_without_a_limit_is_not_cut_off(engines: Engines) -> None:
    """Its engine says that it is busy, also after its user has closed."""
    short, for_ever = Llava(keep_alive=10), Llava()
    short.ask("?")
    backend = for_ever.backend
    assert isinstance(backend, ScriptedBackend)
    backend.idle = False  # type: ignore[attr-defined]
    for_ever.close()
    engines.timer.pass_time(1000)
    assert engines.loaded
    backend.idle = True  # type: ignore[attr-defined]
    engines.timer.pass_time(10)
    assert not engines.loaded


def test_a_model_whose_users_are_garbage_is_unloaded(engines: Engines) -> None:
    for _ in range(3):
        Llava(keep_alive=30).ask("?")
    gc.collect()
    assert engines.loads == 1
    engines.timer.pass_time(31)
    assert not engines.loaded


def test_concurrent_requests_share_one_load_after_an_unload(engines: Engines) -> None:
    model = Llava(keep_alive=10)
    model.ask("?")
    engines.timer.pass_time(10)
    barrier = threading.Barrier(8)

    def ask(_: int) -> str:
        barrier.wait()
        return model.ask("?").text

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(ask, range(8))) == {"one two three"}
    assert engines.loads == 2


def test_unloading_beside_requests_fails_none(engines: Engines) -> None:
    """Time passes while many threads ask: every answer is whole."""
    models = [Llava(keep_alive=0.0), Llava(keep_alive="1s")]
    done = threading.Event()

    def tick() -> None:
        while not done.is_set():
            engines.timer.pass_time(0.7)

    def ask(number: int) -> str:
        return models[number % 2].ask("?").text

    ticking = threading.Thread(target=tick)
    ticking.start()
    try:
        with ThreadPoolExecutor(6) as pool:
            answers = list(pool.map(ask, range(60)))
    finally:
        done.set()
        ticking.join()
    assert answers == ["one two three"] * 60


def test_a_load_that_fails_is_tried_again(engines: Engines) -> None:
    model = Llava(keep_alive=10)
    model.ask("?")
    engines.timer.pass_time(10)
    engines.fails = True
    with pytest.raises(ModelError, match="no room"):
        model.ask("?")
    engines.fails = False
    assert model.ask("?").text == "one two three"


def test_a_backend_of_a_closed_object_loads_nothing(engines: Engines) -> None:
    model = Llava(keep_alive=10)
    backend = model.backend
    assert backend.model_name == "scripted"
    model.close()
    with pytest.raises(EngineClosedError):
        backend.stream(REQUEST)
    assert backend.model_name == "scripted"
    assert not engines.loaded


def test_the_property_backend_loads_the_model(engines: Engines) -> None:
    model = Llava(keep_alive=10)
    assert not engines.loaded
    backend: Backend = model.backend
    assert engines.loaded
    assert isinstance(backend, Backend)
    assert backend.context_length == ScriptedBackend().context_length
    assert backend.token_ids("a b") == [0, 1]


def test_keep_alive_is_refused_for_servers() -> None:
    with pytest.raises(RequestError, match="keep_alive='5m' does not go with base_url"):
        Llava(base_url="http://localhost:1/v1", keep_alive="5m")


@pytest.fixture
def timers(monkeypatch: pytest.MonkeyPatch) -> list[threading.Timer]:
    """Timers that threads started, none of which runs."""
    started: list[threading.Timer] = []
    monkeypatch.setattr(threading.Timer, "start", lambda timer: started.append(timer))
    return started


def test_timers_do_not_keep_the_interpreter_alive(timers: list[threading.Timer]) -> None:
    cache: model_cache.ModelCache[EngineOptions, Backend]
    cache = model_cache.ModelCache(lambda options: ScriptedBackend())
    user = Llava()
    cache.lease(EngineOptions(), user, 1e12).close()
    (timer,) = timers
    assert timer.daemon
    assert timer.interval <= threading.TIMEOUT_MAX
    cache.release(EngineOptions(), user)
    assert timer.finished.is_set()


def test_an_idle_model_is_unloaded_on_request(engines: Engines) -> None:
    model = Llava(keep_alive=300)
    assert model.ask("?").text == "one two three"
    assert engines.cache.unload(model.options)
    assert (engines.loaded, engines.freed) == (False, 1)
    assert model.ask("?").text == "one two three"
    assert engines.loads == 2
    engines.timer.pass_time(300)
    assert not engines.loaded


def test_a_running_answer_is_not_unloaded_on_request(engines: Engines) -> None:
    model = Llava(keep_alive=300)
    stream = model.stream("?")
    next(stream)
    assert not engines.cache.unload(model.options)
    assert engines.loaded
    stream.close()
    assert engines.cache.unload(model.options)


def test_a_model_that_a_user_keeps_is_not_unloaded_on_request(engines: Engines) -> None:
    first, second = Llava(keep_alive=300), Llava()
    first.ask("?")
    second.ask("?")
    assert not engines.cache.unload(first.options)
    assert engines.cache.seconds_left(first.options) == math.inf
    assert engines.loaded


def test_a_model_that_is_not_loaded_needs_no_unloading(engines: Engines) -> None:
    options = EngineOptions()
    assert engines.cache.unload(options)
    assert engines.cache.seconds_left(options) is None


def test_the_rest_of_the_wait_is_known(engines: Engines) -> None:
    model = Llava(keep_alive=300)
    model.ask("?")
    assert engines.cache.seconds_left(model.options) == 300
    engines.timer.pass_time(100)
    assert engines.cache.seconds_left(model.options) == 200
    engines.timer.pass_time(200)
    assert engines.cache.seconds_left(model.options) is None


def test_models_are_kept_where_processes_do_not_fork(
    engines: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "register_at_fork", raising=False)
    model = Llava()
    assert [model.ask("?").text for _ in range(2)] == ["one two three"] * 2
    assert engines.loads == 1
