"""The eye: the vision tower and the projector, trained on drawings with dense supervision.

Drawings go in; a tower and projector come out whose 64 patch features equal, as nearly as can be,
:func:`~recipes.tiny_llava.patches.meaning` in the fixed codes on which the language model is
trained at the same time. Linear heads that name what covers each patch guide the tower, and are
thrown away afterwards. In the wide world they tell all that the patches should say, and the
projector is fitted to them at the end (:mod:`~recipes.tiny_llava.projecting`).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from transformers import LlavaForConditionalGeneration

from .architecture import eye_shape, layers, normalise, see, text_width
from .batches import batch
from .checkpoint import TOLD, Stage, restore
from .heads import Heads, distance, ridge
from .optim import Optimizer, linear_decay
from .patches import ATTRIBUTES, codebook
from .precision import quick
from .team import Team
from .world import COLOURS, SHAPES

SETTLING = 100
"""Steps in which an eye whose heads are new stays as it is: they know nothing yet, and would spoil
what it knows."""
_NAMED = 4.0
"""Weight of naming what covers patches in the wide world, where writing would drown it out."""
_SETTLED_ON = 60
"""Batches from which these heads are solved for before; fewer where the stage is short."""


def train_eye(
    model: LlavaForConditionalGeneration,
    path: Path,
    minutes: float,
    *,
    size: int = 64,
    rate: float = 4e-3,
    seed: int = 11,
    wide: float = 0.0,
    start: Path | None = None,
    team: Team | None = None,
) -> None:
    """Train tower and projector in place for ``minutes``, from ``path`` if it exists.

    ``start`` names another eye's checkpoint whose weights it begins with otherwise; a share
    ``wide`` of the pictures shows writing, charts or pages. The checkpoint also holds a moving
    average of the weights, good to look through before the learning rate has decayed.
    """
    team = team or Team()
    stage = Stage("eye", path, minutes)
    width, _ = eye_shape(model)
    codes = torch.from_numpy(codebook(text_width(model)))
    heads = Heads(width)
    eye = eye_parameters(model)
    # Written out, attention over 64 patches is five times as fast in bfloat16 as torch's fused one.
    model.model.vision_tower.set_attn_implementation("eager")
    optimizer = Optimizer([*eye.items(), *heads.named_parameters()], rate)
    settling = 0
    average = {name: p.detach().clone() for name, p in eye.items()}
    if (state := stage.load()) is not None:
        load_eye(model, state["eye"])
        heads.load_state_dict(state["heads"], strict=False)
        optimizer.load(state["optimizer"])
        average = state["average"]
    elif start is not None:
        begun = torch.load(start, weights_only=True)
        load_eye(model, begun["average"])
        # An eye of the narrow world has no heads for writing; those start anew.
        heads.load_state_dict(begun["heads"], strict=False)
        if wide and "codes.weight" not in begun["heads"]:
            settling = SETTLING
            settle(model, heads, wide, seed, min(_SETTLED_ON, 1 + round(20 * minutes)))
        average = {name: p.detach().clone() for name, p in eye.items()}
    done = stage.done
    while done < 1:
        rng = np.random.default_rng((seed + team.rank, stage.step))
        plain = 0.03 if start else max(0.05, min(1.0, 1.0 - (stage.step - 150) / 300))
        crowded = 0.65 + 0.25 * plain if done < 0.65 else 0.15
        drawn = batch(rng, size, crowded, plain, wide)
        with quick(), torch.set_grad_enabled(stage.step >= settling):
            seen = layers(model, normalise(drawn.pixels))
        features = [one.float() for one in seen]
        named = heads(features, drawn)
        if wide:
            missed = heads.wide(features[-1], drawn)
        else:
            said = model.model.multi_modal_projector(features[-1])
            error = (said - drawn.meanings @ codes).square().sum(-1)
            missed = distance(error, read(said, codes), drawn.meanings, drawn.written)
        ((_NAMED if wide else 1.0) * named + missed).backward()
        optimizer.step(linear_decay(done))
        stage.step += 1
        done = team.meet(stage.step, [*eye.values(), *heads.parameters()], stage.done)
        _follow(average, eye, min(0.99, stage.step / (stage.step + 20)))
        if stage.step % TOLD == 0 and team.leads:
            figures = {"loss": float(missed.detach()), "named": float(named.detach())}
            figures["cover"] = heads.right(features[-1].detach(), drawn)
            if wide:
                figures |= heads.read(features[-1].detach(), drawn)
            if stage.step % 100 == 0:
                figures |= _glance(model, heads.codes if wide else _projected(model, codes))
            stage.tell(figures)
        if team.leads and (stage.due or done >= 1):
            current = {name: p.detach() for name, p in eye.items()}
            # In the narrow world nothing is told through the heads for writing: they are not kept.
            taught = {
                name: weight
                for name, weight in heads.state_dict().items()
                if wide or not name.startswith("codes.")
            }
            stage.save(eye=current, average=average, heads=taught, optimizer=optimizer.state())


@torch.no_grad()
def settle(
    model: LlavaForConditionalGeneration,
    heads: Heads,
    wide: float,
    seed: int,
    batches: int,
) -> None:
    """Solve for the linear heads that tell what patches say, for the tower as it is."""
    features, meant, weight = [], [], []
    for number in range(batches):
        drawn = batch(np.random.default_rng((seed, 1 << 31, number)), 24, 0.65, 0.03, wide)
        features.append(layers(model, normalise(drawn.pixels))[-1].flatten(0, 1))
        meant.append(drawn.meanings.flatten(0, 1))
        weight.append(1 + 5 * torch.maximum(drawn.meanings[..., 0], drawn.written).flatten())
    found = ridge(torch.cat(features), torch.cat(meant), torch.cat(weight), 10.0)
    heads.codes.weight.copy_(found[:-1].T)
    heads.codes.bias.copy_(found[-1])


def eye_parameters(model: LlavaForConditionalGeneration) -> dict[str, nn.Parameter]:
    """The tower's layers up to −2 and the projector, by their names in the model."""
    _, depth = eye_shape(model)
    unread = (f"encoder.layers.{depth - 1}.", "post_layernorm")
    return {
        name: parameter
        for name, parameter in model.named_parameters()
        if ("vision_tower" in name or "multi_modal_projector" in name)
        and not any(part in name for part in unread)
    }


