"""The loop, the optimizer and the CLIP stage on very small models."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from recipes.tiny_llava import clip, loop
from recipes.tiny_llava.model import PAD, TEXT_CONTEXT, new_clip
from recipes.tiny_llava.optim import MuonAdamW
from recipes.tiny_llava.tokenizer import train_tokenizer


def _loss(module: nn.Linear) -> loop.Loss:
    def loss(rng: np.random.Generator, done: float) -> tuple[Tensor, dict[str, float]]:
        given = torch.from_numpy(rng.normal(size=(16, 4)).astype(np.float32))
        value = (module(given) - given.sum(1, keepdim=True)).square().mean()
        return value, {"done": done}

    return loss


def _module() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(4, 1)


def test_training_lowers_the_loss_and_logs_it(tmp_path: Path) -> None:
    module = _module()
    loop.train("line", tmp_path, module, _loss(module), steps=100, rate=0.3)
    lines = [json.loads(line) for line in (tmp_path / "line.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [25, 50, 75, 100]
    assert lines[-1]["loss"] < 0.2 * lines[0]["loss"]


def test_a_killed_run_resumes_to_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "SAVE_SECONDS", -1.0)
    whole, broken = _module(), _module()
    loop.train("whole", tmp_path, whole, _loss(whole), steps=40, rate=0.1)
    inner = _loss(broken)

    def killed(rng: np.random.Generator, done: float) -> tuple[Tensor, dict[str, float]]:
        if done >= 0.5:
            raise KeyboardInterrupt
        return inner(rng, done)

    with pytest.raises(KeyboardInterrupt):
        loop.train("broken", tmp_path, broken, killed, steps=40, rate=0.1)
    resumed = _module()
    loop.train("broken", tmp_path, resumed, _loss(resumed), steps=40, rate=0.1)
    assert torch.equal(whole.weight, resumed.weight)


def test_the_rate_rises_stays_and_falls_to_zero() -> None:
    factors = [loop.learning_rate_factor(done) for done in (0.0, 0.005, 0.2, 0.7, 1.0)]
    assert factors == pytest.approx([0.02, 0.5, 1.0, 0.5, 0.0])


def test_muon_takes_the_matrices_and_leaves_embeddings() -> None:
    named = {
        "linear.weight": nn.Parameter(torch.ones(4, 4)),
        "embed_tokens.weight": nn.Parameter(torch.ones(4, 4)),
        "norm.weight": nn.Parameter(torch.ones(4)),
    }
    muon, adam = MuonAdamW(named.items(), 0.1).state_dict()
    assert len(muon["param_groups"][0]["params"]) == 1
    assert len(adam["param_groups"][0]["params"]) == 2


@pytest.mark.parametrize("done", [0.0, 0.5, 0.95])
def test_a_step_of_the_clip_stage_has_gradients_everywhere(
    done: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clip, "BATCH", 12)
    tokenizer = train_tokenizer(pictures=60)
    module = clip.Pretraining(new_clip(tokenizer.get_vocab_size(), width=64, depth=2))
    batch = clip.make_batch(np.random.default_rng(3), done, tokenizer)
    assert batch.match.diagonal().all()
    assert batch.texts.shape[1] <= TEXT_CONTEXT
    assert (batch.texts == PAD).any(1).all()
    loss, figures = module.loss(batch)
    loss.backward()
    assert torch.isfinite(loss)
    assert 0 <= figures["found"] <= 1
    silent = [name for name, p in module.named_parameters() if p.grad is None]
    assert silent == []
