"""The first stage: a LLaVA of a random CLIP and a random Llama, whose projector learns captions."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file
from transformers import CLIPModel, LlamaConfig, LlamaForCausalLM

from llava_tools import Llava
from llava_tools.engine.tokenizer import Tokenizer
from llava_tools.errors import ModelError, RequestError
from llava_tools.finetune import AlignOptions, TuneOptions, align, tune
from llava_tools.finetune.dataset import tokenize_caption
from llava_tools.finetune.records import read_captions
from tests.finetune.llama_tokenizer import make_tokenizer
from tests.finetune.official_preprocessing import IMAGE, preprocess_plain
from tests.original_layout import write_clip

CAPTIONS = {"red": "A red circle.", "blue": "the blue square.", "green": "Is it green"}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a CLIP, a language model, and three captions."""
    folder = tmp_path_factory.mktemp("align")
    write_clip(folder / "clip")
    write_language_model(folder / "llama")
    (folder / "images").mkdir()
    records = []
    for colour, caption in CAPTIONS.items():
        Image.new("RGB", (40, 30), colour).save(folder / "images" / f"{colour}.png")
        turns = [
            {"from": "human", "value": "Describe the image.\n<image>"},
            {"from": "gpt", "value": caption},
        ]
        records.append({"id": colour, "image": f"{colour}.png", "conversations": turns})
    (folder / "captions.json").write_text(json.dumps(records))
    return folder


def write_language_model(folder: Path, **changes: Any) -> None:
    """Write a random Llama with LLaVA's kind of tokenizer, without `<image>`."""
    tokenizer = make_tokenizer()
    torch.manual_seed(2)
    config = LlamaConfig(
        **{
            "vocab_size": len(tokenizer),
            "hidden_size": 64,
            "intermediate_size": 160,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "max_position_embeddings": 512,
            "bos_token_id": 1,
            "eos_token_id": 2,
        }
        | changes
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def options(base: Path, out: Path, **changes: Any) -> AlignOptions:
    defaults: dict[str, Any] = {"batch_size": 3, "warmup_ratio": 0.1, "learning_rate": 1e-2}
    return AlignOptions(
        vision=str(base / "clip"),
        model=str(base / "llama"),
        data=base / "captions.json",
        images=base / "images",
        out=out,
        device="cpu",
        dtype="float32",
        **defaults | changes,
    )


def losses(out: Path) -> list[float]:
    lines = (out.with_name(out.name + ".work") / "losses.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines]


def test_only_the_projector_learns_and_the_result_is_a_llava(base: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    align(options(base, out, epochs=20))
    first, *_, last = losses(out)
    assert last < first - 0.2
    trained = load_file(out / "model.safetensors")
    vision = CLIPModel.from_pretrained(base / "clip").vision_model.state_dict()
    language = LlamaForCausalLM.from_pretrained(base / "llama").state_dict()
    for name, weight in vision.items():
        assert torch.equal(trained[f"vision_tower.vision_model.{name}"], weight)
    for name, weight in language.items():
        rows = trained[f"language_model.{name}"][: weight.shape[0]]
        assert torch.equal(rows, weight)
    assert trained["multi_modal_projector.linear_1.weight"].shape == (64, 32)
    with Llava(str(out)) as model:
        answer = model.ask("What is it?", base / "images" / "red.png", max_tokens=2)
        assert answer.usage.image_tokens == 16


def test_the_result_is_tuned_by_the_second_stage(base: Path, tmp_path: Path) -> None:
    aligned, tuned = tmp_path / "aligned", tmp_path / "tuned"
    align(options(base, aligned, epochs=2))
    tune(
        TuneOptions(
            model=str(aligned),
            data=base / "captions.json",
            images=base / "images",
            out=tuned,
            device="cpu",
            dtype="float32",
            rank=4,
            alpha=8,
            batch_size=3,
            epochs=2,
            warmup_ratio=0.1,
        )
    )
    assert Llava(str(tuned)).ask("What?", base / "images" / "red.png", max_tokens=2).text != ""


def test_a_second_run_resumes_and_draws_the_same_projector(base: Path, tmp_path: Path) -> None:
    once, twice = tmp_path / "once", tmp_path / "twice"
    align(options(base, once, epochs=4))
    align(options(base, twice, epochs=4, micro_batch_size=1))
    assert losses(once) == pytest.approx(losses(twice), rel=1e-4)
    other = tmp_path / "other"
    align(options(base, other, epochs=1, seed=1, warmup_ratio=0.0))
    assert losses(other)[0] != losses(once)[0]


@given(st.text(min_size=1, max_size=40).filter(str.strip))
@settings(max_examples=50, deadline=None)
def test_labels_equal_the_official_preprocessing(caption: str) -> None:
    tokenizer = make_tokenizer()
    if any(token in caption for token in ("<image>", "</s>", "<s>", "<unk>")):
        return  # the official code reads these as structure
    example = tokenize_caption(caption, Tokenizer(tokenizer), IMAGE, 1)
    ids, labels = preprocess_plain(caption, tokenizer)
    assert (list(example.ids), list(example.labels)) == (ids, labels)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"image": None}, "has no image"),
        ({"conversations": 2}, "has 2 answers"),
        ({"image": "nowhere.png"}, "is not in"),
    ],
)
def test_a_record_that_is_no_caption_is_named(
    base: Path, tmp_path: Path, record: dict[str, Any], message: str
) -> None:
    item = json.loads((base / "captions.json").read_text())[0]
    if record.get("conversations") == 2:
        item["conversations"] *= 2
        item["conversations"][2] = {"from": "human", "value": "And?"}
    if "image" in record:
        item["image"] = record["image"]
    if item["image"] is None:
        item["conversations"][0]["value"] = "What?"
    data = tmp_path / "data.json"
    data.write_text(json.dumps([item]))
    with pytest.raises(RequestError, match=rf"record 0 \(id 'red'\).*{message}"):
        read_captions(data, base / "images")


def test_a_caption_needs_no_question(base: Path, tmp_path: Path) -> None:
    turns = [{"from": "human", "value": "<image>"}, {"from": "gpt", "value": "A circle."}]
    data = tmp_path / "data.json"
    data.write_text(json.dumps([{"image": "red.png", "conversations": turns}]))
    (record,) = read_captions(data, base / "images")
    assert record.turns == ("", "A circle.")


def test_parts_that_make_no_llava_are_refused(base: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(ModelError, match=r"vision tower .*llama.* is a 'llama' model, not a CLIP"):
        align(replace(options(base, out), vision=str(base / "llama")))
    with pytest.raises(ModelError, match=r"clip.* is a 'clip' model, not a language model"):
        align(replace(options(base, out), model=str(base / "clip")))
    assert not out.exists()


def test_defaults_are_the_official_ones() -> None:
    defaults = AlignOptions(vision="v", model="m", data=Path("d"), out=Path("o"))
    assert defaults.learning_rates == (0.0, 1e-3)
    assert (defaults.epochs, defaults.batch_size, defaults.warmup_ratio) == (1, 256, 0.03)
