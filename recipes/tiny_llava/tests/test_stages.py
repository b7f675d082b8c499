"""Every stage, for a few steps on a toy: the loss falls, a killed stage goes on, files load."""

import copy
import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from transformers import AutoProcessor, LlavaForConditionalGeneration

from recipes.tiny_llava import evaluate
from recipes.tiny_llava.architecture import new_model, tiny_config
from recipes.tiny_llava.batches import batch
from recipes.tiny_llava.checkpoint import Stage
from recipes.tiny_llava.conversations import Lesson, Writer, converse
from recipes.tiny_llava.draw import draw
from recipes.tiny_llava.export import export
from recipes.tiny_llava.eye import settle, train_eye
from recipes.tiny_llava.imagining import imagine
from recipes.tiny_llava.items import OWN
from recipes.tiny_llava.language import FIRST, WIDER, continue_language, train_language
from recipes.tiny_llava.loss import step_loss
from recipes.tiny_llava.optim import linear_decay, orthogonal
from recipes.tiny_llava.packing import pack
from recipes.tiny_llava.patches import ATTRIBUTES, centres, codebook, cover, meaning
from recipes.tiny_llava.team import Team
from recipes.tiny_llava.tune import TUNING, looking, tune
from recipes.tiny_llava.world import SHAPES, Scene, Shape, sample_scene


@pytest.fixture
def model() -> LlavaForConditionalGeneration:
    torch.set_num_threads(1)
    return new_model(tiny_config(500, width=64, depth=2), seed=0)


def losses(err: str) -> list[float]:
    """Losses of a stage's progress lines."""
    words = [line.split() for line in err.splitlines() if " step " in line]
    return [float(line[line.index("loss") + 1]) for line in words]


