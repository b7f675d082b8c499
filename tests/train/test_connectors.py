"""Connectors and stages: what learns when, and what is fresh."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from llava_tools.train.architecture import new_model, tiny_config
from llava_tools.train.connectors import COURSE, asked, connect, table, train
from llava_tools.train.tokenizer import train_tokenizer


@pytest.mark.parametrize("connector", ["MLP", "linear"])
@pytest.mark.parametrize("stages", [1, 2])
def test_connector_and_language_model_learn(connector: str, stages: int, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    tokenizer = train_tokenizer(vocabulary=500, questions=200)
    model = new_model(tiny_config(500, width=64, depth=1), seed=0)
    connect(model, connector)
    assert isinstance(model.model.multi_modal_projector, nn.Linear) == (connector == "linear")
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    course = replace(COURSE, pictures=1, questions=2)
    train(model, tokenizer, tmp_path, 0.01, stages, course)
    told = ["alignment.pt", "tuning.pt"] if stages == 2 else ["one.pt"]
    assert sorted(path.name for path in tmp_path.iterdir()) == told
    if stages == 2:
        alone = torch.load(tmp_path / "alignment.pt", weights_only=True)["weights"]
        assert alone
        assert all("multi_modal_projector" in name for name in alone)
    for name, parameter in model.named_parameters():
        learned = "multi_modal_projector" in name or "language_model" in name
        assert learned or torch.equal(parameter, before[name]), name
    moved = [name for name, p in model.named_parameters() if not torch.equal(p, before[name])]
    assert any("multi_modal_projector" in name for name in moved)
    assert any("language_model" in name for name in moved)
    figures = asked(model, tokenizer, pictures=2)
    assert 0 < figures["loss"] < 20
    assert "| loss |" in table({"a": figures, "b": figures})
