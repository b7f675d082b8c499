"""Fine-tuning teaches the conversation format that the engine sends, whatever the model's is."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from llava_tools.chat.formats import FORMATS, ConversationName
from llava_tools.chat.prompt import build, render
from llava_tools.core.requests import Message
from llava_tools.engine.tokenizer import Tokenizer
from llava_tools.finetune.dataset import IGNORED, tokenize
from tests.families import vocabularies
from tests.families.vocabularies import Vocabulary
from tests.strategies import make_image

CONVERSATION = (
    Message("user", (make_image(1), "What is in the picture?")),
    Message("assistant", ("A red circle.",)),
    Message("user", ("Is it red?",)),
    Message("assistant", ("Yes.",)),
)

#: What the model learns to write after each prompt.
TARGETS = {
    "chatml": ["A red circle.<|im_end|>", "Yes.<|im_end|>"],
    "llama3": ["A red circle.<|eot_id|>", "Yes.<|eot_id|>"],
    "phi3": ["A red circle.<|end|>", "Yes.<|end|>"],
}


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (vocabularies.qwen2, "chatml"),
        (vocabularies.smollm2, "chatml"),
        (vocabularies.llama3, "llama3"),
        (vocabularies.phi3, "phi3"),
    ],
)
def test_loss_is_on_what_the_model_generates_after_the_engines_prompts(
    make: Callable[[], Vocabulary], name: ConversationName, tmp_path: Path
) -> None:
    vocabulary = make()
    vocabulary.write(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    codec = Tokenizer(AutoTokenizer.from_pretrained(tmp_path), FORMATS[name])
    image = vocabulary.image_id
    example = tokenize(CONVERSATION, codec, image, image_tokens=3)

    assert example.ids.count(image) == 3
    runs = groupby(zip(example.ids, example.labels, strict=True), lambda pair: pair[1] != IGNORED)
    targets = [[token for token, _ in run] for is_target, run in runs if is_target]
    decode = vocabulary.tokenizer.decode
    texts = [
        decode(ids, skip_special_tokens=False).lstrip() for ids in targets
    ]  # Phi-3 adds a space
    assert texts == TARGETS[name]

    for number, ids in enumerate(targets):
        messages = CONVERSATION[: 2 * number + 1]
        pieces = build(messages, conversation=FORMATS[name])
        prompt = codec.tokenize(pieces, lambda _: [image] * 3)
        assert list(example.ids[: len(prompt)]) == prompt, render(pieces)
        assert list(example.ids[len(prompt) : len(prompt) + len(ids)]) == ids
