from __future__ import annotations

import json
from pathlib import Path

import pytest

from llava_tools.finetune.records import read_records
from recipes.drawn_world import KINDS, RENDERERS, Renderer, draw_example, write_dataset


@pytest.mark.parametrize(
    ("kind", "renderer"), [(kind, renderer) for renderer in RENDERERS for kind in KINDS[renderer]]
)
def test_every_kind_has_an_image_a_question_and_an_answer(kind: str, renderer: Renderer) -> None:
    example = draw_example(kind, 0, renderer)
    assert example.kind == kind
    assert example.image.mode == "RGB"
    assert example.question.strip()
    assert example.answer.strip()


def test_an_example_is_repeatable_and_seeds_differ() -> None:
    first, again, other = (draw_example("colour", seed) for seed in (1, 1, 2))
    assert first.image.tobytes() == again.image.tobytes()
    assert (first.question, first.answer) == (again.question, again.answer)
    assert first.image.tobytes() != other.image.tobytes()


@pytest.mark.parametrize("renderer", RENDERERS)
@pytest.mark.parametrize("seed", range(10))
def test_objects_lie_in_the_image_and_answer_the_question(seed: int, renderer: Renderer) -> None:
    example = draw_example("count", seed, renderer)
    assert len(example.objects) == int(example.answer)
    width, height = example.image.size
    for drawn in example.objects:
        left, top, right, bottom = drawn.box
        assert -2 <= left < right <= width + 2
        assert -2 <= top < bottom <= height + 2
    colour = draw_example("colour", seed, renderer)
    assert colour.answer in {drawn.colour for drawn in colour.objects}


@pytest.mark.parametrize("renderer", RENDERERS)
@pytest.mark.parametrize("seed", range(8))
def test_a_question_is_about_the_objects_that_it_names(seed: int, renderer: Renderer) -> None:
    colour = draw_example("colour", seed, renderer)
    named = [colour.objects[index] for index in colour.about]
    assert {drawn.colour for drawn in named} == {colour.answer}
    assert len({drawn.shape for drawn in named}) == 1
    shape = draw_example("shape", seed, renderer)
    named = [shape.objects[index] for index in shape.about]
    assert {drawn.shape for drawn in named} == {shape.answer}
    assert len({drawn.colour for drawn in named}) == 1
    assert bool(draw_example("exist", seed, renderer).about) == (
        draw_example("exist", seed, renderer).answer == "yes"
    )
    assert draw_example("count", seed, renderer).about == ()


def test_unknown_kinds_are_refused() -> None:
    with pytest.raises(ValueError, match="There is no kind 'smell'"):
        draw_example("smell", 0)
    with pytest.raises(ValueError, match="There is no kind"):
        draw_example("stamp's word", 0, "evaluation")
    with pytest.raises(ValueError, match="There is no renderer 'oil'"):
        draw_example("colour", 0, "oil")  # type: ignore[arg-type]


def test_a_dataset_is_read_by_the_trainer(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "d", ["colour", "shape"], 5, first_seed=3)
    records = read_records(data, tmp_path / "d" / "images")
    assert len(records) == 5
    example = draw_example("shape", 4)
    assert records[1].turns == (example.question, example.answer)
    assert [item["id"] for item in json.loads(data.read_text())][:2] == ["colour 3", "shape 4"]
