"""The tokenizer's rules, and what the language model is pre-trained on."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from transformers import AutoTokenizer

from llava_tools.chat import prompt
from llava_tools.core.requests import Message
from llava_tools.engine.tokenizer import Tokenizer
from llava_tools.finetune.dataset import IGNORED
from llava_tools.images import open_image
from recipes.tiny_llava import cells, language, loop, model, questions, sample, tokenizer


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    folder = tmp_path_factory.mktemp("tokenizer")
    tokenizer.save_tokenizer(tokenizer.train_tokenizer(600, pictures=300), folder)
    return Tokenizer(AutoTokenizer.from_pretrained(folder))


@given(text=st.text(max_size=40), word=st.sampled_from(["picture", "get_weather", "Ωmega"]))
def test_tokenizer(engine: Tokenizer, text: str, word: str) -> None:
    assert engine.decode(engine.encode(text)) == text
    for before in (" ", '"', "(", "\n", "7", "\t "):
        assert engine.encode(before + word) == engine.encode(before) + engine.encode(word)
    assert engine.tokenizer.tokenize("20  48") == ["2", "0", "Ġ", "Ġ", "4", "8"]
    assert engine.tokenizer("<image></s><pad>").input_ids == [1, model.IMAGE, model.END, model.PAD]


def test_features_are_a_sum_to_which_class_0_adds_nothing(engine: Tokenizer) -> None:
    symbols, sizes = language.Symbols(engine, 8), list(cells.GROUPS.values())
    words = torch.randn(len(engine.tokenizer), 8)
    labels = torch.zeros(1, model.IMAGE_TOKENS, len(sizes), dtype=torch.int64)
    labels[0, 5, 1:4] = torch.tensor([1, 4, 1])  # red, on yellow, a middle
    own = symbols.label_embedding[[sizes[0] + 1, sum(sizes[:2]) + 4, sum(sizes[:3]) + 1]]
    expected = symbols.place_embedding.clone()
    expected[5] += own.sum(0) + sum(words[engine.encode(name)[0]] for name in ("red", "yellow"))
    torch.testing.assert_close(symbols(labels, words)[0], expected)


def test_targets_follow_the_prompts_of_the_engine(engine: Tokenizer) -> None:
    image = open_image(Image.new("RGB", (8, 8)))
    tokens = language.Writer(engine).tokenize([("what?", "a red 7"), ("and?", "no")])
    messages = [Message("user", (image, "what?")), Message("assistant", ("a red 7",))]
    messages += [Message("user", ("and?",))]
    for end, answer in ((1, "a red 7"), (3, "no")):
        ids = engine.tokenize(prompt.build(messages[:end]), lambda _: [4] * 64)
        target = [*engine.encode_answer(answer), engine.end_of_turn]
        assert list(tokens.ids[: len(ids) + len(target)]) == ids + target
        assert list(tokens.labels[len(ids) - 1 : len(ids) + len(target)]) == [IGNORED, *target]


def test_questions_of_one_row_do_not_see_each_other(engine: Tokenizer) -> None:
    small = model.new_language_model(len(engine.tokenizer), width=32, depth=2)
    module = language.Pretraining(small, language.Writer(engine))
    writer, labels = language.Writer(engine), cells.labels(sample.sample(np.random.default_rng(1)))
    alone = [writer.tokenize([turn]) for turn in (("what?", "red"), ("and how many?", "7"))]
    rows = [language.pack("picture", ("one", "two"), alone, labels)]
    rows += [language.pack("picture", ("one",), [tokens], labels) for tokens in alone]
    together, *apart = [module.score([row], np.random.default_rng(0)) for row in rows]
    for (loss, _), ((single, _),) in zip(together, apart, strict=True):
        torch.testing.assert_close(loss, single, atol=1e-5, rtol=1e-5)


def test_all_kinds_are_taught_in_the_end() -> None:
    assert sorted(language.LESSONS) == sorted(questions.KINDS)
    rng = np.random.default_rng(0)
    first = {q.kind for _ in range(20) for q in language.ask(rng, 0.0)[1]}
    assert first <= set(language.LESSONS[:4])
    late = {q.kind for _ in range(200) for q in language.ask(rng, 1.0)[1]}
    assert len(late) > 20


def test_some_labels_are_wrong() -> None:
    labels = np.repeat([[0], [1]], 2000, axis=0) * np.ones(len(cells.GROUPS), np.int64)
    changed = language.perturb(labels, np.random.default_rng(0)) != labels
    assert not changed[:2000].any()
    assert 0.02 < changed[2000:].mean() < 0.03


def test_ten_steps_lower_the_loss(engine: Tokenizer, tmp_path: Path) -> None:
    small = model.new_language_model(len(engine.tokenizer), width=32, depth=1)
    module = language.Pretraining(small, language.Writer(engine))
    before, figures = module.loss(np.random.default_rng(5), 1.0)
    assert {"picture loss", "caption loss", "tools loss", "describe right"} <= set(figures)
    loop.train("language", tmp_path, module, module.loss, steps=10, rate=5e-3)
    assert module.loss(np.random.default_rng(5), 1.0)[0] < before - 0.3
