"""Captions are true of their scenes and claim it; descriptions name all that is there."""

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from recipes.tiny import sample
from recipes.tiny.captions import Caption, Claim, caption, describe
from recipes.tiny.tests.test_questions import named
from recipes.tiny.things import Chart, Scene, Shape

seeds = st.integers(0, 2**32)
SCENE = Scene(
    "green",
    shapes=(
        Shape("circle", "red", 0.2, 0.2, 0.1),
        Shape("star", "blue", 0.5, 0.5, 0.1),
        Shape("star", "blue", 0.8, 0.8, 0.1),
    ),
)


@given(seeds)
@settings(max_examples=100, deadline=None)
def test_captions_hold_for_their_scene(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scene = sample.sample_scene(rng)
    told = caption(scene, rng)
    assert told.text
    assert told.holds(scene)


def test_claims_fail_for_changed_scenes() -> None:
    told = Caption("two blue stars on green", (Claim("blue", "star", 2, 2),), "green")
    assert told.holds(SCENE)
    assert not told.holds(replace(SCENE, background="white"))
    assert not told.holds(replace(SCENE, shapes=SCENE.shapes[:2]))
    assert Caption("a star", (Claim(None, "star", 1, 99),)).holds(SCENE)


@given(seeds, st.sampled_from((0.0, 1.0)))
@settings(max_examples=60, deadline=None)
def test_descriptions_name_everything(seed: int, crowded: float) -> None:
    rng = np.random.default_rng(seed)
    scene = sample.sample_scene(rng, crowded)
    text = describe(scene, rng)
    colours, kinds = named(text)
    shown = {s.colour for s in scene.shapes}
    assert shown <= set(colours) <= shown | {scene.background}
    assert {s.kind for s in scene.shapes} == set(kinds)
    assert len(text.split()) < 60
    assert len(kinds) == len(scene.shapes) or len(scene.shapes) > 8
    for other in (sample.sample_chart(rng), sample.sample_page(rng), sample.sample_writing(rng)):
        text = describe(other, rng)
        labels = () if isinstance(other, Chart) else ("label",)
        assert all(line.text in text for line in other.lines if line.role not in labels)
