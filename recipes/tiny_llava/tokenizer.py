"""The embedded model's tokenizer: byte-level BPE, trained on the recipe's own text.

    python -m recipes.tiny_llava.tokenizer DIR    # writes DIR/tokenizer/, unless it is there

Digits and spaces are tokens of their own, so a word has the same tokens after a space, a quote or
a line break. Every byte is in the vocabulary, so any text survives. Text that only images show is
left out of the corpus: models read it better in short tokens.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from llava_tools.chat.formats import SYSTEM

from . import captions, questions, sample, tools
from .model import CONTEXT
from .things import Scene

#: Special tokens, in the order of their ids. `<s>` starts every encoded text.
SPECIAL = ("<unk>", "<s>", "</s>", "<pad>", "<image>")
#: What `AutoTokenizer` and LLaVA's processor read beside the vocabulary.
SETTINGS = {
    "tokenizer_class": "TokenizersBackend",
    "backend": "tokenizers",
    "bos_token": "<s>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
    "pad_token": "<pad>",
    "extra_special_tokens": ["<image>"],
    "model_max_length": CONTEXT,
    "padding_side": "left",
    "processor_class": "LlavaProcessor",
    "clean_up_tokenization_spaces": False,
}


def corpus(seed: int, pictures: int) -> Iterator[str]:
    """Yield training text: a question about each picture, captions, conversations with tools."""
    rng = np.random.default_rng((5, seed))
    for number in range(pictures):
        picture = sample.sample(rng)
        question = questions.ask(picture, rng)
        assert question is not None  # never without a kind
        yield f"USER: {questions.spoken(question, rng)} ASSISTANT:"
        if isinstance(picture, Scene):
            yield f" {question.answer}\n{captions.describe(picture, rng)}"
        if number % 4 == 0:
            conversation = tools.conversation(rng)
            yield from (SYSTEM, conversation.system)
            for request, answer in conversation.turns:
                yield f"USER: {request} ASSISTANT: {answer}"


def train_tokenizer(vocabulary: int = 1536, pictures: int = 8_000, seed: int = 0) -> Tokenizer:
    """Return a tokenizer with `vocabulary` tokens, special tokens and all 256 bytes included."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.Split(Regex(r"\s|[\p{L}\p{M}]+|[^\s\p{L}\p{M}]"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        min_frequency=3,
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus(seed, pictures), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 1)]
    )
    return tokenizer


def save_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """Write `tokenizer_config.json` and then `tokenizer.json` into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = json.dumps(SETTINGS, indent=2) + "\n"
    (folder / "tokenizer_config.json").write_text(settings, encoding="utf-8")
    tokenizer.save(str(folder / "tokenizer.json"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Train the embedded model's tokenizer.")
    parser.add_argument("folder", type=Path, help="DIR; writes DIR/tokenizer")
    target = parser.parse_args().folder / "tokenizer"
    if not (target / "tokenizer.json").exists():
        save_tokenizer(train_tokenizer(), target)
