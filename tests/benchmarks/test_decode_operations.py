"""What a decode step asks of a GPU: one copy in, one wait for the tokens, few launches."""

from __future__ import annotations

import sys

import pytest

from benchmarks.decode_operations import count

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="knows torch's names on Linux")

LAYERS = 4


@pytest.mark.parametrize("streams", [1, 16])
def test_a_replayed_step_is_a_copy_in_a_launch_and_a_copy_out(streams: int) -> None:
    numbers = count(LAYERS, streams, fused=True, replayed=True)
    assert (numbers["copies_in"], numbers["waits"]) == (1, 1)
    assert numbers["launches"] <= 6


@pytest.mark.parametrize(("fused", "most"), [(True, 11), (False, 21)])
def test_a_computed_step_has_few_launches_a_layer_and_one_wait(fused: bool, most: int) -> None:
    numbers, deeper = (
        count(layers, 16, fused=fused, replayed=False) for layers in (LAYERS, LAYERS + 1)
    )
    assert deeper["launches"] - numbers["launches"] <= most
    assert (numbers["copies_in"], numbers["waits"]) == (3, 1)
