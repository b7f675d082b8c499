"""Training goes on from a model's files, also where these have fewer heads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer
from transformers import LlavaForConditionalGeneration

from llava_tools.train import tiny, widen
from llava_tools.train.architecture import new_model, tiny_config
from llava_tools.train.checkpoint import restore, write_whole
from llava_tools.train.export import export
from llava_tools.train.eye import eye_parameters, load_eye, train_eye
from llava_tools.train.heads import Heads
from llava_tools.train.tokenizer import save_tokenizer


@pytest.mark.parametrize("heads", [4, 8])
def test_a_model_begun_from_files_answers_as_they_do(
    tokenizer: Tokenizer, tmp_path: Path, heads: int
) -> None:
    config = tiny_config(tokenizer.get_vocab_size())
    text: Any = config.text_config
    text.num_attention_heads = text.num_key_value_heads = heads
    export(new_model(config, seed=3), tokenizer, tmp_path / "files")
    work = tmp_path / "work"
    widen.main(["--work", str(work), "begin", "--from", str(tmp_path / "files")])
    model = tiny.start(work)
    load_eye(model, torch.load(work / "eye-begun.pt", weights_only=True)["average"])
    spoken = torch.load(work / "language-begun.pt", weights_only=True)["weights"]
    restore(dict(model.model.language_model.named_parameters()), spoken)
    files = LlavaForConditionalGeneration.from_pretrained(tmp_path / "files", dtype=torch.float32)
    asked = {
        "input_ids": torch.tensor([[1, *[4] * 64, 9, 8, 7]]),
        "pixel_values": torch.randn(1, 3, 112, 112),
    }
    with torch.no_grad():
        assert torch.allclose(model(**asked).logits, files(**asked).logits, atol=1e-4)


def test_what_is_kept_can_be_joined_and_gone_on_from(tmp_path: Path, tokenizer: Tokenizer) -> None:
    work, kept = tmp_path / "work", tmp_path / "kept"
    work.mkdir()
    save_tokenizer(tokenizer, work)
    model = tiny.start(work)
    eye = {name: p.detach() for name, p in eye_parameters(model).items()}
    spoken = {n: p.detach() for n, p in model.model.language_model.named_parameters()}
    heads = Heads(256).state_dict()
    write_whole({"average": eye, "heads": heads, "eye": eye, "step": 3}, work / "eye.pt")
    write_whole({"weights": spoken, "optimizer": {}}, work / "language.pt")
    widen.main(["--work", str(work), "keep", "--out", str(kept)])
    assert {path.name for path in kept.iterdir()} == {"tokenizer.json", "eye.pt", "language.pt"}
    joined = dict(tiny.joined(kept).named_parameters())
    for name, parameter in model.named_parameters():
        assert torch.allclose(joined[name], parameter, atol=2e-3), name
    train_eye(tiny.start(kept), tmp_path / "eye.pt", 0.01, size=2, wide=0.5, start=kept / "eye.pt")
    assert (tmp_path / "eye.pt").exists()
