"""What an eye is taught: characters told by codes, and places of edges."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from recipes.tiny_llava.architecture import layers, new_model, normalise, tiny_config
from recipes.tiny_llava.batches import batch
from recipes.tiny_llava.eye import eye_parameters, read, settle, train_eye
from recipes.tiny_llava.heads import Heads, distance, spelling_loss
from recipes.tiny_llava.patches import PATCHES, WIDE, codebook, meaning
from recipes.tiny_llava.projecting import Seen, finish_eye, fit_projector
from recipes.tiny_llava.wide.codes import (
    EDGE,
    GLYPHS,
    INDEX,
    KNOTS,
    SLOTS,
    WIDE_ATTRIBUTES,
    say_boxes,
)
from recipes.tiny_llava.wide.things import MOST_GLYPHS
from recipes.tiny_llava.world import Scene, Shape

CODES = torch.from_numpy(codebook(256))
BIAS = "model.multi_modal_projector.linear_2.bias"


def test_characters_that_codes_tell_cost_little() -> None:
    drawn = batch(np.random.default_rng(3), 6, wide=1.0)
    assert (drawn.letters > 0).any()
    blind = torch.zeros_like(drawn.meanings)
    none = np.log(len(GLYPHS)) + np.log(MOST_GLYPHS)
    assert spelling_loss(blind, drawn).item() == pytest.approx(none)
    assert spelling_loss(drawn.meanings, drawn).item() < 0.4
    assert 0.4 < spelling_loss(0.2 * drawn.meanings, drawn).item() < none


def test_nothing_is_spelled_of_shapes() -> None:
    drawn = batch(np.random.default_rng(3), 2, wide=0.0)
    assert spelling_loss(drawn.meanings, drawn).item() == 0


def test_the_further_an_edge_is_off_the_more_it_costs() -> None:
    scene = Scene((Shape("square", "red", 0.44, 0.56, 0.2),), "white", 1.0, 1.0)
    truth = torch.from_numpy(meaning(scene))[None]

    def told(moved: float) -> Tensor:
        said = np.zeros((PATCHES, len(WIDE_ATTRIBUTES)), np.float32)
        say_boxes(said, [(0.44, 0.56)], [(0.284 + moved, 0.404, 0.596, 0.716)])
        weights = truth.clone()
        weights[0, :, WIDE + EDGE :] = torch.from_numpy(said[:, EDGE:])
        error = ((weights - truth) @ CODES).square().sum(-1)
        return distance(error, weights, truth, torch.zeros(1, PATCHES))

    costs = [told(moved).item() for moved in (0.0, 0.01, 0.05, 0.1, 0.2)]
    assert costs[0] == pytest.approx(0, abs=1e-6)
    assert costs == sorted(costs)
    assert costs[4] > costs[3] + 0.15


def test_heads_that_are_new_settle_on_an_eye_that_stays_as_it_is() -> None:
    model, heads = new_model(tiny_config(600, width=64, depth=2), seed=1), Heads(64)
    before = {name: p.detach().clone() for name, p in eye_parameters(model).items()}
    drawn = batch(np.random.default_rng(9), 8, 0.65, 0.03, wide=0.7)
    with torch.no_grad():
        features = layers(model, normalise(drawn.pixels))[-1]
        fresh = heads.wide(features, drawn).item()
        settle(model, heads, 0.7, seed=2, batches=6)
        assert heads.wide(features, drawn).item() < fresh / 5
    for name, parameter in eye_parameters(model).items():
        assert torch.equal(parameter, before[name])


@pytest.mark.parametrize("edge", [0.0, 0.04, 0.3, 0.55, 0.999, 1.0])
def test_an_edge_is_said_by_the_tenths_beside_it(edge: float) -> None:
    said = np.zeros((PATCHES, len(WIDE_ATTRIBUTES)), np.float32)
    say_boxes(said, [(0.5, 0.5)], [(edge, 0.5, 1.0, 1.0)])
    here = said[:, EDGE : EDGE + KNOTS].max(axis=0)
    pairs = here[:-1] + here[1:]
    assert pairs.max() == pytest.approx(1)
    assert here @ np.linspace(0, 1, KNOTS) == pytest.approx(edge, abs=1e-6)


@pytest.mark.slow
def test_a_fitted_projector_tells_what_linear_heads_read() -> None:
    """A tower that shows characters plainly: its projector spells them and still counts shapes."""
    torch.manual_seed(0)
    model = new_model(tiny_config(300, width=256, depth=1), seed=0)
    generator = torch.Generator().manual_seed(1)
    drawn = batch(np.random.default_rng(5), 60, wide=0.6)
    mixed = torch.randn(len(WIDE_ATTRIBUTES) + WIDE, 256, generator=generator)
    features = drawn.meanings @ mixed / 8
    seen = Seen(features, drawn.meanings, drawn.written)
    fit_projector(model, seen, steps=250)
    told = read(model.model.multi_modal_projector(features), CODES).detach()
    letters = told[..., WIDE : WIDE + INDEX].unflatten(-1, (SLOTS, -1))[..., : len(GLYPHS)]
    there = drawn.letters > 0
    assert (letters.argmax(-1) + 1 == drawn.letters)[there].float().mean() > 0.95
    assert (told[..., 0].sum(-1) - drawn.meanings[..., 0].sum(-1)).abs().mean() < 0.5


def test_an_eye_is_finished_once(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    model = new_model(tiny_config(300, width=64, depth=2), seed=0)
    train_eye(model, tmp_path / "narrow.pt", 0.01, size=2)
    path = tmp_path / "eye.pt"
    train_eye(model, path, 0.02, size=2, wide=0.7, start=tmp_path / "narrow.pt")
    before = torch.load(path, weights_only=True)["average"]
    finish_eye(model, path, 0.7, pictures=8)
    after = torch.load(path, weights_only=True)["average"]
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    assert changed
    assert all("multi_modal_projector" in name for name in changed)
    finish_eye(model, path, 0.7, pictures=8)
    again = torch.load(path, weights_only=True)["average"]
    assert all(torch.equal(again[name], after[name]) for name in after)
    assert torch.equal(model.model.multi_modal_projector.linear_2.bias, after[BIAS])
