"""The projector, put together from what the eye's linear heads know.

LLaVA's projector has as many hidden units as outputs, and learned by gradient from nothing it
tells half of the characters that a linear head reads off the same tower: what is rare is given up
for what is everywhere. But three quarters of its units, kept where GELU is all but straight, carry
every linear reading there is, and the last quarter is enough to sharpen what has to be sharp: which
patches hold the middle of a shape. So the first are laid down, the last are taken over from the
projector that there was, outputs are solved for, and the rest is a short training on features that
are computed once.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from transformers import LlavaForConditionalGeneration

from llava_tools.finetune.checkpoint import save_atomically

from .architecture import eye_shape, layers, normalise, text_width
from .batches import batch
from .eye import eye_parameters, load_eye, read
from .heads import Heads, distance, ridge, unspelled
from .patches import codebook, loudnesses
from .world import COLOURS, SHAPES

LINEAR = 0.74
"""Share of hidden units that pass on what is linear."""
_LEVEL, _SWING = 3.0, 0.35
"""Mean and standard deviation of what these units are given: GELU is straight to 0.3% there."""
_SHAPES = 1 + len(COLOURS) + len(SHAPES)
"""Attributes of shapes, the first ones: those that the other units sharpen."""


@dataclass(frozen=True, slots=True)
class Seen:
    """Drawn pictures as the tower sees them, and what the patches should tell.

    ``features`` (n, 64, width); ``told`` (n, 64, attributes): the truth, but of characters and
    their numbers what linear heads read; ``written`` as
    :attr:`~recipes.tiny_llava.batches.Batch.written`.
    """

    features: Tensor
    told: Tensor
    written: Tensor


def finish_eye(
    model: LlavaForConditionalGeneration, path: Path, wide: float, pictures: int = 3200
) -> None:
    """Fit the projector of the eye in the checkpoint ``path`` once, and keep it there.

    A share ``wide`` of the ``pictures`` shows writing, charts or pages. The model's eye is the
    checkpoint's afterwards.
    """
    state = torch.load(path, weights_only=True)
    load_eye(model, state["average"])
    if state.get("fitted"):
        return
    heads = Heads(eye_shape(model)[0])
    heads.load_state_dict(state["heads"])
    fit_projector(model, watch(model, heads, pictures, wide), steps=pictures // 4)
    fitted = {name: p.detach().clone() for name, p in eye_parameters(model).items()}
    save_atomically(state | {"average": fitted, "fitted": True}, path)


def fit_projector(
    model: LlavaForConditionalGeneration, seen: Seen, steps: int = 800, seed: int = 0
) -> float:
    """Fit the projector in place.

    Args:
        model: The model; its projector knows shapes already.
        seen: Features of drawn pictures, and what their patches should tell.
        steps: Of Adam, after the outputs were solved for.
        seed: Of the order of pictures.

    Returns:
        The loss at the end.
    """
    projector = cast(Any, model).model.multi_modal_projector
    codes = torch.from_numpy(codebook(text_width(model)))
    features, told = seen.features.flatten(0, 1), seen.told.flatten(0, 1)
    weight = 1 + 8 * torch.maximum(seen.written, seen.told[..., 0]).flatten().clamp(0, 1)
    linear = round(LINEAR * projector.linear_1.out_features)
    with torch.no_grad():
        _lay_down(projector, codes, features, told, weight, linear)
        _solve(projector, features, told @ codes, weight)
    return _sharpen(projector, codes, seen, linear, steps, seed)


@torch.no_grad()
def watch(
    model: LlavaForConditionalGeneration, heads: Heads, pictures: int, wide: float, seed: int = 12
) -> Seen:
    """Draw pictures, a share ``wide`` of writing, charts and pages, and look at them."""
    features, told, written = [], [], []
    spelled = unspelled() == 0
    for number in range(-(-pictures // 40)):
        rng = np.random.default_rng((seed, number))
        drawn = batch(rng, min(40, pictures - 40 * number), 0.35, 0.02, wide)
        features.append(layers(model, normalise(drawn.pixels))[-1])
        told.append(torch.where(spelled, heads.codes(features[-1]), drawn.meanings))
        written.append(drawn.written)
    return Seen(torch.cat(features), torch.cat(told), torch.cat(written))


def _lay_down(
    projector: Any, codes: Tensor, features: Tensor, told: Tensor, weight: Tensor, linear: int
) -> None:
    """Units for the directions that matter most to any linear reading; then the best old ones."""
    reading = ridge(features, told, weight)[:-1] * torch.from_numpy(loudnesses())
    spread = features.std(dim=0)
    ways = torch.linalg.svd(reading * spread[:, None], full_matrices=False)[0][:, :linear]
    ways = (ways / spread[:, None]).T
    ways *= _SWING / (features @ ways.T).std(dim=0)[:, None]
    active = functional.gelu(projector.linear_1(features[::20])).std(dim=0)
    useful = read(projector.linear_2.weight.T, codes[:_SHAPES]).norm(dim=1) * active
    kept = useful.argsort(descending=True)[: len(active) - linear]
    first = projector.linear_1
    level = _LEVEL - ways @ features.mean(dim=0)
    first.bias.copy_(torch.cat([level, first.bias[kept]]))
    first.weight.copy_(torch.cat([ways, first.weight[kept]]))


def _solve(projector: Any, features: Tensor, sought: Tensor, weight: Tensor) -> None:
    """The outputs that are nearest to what is sought, for the hidden units that there are."""
    found = ridge(functional.gelu(projector.linear_1(features)), sought, weight)
    projector.linear_2.weight.copy_(found[:-1].T)
    projector.linear_2.bias.copy_(found[-1])


def _sharpen(
    projector: Any, codes: Tensor, seen: Seen, linear: int, steps: int, seed: int
) -> float:
    """Train the other units and, more slowly, the outputs of all."""
    generator = torch.Generator().manual_seed(seed)
    first = projector.linear_1
    hidden = torch.arange(first.out_features) >= linear
    adam = torch.optim.Adam(
        [
            {"params": list(first.parameters()), "lr": 1e-3},
            {"params": list(projector.linear_2.parameters()), "lr": 3e-4},
        ]
    )
    decay = torch.optim.lr_scheduler.LambdaLR(adam, lambda step: min(1, 2 * (1 - step / steps)))
    loss = torch.zeros(())
    for _ in range(steps):
        some = torch.randint(len(seen.features), (32,), generator=generator)
        meant = seen.told[some]
        said = projector(seen.features[some])
        error = (said - meant @ codes).square().sum(-1)
        loss = distance(error, read(said, codes), meant, seen.written[some])
        adam.zero_grad()
        loss.backward()
        first.weight.grad *= hidden[:, None]
        first.bias.grad *= hidden
        adam.step()
        decay.step()
    return float(loss.detach())
