"""What an eye is taught: characters told by codes, and places of edges."""

import numpy as np
import pytest
import torch
from torch import Tensor

from llava_tools.train.eye import batch, distance, spelling_loss
from llava_tools.train.patches import PATCHES, WIDE, codebook, meaning
from llava_tools.train.wide.codes import EDGE, GLYPHS, KNOTS, WIDE_ATTRIBUTES, say_boxes
from llava_tools.train.wide.things import MOST_GLYPHS
from llava_tools.train.world import Scene, Shape

CODES = torch.from_numpy(codebook(256))


def test_characters_that_codes_tell_cost_little() -> None:
    drawn = batch(np.random.default_rng(3), 6, wide=1.0)
    assert (drawn.letters > 0).any()
    blind = torch.zeros(6, PATCHES, 256)
    none = np.log(len(GLYPHS)) + np.log(MOST_GLYPHS)
    assert spelling_loss(blind, drawn, CODES).item() == pytest.approx(none)
    assert spelling_loss(drawn.meanings @ CODES, drawn, CODES).item() < 0.4
    faint = 0.2 * drawn.meanings @ CODES
    assert 0.4 < spelling_loss(faint, drawn, CODES).item() < none


def test_nothing_is_spelled_of_shapes() -> None:
    drawn = batch(np.random.default_rng(3), 2, wide=0.0)
    assert spelling_loss(drawn.meanings @ CODES, drawn, CODES).item() == 0


def test_the_further_an_edge_is_off_the_more_it_costs() -> None:
    scene = Scene((Shape("square", "red", 0.44, 0.56, 0.2),), "white", 1.0, 1.0)
    truth = torch.from_numpy(meaning(scene))[None]

    def told(moved: float) -> Tensor:
        said = np.zeros((PATCHES, len(WIDE_ATTRIBUTES)), np.float32)
        say_boxes(said, [(0.44, 0.56)], [(0.284 + moved, 0.404, 0.596, 0.716)])
        weights = truth.clone()
        weights[0, :, WIDE + EDGE :] = torch.from_numpy(said[:, EDGE:])
        return distance(weights @ CODES, truth, CODES)

    costs = [told(moved).item() for moved in (0.0, 0.01, 0.05, 0.1, 0.2)]
    assert costs[0] == pytest.approx(0, abs=1e-6)
    assert costs == sorted(costs)
    assert costs[4] > costs[3] + 0.15


@pytest.mark.parametrize("edge", [0.0, 0.04, 0.3, 0.55, 0.999, 1.0])
def test_an_edge_is_said_by_the_tenths_beside_it(edge: float) -> None:
    said = np.zeros((PATCHES, len(WIDE_ATTRIBUTES)), np.float32)
    say_boxes(said, [(0.5, 0.5)], [(edge, 0.5, 1.0, 1.0)])
    here = said[:, EDGE : EDGE + KNOTS].max(axis=0)
    pairs = here[:-1] + here[1:]
    assert pairs.max() == pytest.approx(1)
    assert here @ np.linspace(0, 1, KNOTS) == pytest.approx(edge, abs=1e-6)
