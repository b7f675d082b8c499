"""All kinds of pictures behind one set of functions: shapes, writing, charts and pages.

What there is to see is a :data:`Sight`; drawn, it is a :data:`Drawn`. The functions here do for
any of them what :mod:`~recipes.tiny_llava.world`, :mod:`~recipes.tiny_llava.draw` and
:mod:`~recipes.tiny_llava.patches` do for shapes.
"""

from __future__ import annotations

import numpy as np

from .draw import Drawing, draw
from .patches import Cover, centres, cover, meaning, wide_cover, wide_meaning
from .questions import ask
from .wide.cells import Floats
from .wide.questions import ask_box_or_caption, ask_wide
from .wide.render import Sheet, draw_wide
from .wide.sample import sample_chart, sample_crowd, sample_page, sample_writing
from .wide.things import Wide
from .words import Question
from .world import Scene, sample_scene

Sight = Scene | Wide
Drawn = Drawing | Sheet

WRITING, CHARTS = 0.6, 0.4
"""Share of writing among what is not shapes, and of charts among the rest; the others are pages."""
FULL = 0.85
"""The most pictures full of characters among writing."""


def sample_sight(
    rng: np.random.Generator,
    wide: float = 0.5,
    crowded: float = 0.0,
    writing: float = WRITING,
) -> Sight:
    """Something to see: writing, a chart or a page with probability ``wide``, else shapes.

    A share ``writing`` of what is not shapes is writing alone.
    ``crowded`` is the share of grids among shapes; among writing, twice as many pictures are full
    of it, up to ``FULL``: a word alone has few characters to learn from.
    """
    if rng.random() >= wide:
        return sample_scene(rng, crowded)
    if rng.random() < writing:
        full = rng.random() < min(FULL, 2 * crowded)
        return sample_crowd(rng) if full else sample_writing(rng)
    return sample_chart(rng) if rng.random() < CHARTS else sample_page(rng)


def draw_sight(sight: Sight, rng: np.random.Generator) -> Drawn:
    """Draw it with the first renderer in a random manner."""
    return draw(sight, rng) if isinstance(sight, Scene) else draw_wide(sight, rng)


def sight_meaning(sight: Sight) -> Floats:
    """What the patches should say of it, were it drawn: (64, attributes) float32 in 0–1."""
    return meaning(sight) if isinstance(sight, Scene) else wide_meaning(sight)


def drawn_meaning(drawn: Drawn) -> tuple[Floats, Cover]:
    """What the patches of a drawing should say, and what covers them."""
    if isinstance(drawn, Sheet):
        said = wide_meaning(drawn.scene, drawn)
        return said, wide_cover(drawn.scene, said)
    covered = cover(drawn)
    return meaning(drawn.scene, centres(drawn), covered.shares), covered


def ask_sight(sight: Sight, rng: np.random.Generator, more: float = 0.0) -> Question:
    """A random question about it; about shapes, a share ``more`` asks for boxes and captions."""
    if not isinstance(sight, Scene):
        return ask_wide(sight, rng)
    further = ask_box_or_caption(sight, rng) if rng.random() < more else None
    return further or ask(sight, rng)