@pytest.mark.slow
def test_the_eye_learns_and_goes_on(
    model: LlavaForConditionalGeneration, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train_eye(model, tmp_path / "eye.pt", 0.08, size=4)
    first = torch.load(tmp_path / "eye.pt", weights_only=True)
    told = losses(capsys.readouterr().err)
    assert told[-1] < told[0]
    train_eye(model, tmp_path / "eye.pt", 0.1, size=4)
    again = torch.load(tmp_path / "eye.pt", weights_only=True)
    assert again["step"] > first["step"]
    assert again["elapsed"] > first["elapsed"]


@pytest.mark.slow
def test_an_eye_goes_on_in_the_wide_world(
    model: LlavaForConditionalGeneration,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    train_eye(model, tmp_path / "narrow.pt", 0.02, size=2)
    begun = torch.load(tmp_path / "narrow.pt", weights_only=True)
    settled: list[int] = []

    def note(*given: Any) -> None:
        settled.append(given[-1])
        settle(*given)

    monkeypatch.setattr("recipes.tiny_llava.eye.settle", note)
    train_eye(
        model, tmp_path / "wide.pt", 0.06, size=4, wide=0.7, rate=0.0, start=tmp_path / "narrow.pt"
    )
    assert settled == [2]
    assert "letter" in capsys.readouterr().err
    after = torch.load(tmp_path / "wide.pt", weights_only=True)["eye"]
    for name, value in begun["average"].items():
        assert torch.allclose(after[name], value, atol=1e-6), name


def test_who_does_not_lead_learns_from_other_pictures_and_writes_nothing(
    model: LlavaForConditionalGeneration, tmp_path: Path
) -> None:
    alike = [copy.deepcopy(model) for _ in range(2)]
    for rank, one in enumerate(alike):
        train_eye(one, tmp_path / f"{rank}.pt", 0.001, size=2, team=Team(rank))
    first, second = (dict(one.named_parameters()) for one in alike)
    assert any(not torch.equal(first[name], second[name]) for name in first)
    assert [path.name for path in tmp_path.iterdir()] == ["0.pt"]


@pytest.mark.slow
def test_a_language_model_goes_on_in_the_wide_world(tokenizer: Tokenizer, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    model = new_model(tiny_config(500, width=64, depth=2), seed=0)
    weights = {k: p.detach().clone() for k, p in model.model.language_model.named_parameters()}
    torch.save({"weights": weights}, tmp_path / "narrow.pt")

    def loss() -> float:
        rng = np.random.default_rng(9)
        scenes, features = imagine(64, wide=1.0)(rng, 4, 0)
        told = pack([converse(scene, Writer(tokenizer), rng, 6) for scene in scenes])
        with torch.no_grad():
            return float(step_loss(model, told, features))

    before = loss()
    lesson = Lesson(more=0.2)
    course = replace(WIDER, lesson=lambda _: lesson, pictures=2, questions=4, read=0.3)
    path = tmp_path / "language.pt"
    continue_language(model, tokenizer, path, 0.2, tmp_path / "narrow.pt", course, aloud=2)
    assert loss() < 0.8 * before


@pytest.mark.slow
def test_the_language_model_learns(tokenizer: Tokenizer, tmp_path: Path) -> None:
    torch.set_num_threads(1)  # of the width and depth that the start for copying needs
    model = new_model(tiny_config(500, width=256, depth=3), seed=0)

    def loss() -> float:
        rng = np.random.default_rng(9)
        scenes, features = imagine(256)(rng, 4, 0)
        told = pack([converse(scene, Writer(tokenizer), rng, 6) for scene in scenes])
        with torch.no_grad():
            return float(step_loss(model, told, features))

    before = loss()
    course = replace(FIRST, pictures=1, questions=4)
    train_language(model, tokenizer, tmp_path / "language.pt", 0.25, course)
    assert loss() < 0.7 * before


@pytest.mark.slow
def test_tuning_learns_and_leaves_the_eye_alone(
    model: LlavaForConditionalGeneration,
    tokenizer: Tokenizer,
    tmp_path: Path,
) -> None:
    def loss() -> float:
        rng = np.random.default_rng(9)
        scenes, features = looking(model)(rng, 4, 0)
        told = pack([converse(scene, Writer(tokenizer), rng, 6) for scene in scenes])
        with torch.no_grad():
            return float(step_loss(model, told, features))

    tower = {k: v.clone() for k, v in model.model.vision_tower.state_dict().items()}
    before = loss()
    lesson = Lesson(shown=1, length=200)  # long rows of tools would take most of the seconds
    course = replace(TUNING, lesson=lambda _: lesson, pictures=1, questions=4)
    tune(model, tokenizer, tmp_path / "tune.pt", 0.16, course)
    assert loss() < 0.85 * before
    for name, value in model.model.vision_tower.state_dict().items():
        assert torch.equal(value, tower[name])


def test_exported_files_load_and_answer(
    model: LlavaForConditionalGeneration, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    export(model, tokenizer, tmp_path)
    loaded = LlavaForConditionalGeneration.from_pretrained(tmp_path, dtype=torch.float32)
    for name, value in loaded.state_dict().items():
        assert torch.allclose(value, model.state_dict()[name], atol=1e-3), name
    assert AutoProcessor.from_pretrained(tmp_path).patch_size == 14
    trials = evaluate.examine(tmp_path, each=2)
    assert set(trials["own"]) == set(OWN)
    assert evaluate.table(trials).count("\n") == len(OWN) + 1


def test_a_stage_counts_its_lives_together(tmp_path: Path) -> None:
    stage = Stage("toy", tmp_path / "toy.pt", minutes=1)
    stage.step = 7
    stage.save(value=torch.ones(2))
    later = Stage("toy", tmp_path / "toy.pt", minutes=1)
    state = later.load()
    assert state is not None
    assert later.step == 7
    assert later.elapsed >= state["elapsed"] > 0


def test_the_rate_rises_holds_and_falls_to_nothing() -> None:
    assert linear_decay(0.0) < linear_decay(0.005) < linear_decay(0.1) == 1.0
    assert linear_decay(0.7) > linear_decay(0.9) > linear_decay(1.0) == 0.0


def test_muon_evens_out_singular_values() -> None:
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonal(torch.randn(24, 64), steps=5))
    assert values.min() > 0.3
    assert values.max() < 1.4


def test_patches_say_what_the_scene_holds() -> None:
    scene = Scene(
        (Shape("star", "red", 0.3, 0.3, 0.1), Shape("cross", "blue", 0.8, 0.7, 0.1)), None
    )
    weights = meaning(scene)
    assert weights[:, 0].sum() == pytest.approx(2)
    assert weights[2 * 8 + 2, ATTRIBUTES.index("red")] > 0.5
    assert weights[:, ATTRIBUTES.index("green")].sum() == 0
    assert weights[2 * 8 + 2, ATTRIBUTES.index("star")] > 0.5
    codes = codebook(256)
    loudness = (codes**2).sum(axis=1)
    assert np.allclose(codes @ codes.T, np.diag(loudness), atol=1e-5)
    assert np.allclose((weights @ codes) @ codes.T / loudness, weights, atol=1e-5)


def test_the_codes_of_checkpoints_stay() -> None:
    first = np.round(codebook(256)[:45].astype(np.float64), 4) + 0.0
    assert hashlib.sha256(first.tobytes()).hexdigest()[:16] == "1f6d3f0ebdb4bdee"


def test_cover_and_centres_agree_with_the_drawing() -> None:
    scene = Scene((Shape("square", "green", 0.5, 0.25, 0.2),), "white", 1.0, 0.5)
    drawing = draw(scene, np.random.default_rng(0), plain=True)
    assert centres(drawing) == pytest.approx(np.array([[0.5, 0.5]]), abs=0.02)
    labels = cover(drawing)
    assert labels.shapes.reshape(8, 8)[4, 4] == SHAPES.index("square") + 1
    assert labels.shapes.reshape(8, 8)[0].sum() == 0
    assert labels.mask.max() == 1.0
    drawn = batch(np.random.default_rng(0), 3)
    assert drawn.pixels.shape == (3, 112, 112, 3)
    assert len(sample_scene(np.random.default_rng(0), crowded=1.0).shapes) > 1
