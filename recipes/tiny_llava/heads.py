"""Linear heads that read off the tower what patches say, and the losses of what is said."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from .batches import Batch
from .patches import ATTRIBUTES, GROUNDS, WIDE, loudnesses
from .wide.codes import EDGE, EDGES, GLYPHS, INDEX, KNOTS, ROLE, SLOTS
from .world import COLOURS, SHAPES

_SHARP = 8.0
"""Weights over characters, which are to reach one, are log-probabilities with this factor."""
_FAINT = 0.1
"""Weight of the squares of what tells characters, mean over patches."""

_EDGES = 100.0
"""Weight of how far off boxes' edges lie, for which :func:`distance` takes Huber's loss: an edge
that is off by a tenth of the picture's side costs 0.18."""


class Heads(nn.Module):
    """What covers each patch, read off the tower by linear layers.

    The outline is read early, after the second layer: shapes are put together from outlines.
    """

    sizes = (len(SHAPES) + 1, len(COLOURS) + 1, len(GROUNDS))

    def __init__(self, width: int) -> None:
        super().__init__()
        self.names = nn.Linear(width, sum(self.sizes))
        self.outline = nn.Linear(width, 49)
        self.codes = nn.Linear(width, len(ATTRIBUTES))

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
        """What the patches say, read off the tower in one linear step, against what they should.

        Characters and their numbers have to be told from each other, and to be faint elsewhere; all
        else is to be as near as can be.
        """
        told = self.codes(features)
        spelled = spelling_loss(told, drawn)
        letters, order = _slots(told)
        empty = (drawn.letters == 0).float()
        faint = (letters.square().sum(-1) + 3 * order.square().sum(-1) * empty).sum(-1).mean()
        apart = (told - drawn.meanings).square() * unspelled()
        missed = distance(apart.sum(-1), told, drawn.meanings, drawn.written)
        return spelled + _FAINT * faint + missed

    @torch.no_grad()
    def read(self, features: Tensor, drawn: Batch) -> dict[str, float]:
        """Shares of characters that are named right and put in the right order."""
        there = drawn.letters > 0
        letters, order = _slots(self.codes(features))
        return {
            "letter": float((letters.argmax(-1) + 1 == drawn.letters)[there].float().mean()),
            "order": float((order.argmax(-1) == drawn.order)[there].float().mean()),
        }

    @torch.no_grad()
    def right(self, features: Tensor, drawn: Batch) -> float:
        """Share of covered patches whose shape is named right."""
        shapes = self.names(features)[..., 1 : self.sizes[0]].argmax(-1) + 1
        return float((shapes == drawn.shapes)[drawn.shapes > 0].float().mean())


def distance(error: Tensor, told: Tensor, meanings: Tensor, written: Tensor) -> Tensor:
    """How far what patches tell is from what they should.

    The mean ``error`` (n, 64), in which a patch with a shape's or a character's middle counts more
    (``written`` is :attr:`Batch.written`), and the error of each picture's number of shapes: small
    false alarms in many patches spoil a count. Where the edges of a shape's box lie counts once
    more, as a place: the codes of edges are faint. ``told`` and ``meanings`` are weights over
    attributes, (n, 64, attributes).
    """
    weight = 1 + 5 * torch.maximum(meanings[..., 0], written)
    here, truth = told[..., 0], meanings[..., 0]
    missed = (here - truth).square().sum(-1)
    counted = (here.sum(-1) - truth.sum(-1)).square()
    number = 0.3 * ((missed + counted) / (1 + truth.sum(-1))).mean()
    off = (told - meanings)[..., WIDE + EDGE :].unflatten(-1, (len(EDGES), KNOTS))
    places = off @ torch.linspace(0, 1, KNOTS)
    apart = functional.huber_loss(places, torch.zeros_like(places), reduction="none", delta=0.02)
    edges = (apart.sum(-1) * truth).sum() / truth.sum().clamp(min=1)
    return (error * weight).sum() / weight.sum() + number + _EDGES * edges


def spelling_loss(told: Tensor, drawn: Batch) -> Tensor:
    """Mean cross-entropies of characters and of their numbers, from weights over attributes.

    A squared distance is content with a faint code of what is rare, and a character is rare. 0
    where nothing is written.
    """
    if not (drawn.letters > 0).any():
        return torch.zeros(())
    losses = [
        functional.cross_entropy(_SHARP * said[true >= 0], true[true >= 0])
        for said, true in zip(_slots(told), (drawn.letters - 1, drawn.order), strict=True)
    ]
    return torch.stack(losses).sum()


def _slots(told: Tensor) -> tuple[Tensor, Tensor]:
    """Weights of characters, (n, 64, 3, characters), and of their numbers, (n, 64, 3, numbers)."""
    letters = told[..., WIDE : WIDE + INDEX].unflatten(-1, (SLOTS, -1))
    order = told[..., WIDE + INDEX : WIDE + ROLE].unflatten(-1, (SLOTS, -1))
    return letters[..., : len(GLYPHS)], order


def unspelled() -> Tensor:
    """Squared loudness of all attributes but characters and their numbers, for which it is 0."""
    loudness = torch.from_numpy(loudnesses()).square()
    loudness[WIDE : WIDE + INDEX].view(SLOTS, -1)[:, : len(GLYPHS)] = 0
    loudness[WIDE + INDEX : WIDE + ROLE] = 0
    return loudness


def ridge(given: Tensor, sought: Tensor, weight: Tensor, ridge: float = 0.1) -> Tensor:
    """Weighted least squares with a constant, which is the last row of what is found."""
    given = torch.cat([given, torch.ones(len(given), 1)], dim=1)
    weighted = (given * weight[:, None]).T
    moment = weighted @ given + ridge * torch.eye(given.shape[1])
    found: Tensor = torch.linalg.solve(moment, weighted @ sought)
    return found