def load_eye(model: LlavaForConditionalGeneration, weights: dict[str, Tensor]) -> None:
    """Copy saved eye weights into the model."""
    restore(eye_parameters(model), weights)


def read(said: Tensor, codes: Tensor) -> Tensor:
    """Projected patches as weights over attributes, (batch, 64, attributes)."""
    return said @ (codes / codes.square().sum(dim=1, keepdim=True)).T


def _projected(model: LlavaForConditionalGeneration, codes: Tensor) -> Callable[[Tensor], Tensor]:
    """Reads features through the projector."""
    return lambda features: read(model.model.multi_modal_projector(features), codes)


@torch.no_grad()
def _glance(
    model: LlavaForConditionalGeneration, reading: Callable[[Tensor], Tensor]
) -> dict[str, float]:
    """Share of right colours, shapes and counts on 64 pictures that are not trained on."""
    drawn = batch(np.random.default_rng(987_654_321), 64, crowded=0.0)
    said = reading(see(model, normalise(drawn.pixels)))
    here = drawn.meanings[..., 0] > 0.6
    first, middle = 1 + len(COLOURS), 1 + len(COLOURS) + len(SHAPES)

    def right(low: int, high: int) -> float:
        same = said[..., low:high].argmax(-1) == drawn.meanings[..., low:high].argmax(-1)
        return float(same[here].float().mean())

    counted = said[..., 0].sum(-1).round() == drawn.meanings[..., 0].sum(-1).round()
    assert len(ATTRIBUTES) == said.shape[-1]
    return {
        "colour": right(1, first),
        "shape": right(first, middle),
        "count": float(counted.float().mean()),
    }


def _follow(average: dict[str, Tensor], now: dict[str, nn.Parameter], keep: float) -> None:
    with torch.no_grad():
        for name, parameter in now.items():
            average[name].lerp_(parameter.detach(), 1 - keep)
