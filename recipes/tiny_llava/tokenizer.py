"""The embedded model's tokenizer: byte-level BPE, trained on the questions' own words.

Digits and spaces are tokens of their own, so a name is tokenised alike after a space, a quote or
a line break; every byte is in the vocabulary, so any text goes through unharmed. Special tokens
are ``<unk>`` 0, ``<s>`` 1, ``</s>`` 2, ``<pad>`` 3, ``<image>`` 4, and ``<s>`` is put in front.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from llava_tools.chat.formats import SYSTEM

from .lexicon import WORDS
from .manners import spoken
from .questions import ask
from .world import sample_scene

SPECIAL = ("<unk>", "<s>", "</s>", "<pad>", "<image>")
CONTEXT = 2048


def corpus(seed: int, questions: int = 12_000) -> Iterator[str]:
    """Training text: questions as spoken, the system sentence, JSON of random words."""
    rng = np.random.default_rng(seed)
    for index in range(questions):
        question = ask(sample_scene(rng), rng)
        yield f"USER: {spoken(question, rng)} ASSISTANT: {question.answer}"
        if index % 8 == 0:
            yield SYSTEM
            yield call(rng)


def call(rng: np.random.Generator) -> str:
    """A JSON object in the manner of tool calls and their schemas, made of random words."""
    words = [WORDS[int(i)] for i in rng.integers(len(WORDS), size=6)]
    values: list[object] = [words[2], int(rng.integers(1000)), bool(rng.random() < 0.5), [words[3]]]
    value = values[int(rng.integers(len(values)))]
    schema = {"type": ("string", "integer", "number", "boolean", "array")[int(rng.integers(5))]}
    told = {"name": words[0], "arguments": {f"{words[1]}_{words[4]}": value, words[5]: schema}}
    if rng.random() < 0.5:
        told = {
            "type": "function",
            "function": {
                "name": f"{words[0]}_{words[1]}",
                "description": " ".join(words),
                "parameters": {
                    "type": "object",
                    "properties": {words[2]: schema},
                    "required": [words[2]],
                },
            },
        }
    return json.dumps(told)


def train_tokenizer(seed: int = 5, vocabulary: int = 1536, questions: int = 12_000) -> Tokenizer:
    """Train on ``questions`` questions; ``vocabulary`` counts special tokens and all bytes."""
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
    tokenizer.train_from_iterator(corpus(seed, questions), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 1)]
    )
    return tokenizer


def save_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """Write ``tokenizer.json`` and the configuration that ``AutoTokenizer`` reads beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
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
    (folder / "tokenizer_config.json").write_text(
        json.dumps(settings, indent=2) + "\n", encoding="utf-8"
    )
