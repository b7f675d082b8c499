"""What happens to the garbage collector while the engine's modules are imported."""

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


def test_the_collector_rests_and_finds_its_work_among_the_old() -> None:
    with engine._importing():
        assert not gc.isenabled()
        made = [[number] for number in range(2000)]
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0
    assert any(one is made for one in gc.get_objects(generation=2))


def test_an_import_that_fails_lets_it_work_again() -> None:
    with pytest.raises(ImportError), engine._importing():
        raise ImportError
    assert gc.isenabled()


def test_what_its_owner_set_stays() -> None:
    gc.freeze()
    frozen = gc.get_freeze_count()
    with engine._importing():
        pass
    assert gc.get_freeze_count() > 0.9 * frozen  # some of them may have been dropped since
    gc.disable()
    with engine._importing():
        pass
    assert not gc.isenabled()
