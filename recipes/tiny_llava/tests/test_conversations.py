"""Packed conversations are computed as if each stood alone; only the assistant is learned from."""

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from torch.nn import functional
from transformers import LlavaForConditionalGeneration

from llava_tools.chat.formats import SYSTEM
from recipes.tiny_llava.architecture import new_model, normalise, see, tiny_config
from recipes.tiny_llava.conversations import Writer, converse
from recipes.tiny_llava.loss import step_loss
from recipes.tiny_llava.packing import IGNORED, IMAGE, Branch, pack
from recipes.tiny_llava.world import sample_scene


@pytest.fixture(scope="module")
def writer(tokenizer: Tokenizer) -> Writer:
    return Writer(tokenizer)


@pytest.fixture(scope="module")
def model() -> LlavaForConditionalGeneration:
    untrained = new_model(tiny_config(500, width=64, depth=2), seed=0)
    untrained.eval()
    return untrained


def alone(
    model: LlavaForConditionalGeneration, branch: Branch, pixels: torch.Tensor
) -> list[float]:
    """Losses of what the assistant says, through the whole model, without packing."""
    logits = model(input_ids=torch.tensor([branch.ids]), pixel_values=pixels).logits[0]
    spots = [index for index, said in enumerate(branch.said) if said]
    truth = torch.tensor([branch.ids[index] for index in spots])
    before = logits[[index - 1 for index in spots]]
    return functional.cross_entropy(before, truth, reduction="none").tolist()


@torch.no_grad()
def test_packing_changes_nothing(model: LlavaForConditionalGeneration, writer: Writer) -> None:
    rng = np.random.default_rng(0)
    rows = [converse(sample_scene(rng), writer, rng, count) for count in (5, 2)]
    pixels = normalise(torch.from_numpy(rng.integers(0, 255, (1, 112, 112, 3), dtype=np.uint8)))
    features = model.model.multi_modal_projector(see(model, pixels)).expand(2, -1, -1)
    packed = float(step_loss(model, pack(rows), features))
    losses = [loss for row in rows for branch in row for loss in alone(model, branch, pixels)]
    assert packed == pytest.approx(sum(losses) / len(losses), rel=1e-4)


def test_only_the_assistants_words_are_learned(writer: Writer, tokenizer: Tokenizer) -> None:
    turns = [("What colour is the star?", "red"), ("Is there a circle?", "no")]
    told = pack([[writer.branch(turns, SYSTEM)]])
    learned = told.labels[0][told.labels[0] != IGNORED].tolist()
    assert tokenizer.decode(learned, skip_special_tokens=False) == " red</s> no</s>"


def test_the_prompt_is_the_official_conversation(writer: Writer, tokenizer: Tokenizer) -> None:
    branch = writer.branch([("What colour is the star?", "red"), ("And now?", "no")], SYSTEM)
    text = tokenizer.decode(branch.ids, skip_special_tokens=False)
    assert branch.ids.count(IMAGE) == 64
    assert text.replace("<image>" * 64, "<image>") == (
        f"<s>{SYSTEM} USER: <image>\nWhat colour is the star? ASSISTANT: red</s>"
        "USER: And now? ASSISTANT: no</s>"
    )
