"""The eye: the vision tower and the projector, trained on drawings with dense supervision.

Drawings go in; a tower and projector come out whose 64 patch features equal, as nearly as can be,
:func:`~llava_tools.train.patches.meaning` in the fixed codes on which the language model is
trained at the same time. Linear heads that name what covers each patch guide the tower, and are
thrown away afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import LlavaForConditionalGeneration

from .architecture import eye_shape, layers, normalise, see, text_width
from .checkpoint import TOLD, Stage, restore
from .draw import draw, square
from .optim import Optimizer, linear_decay
from .patches import ATTRIBUTES, GROUNDS, WIDE, codebook
from .sights import Drawn, draw_sight, drawn_meaning, sample_sight
from .team import Team
from .wide.codes import EDGE, EDGES, GLYPHS, INDEX, KNOTS, ROLE, SLOTS, glyph_labels
from .wide.things import MOST_GLYPHS
from .world import COLOURS, SHAPES, sample_scene

_SHARP = 8.0
"""Weights over characters, which are to reach one, are log-probabilities with this factor."""

_EDGES = 100.0
"""Weight of how far off boxes' edges lie, for which :func:`distance` takes Huber's loss: an edge
that is off by a tenth of the picture's side costs 0.18."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Drawn pictures and what their patches say.

    ``pixels`` (n, 112, 112, 3) uint8; ``meanings`` (n, 64, attributes) float; ``letters`` and
    ``order`` (n, 64, 3) int64 as :func:`~llava_tools.train.wide.codes.glyph_labels` has them; the
    others as in :class:`~llava_tools.train.patches.Cover`, (n, 64) int64 and (n, 64, 49) float.
    """

    pixels: Tensor
    meanings: Tensor
    letters: Tensor
    order: Tensor
    shapes: Tensor
    colours: Tensor
    grounds: Tensor
    mask: Tensor


def batch(
    rng: np.random.Generator,
    size: int,
    crowded: float = 0.5,
    plain: float = 0.0,
    wide: float = 0.0,
) -> Batch:
    """Draw ``size`` pictures, a share ``crowded`` of those of shapes grids full of them.

    A share ``wide`` shows writing, charts or pages. A share ``plain`` is shapes on white without
    textures, outlines or wear. Where shapes are as often lighter as darker than what is behind
    them, an edge tells nothing by itself, and an eye that starts there stays blind to shapes for
    long.
    """
    pixels, meanings, covers, glyphs = [], [], [], []
    for _ in range(size):
        drawn: Drawn
        if rng.random() < plain:
            drawn = draw(sample_scene(rng, crowded, white=True), rng, plain=True)
        else:
            drawn = draw_sight(sample_sight(rng, wide, crowded), rng)
        said, covered = drawn_meaning(drawn)
        pixels.append(np.asarray(square(drawn.picture)))
        meanings.append(said)
        covers.append(covered)
        glyphs.append(glyph_labels(said[:, WIDE:]))
    return Batch(
        torch.from_numpy(np.stack(pixels)),
        torch.from_numpy(np.stack(meanings)),
        *(torch.from_numpy(np.stack(labels)) for labels in zip(*glyphs, strict=True)),
        *(
            torch.from_numpy(np.stack([getattr(one, name) for one in covers]))
            for name in ("shapes", "colours", "grounds", "mask")
        ),
    )


class Heads(nn.Module):
    """What covers each patch, read off the tower by linear layers.

    The outline is read early, after the second layer: shapes are put together from outlines.
    """

    sizes = (len(SHAPES) + 1, len(COLOURS) + 1, len(GROUNDS))
    glyphs = len(GLYPHS) + 1

    def __init__(self, width: int) -> None:
        super().__init__()
        self.names = nn.Linear(width, sum(self.sizes))
        self.outline = nn.Linear(width, 49)
        self.letters = nn.Linear(width, SLOTS * self.glyphs)
        self.order = nn.Linear(width, SLOTS * MOST_GLYPHS)
        self.parts = nn.Linear(width, EDGE - ROLE)

    def forward(self, features: list[Tensor], drawn: Batch) -> Tensor:
        """Mean cross-entropies over patches of shape, colour, ground and outline, summed."""
        logits = self.names(features[-1]).flatten(0, 1).split(self.sizes, dim=-1)
        truth = (drawn.shapes, drawn.colours, drawn.grounds)
        shape, colour, ground = (
            functional.cross_entropy(said, true.flatten())
            for said, true in zip(logits, truth, strict=True)
        )
        early = features[min(1, len(features) - 1)]
        looked = drawn.mask.clamp_min(0)
        outlines = functional.binary_cross_entropy_with_logits(
            self.outline(early), looked, weight=(drawn.mask >= 0).float()
        )
        return shape + colour + 0.5 * ground + 2 * outlines

    def wide(self, features: Tensor, drawn: Batch) -> Tensor:
        """The same for characters, their order, and parts of charts and pages.

        Empty slots count little: there are many, and nothing is learned by calling all empty.
        """
        said = self.letters(features).view(-1, self.glyphs)
        rare = torch.full((self.glyphs,), 1.0)
        rare[0] = 0.1
        letters = functional.cross_entropy(said, drawn.letters.flatten(), weight=rare)
        if not (drawn.order >= 0).any():
            return letters
        orders = self.order(features).view(-1, MOST_GLYPHS)
        order = functional.cross_entropy(orders, drawn.order.flatten())
        parts = drawn.meanings[..., WIDE + ROLE : WIDE + EDGE]
        part = functional.binary_cross_entropy_with_logits(self.parts(features), parts)
        return letters + order + 2 * part

    @torch.no_grad()
    def read(self, features: Tensor, drawn: Batch) -> dict[str, float]:
        """Shares of characters that are named right and put in the right order."""
        there = drawn.letters > 0
        letters = self.letters(features).view(*there.shape, self.glyphs)[..., 1:].argmax(-1) + 1
        order = self.order(features).view(*there.shape, MOST_GLYPHS).argmax(-1)
        return {
            "letter": float((letters == drawn.letters)[there].float().mean()),
            "order": float((order == drawn.order)[there].float().mean()),
        }

    @torch.no_grad()
    def right(self, features: Tensor, drawn: Batch) -> float:
        """Share of covered patches whose shape is named right."""
        shapes = self.names(features)[..., 1 : self.sizes[0]].argmax(-1) + 1
        return float((shapes == drawn.shapes)[drawn.shapes > 0].float().mean())


def train_eye(
    model: LlavaForConditionalGeneration,
    path: Path,
    minutes: float,
    *,
    size: int = 24,
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
    optimizer = Optimizer([*eye.items(), *heads.named_parameters()], rate)
    average = {name: p.detach().clone() for name, p in eye.items()}
    if (state := stage.load()) is not None:
        load_eye(model, state["eye"])
        heads.load_state_dict(state["heads"])
        optimizer.load(state["optimizer"])
        average = state["average"]
    elif start is not None:
        begun = torch.load(start, weights_only=True)
        load_eye(model, begun["average"])
        # An eye of the narrow world has no heads for writing; those start anew.
        heads.load_state_dict(begun["heads"], strict=False)
        average = {name: p.detach().clone() for name, p in eye.items()}
    done = stage.done
    while done < 1:
        rng = np.random.default_rng((seed + team.rank, stage.step))
        plain = 0.03 if start else max(0.05, min(1.0, 1.0 - (stage.step - 150) / 300))
        crowded = 0.65 + 0.25 * plain if done < 0.65 else 0.35
        drawn = batch(rng, size, crowded, plain, wide)
        features = layers(model, normalise(drawn.pixels))
        said = model.model.multi_modal_projector(features[-1])
        named = heads(features, drawn)
        if wide:
            named = named + heads.wide(features[-1], drawn) + spelling_loss(said, drawn, codes)
        missed = distance(said, drawn.meanings, codes)
        (named + missed).backward()
        optimizer.step(linear_decay(done))
        stage.step += 1
        done = team.meet(stage.step, [*eye.values(), *heads.parameters()], stage.done)
        _follow(average, eye, min(0.99, stage.step / (stage.step + 20)))
        if stage.step % TOLD == 0 and team.leads:
            figures = {"loss": float(missed.detach()), "named": float(named.detach())}
            figures["cover"] = heads.right(features[-1].detach(), drawn)
            if wide:
                figures |= heads.read(features[-1].detach(), drawn)
                letters, there = _told(said.detach(), codes)[0], drawn.letters > 0
                same = letters.argmax(-1) + 1 == drawn.letters
                figures["told"] = float(same[there].float().mean())
            stage.tell(figures | (_glance(model, codes) if stage.step % 100 == 0 else {}))
        if team.leads and (stage.due or done >= 1):
            current = {name: p.detach() for name, p in eye.items()}
            stage.save(
                eye=current, average=average, heads=heads.state_dict(), optimizer=optimizer.state()
            )


def distance(said: Tensor, meanings: Tensor, codes: Tensor) -> Tensor:
    """How far projected patches are from their codes.

    The mean squared distance, in which a patch with a shape's or a character's middle counts more,
    and the error of each
    picture's number of shapes: small false alarms in many patches spoil a count. Where the edges of
    a shape's box lie counts once more, as a place: the codes of edges are faint.
    """
    error = (said - meanings @ codes).square().sum(-1)
    there = meanings[..., WIDE + INDEX : WIDE + ROLE].sum(-1)
    weight = 1 + 5 * torch.maximum(meanings[..., 0], there.clamp(max=1))
    here = read(said, codes[:1])[..., 0]
    truth = meanings[..., 0]
    missed = (here - truth).square().sum(-1)
    counted = (here.sum(-1) - truth.sum(-1)).square()
    number = 0.3 * ((missed + counted) / (1 + truth.sum(-1))).mean()
    first = WIDE + EDGE
    off = read(said, codes[first:]) - meanings[..., first:]
    places = off.unflatten(-1, (len(EDGES), KNOTS)) @ torch.linspace(0, 1, KNOTS)
    apart = functional.huber_loss(places, torch.zeros_like(places), reduction="none", delta=0.02)
    edges = (apart.sum(-1) * truth).sum() / truth.sum().clamp(min=1)
    return (error * weight).sum() / weight.sum() + number + _EDGES * edges


def spelling_loss(said: Tensor, drawn: Batch, codes: Tensor) -> Tensor:
    """Mean cross-entropies of characters and of their order as projected patches tell them.

    A squared distance alone is content with a faint code of what is rare, and a character is rare.
    0 where nothing is written.
    """
    if not (drawn.letters > 0).any():
        return torch.zeros(())
    losses = [
        functional.cross_entropy(_SHARP * told[true >= 0], true[true >= 0])
        for told, true in zip(_told(said, codes), (drawn.letters - 1, drawn.order), strict=True)
    ]
    return torch.stack(losses).sum()


def _told(said: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
    """Weights of characters, (n, 64, 3, characters), and of their numbers, in projected patches."""
    slots = read(said, codes[WIDE : WIDE + INDEX]).unflatten(-1, (SLOTS, -1))
    orders = read(said, codes[WIDE + INDEX : WIDE + ROLE]).unflatten(-1, (SLOTS, -1))
    return slots[..., : len(GLYPHS)], orders


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


@torch.no_grad()
def _glance(model: LlavaForConditionalGeneration, codes: Tensor) -> dict[str, float]:
    """Share of right colours, shapes and counts on 64 pictures that are not trained on."""
    drawn = batch(np.random.default_rng(987_654_321), 64, crowded=0.0)
    said = read(model.model.multi_modal_projector(see(model, normalise(drawn.pixels))), codes)
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
