"""The garbage collector is paused while the engine's modules are imported."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from llava_tools import engine


@pytest.fixture(autouse=True)
def collector() -> Iterator[None]:
    yield
    gc.unfreeze()
    gc.enable()


def test_new_objects_end_up_in_the_oldest_generation() -> None:
    with engine.paused_collector():
        assert not gc.isenabled()
        objects = [[number] for number in range(2000)]
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0
    assert any(item is objects for item in gc.get_objects(generation=2))


def test_an_import_that_fails_resumes_the_collector() -> None:
    with pytest.raises(ImportError), engine.paused_collector():
        raise ImportError
    assert gc.isenabled()


def test_the_application_s_settings_stay() -> None:
    gc.freeze()
    frozen = gc.get_freeze_count()
    with engine.paused_collector():
        pass
    assert gc.get_freeze_count() > 0.9 * frozen  # some of them may have been dropped since
    gc.disable()
    with engine.paused_collector():
        pass
    assert not gc.isenabled()
