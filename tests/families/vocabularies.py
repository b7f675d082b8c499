"""Tokenizers of the kinds that the checkpoints have, trained on a few sentences.

Each is written as the released checkpoints ship it: `tokenizer.json` with the kind's normalizer,
pre-tokenizer, post-processor and added tokens, and a `tokenizer_config.json`. Only the vocabulary
is small.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, processors, trainers
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.pre_tokenizers import ByteLevel, Digits, PreTokenizer, Split
from tokenizers.pre_tokenizers import Sequence as Steps
from tokenizers.processors import PostProcessor

from tests.checkpoints import CORPUS
from tests.finetune.llama_tokenizer import make_tokenizer

#: Where Llama 3's and Qwen2's kinds cut a text: at words, numbers, signs and white space.
_WORDS = r" ?\p{{L}}+|\p{{N}}{digits}| ?[^\s\p{{L}}\p{{N}}]+|\s+"


@dataclass(frozen=True)
class Vocabulary:
    """A tokenizer and what its `tokenizer_config.json` says.

    Attributes:
        tokenizer: The tokenizer, complete.
        image: The placeholder of images.
        settings: Fields of `tokenizer_config.json`.
    """

    tokenizer: Tokenizer
    image: str
    settings: Mapping[str, Any]

    @property
    def image_id(self) -> int:
        """The id of the placeholder of images."""
        return self.id(self.image)

    @property
    def padded_size(self) -> int:
        """The number of ids, rounded up to a multiple of 64 as the released conversions do."""
        return -(-self.tokenizer.get_vocab_size() // 64) * 64

    def id(self, token: str) -> int:
        """Return the id of a token."""
        index = self.tokenizer.token_to_id(token)
        assert index is not None, token
        return int(index)

    def write(self, folder: Path, template: str | None = None) -> None:
        """Write both files, with a chat template if there is one."""
        self.tokenizer.save(str(folder / "tokenizer.json"))
        added = {
            str(index): {
                "content": token.content,
                "lstrip": token.lstrip,
                "normalized": token.normalized,
                "rstrip": token.rstrip,
                "single_word": token.single_word,
                "special": token.special,
            }
            for index, token in self.tokenizer.get_added_tokens_decoder().items()
        }
        settings = {"added_tokens_decoder": added, **self.settings}
        if template is not None:
            settings["chat_template"] = template
        (folder / "tokenizer_config.json").write_text(
            json.dumps(settings, indent=2), encoding="utf-8"
        )


def _special(*texts: str, rstrip: bool = False) -> list[AddedToken]:
    return [AddedToken(text, rstrip=rstrip, normalized=False, special=True) for text in texts]


def _sentence_piece(added: Sequence[AddedToken], known: Sequence[str] = ("</s>",)) -> Tokenizer:
    """Return a tokenizer like Llama's with added tokens after `<unk>`, `<s>` and those in `known`.

    The first three ids are those of `<unk>`, `<s>` and `</s>` in any case.
    """
    content = json.loads(make_tokenizer().backend_tokenizer.to_str())
    kept = {"<unk>", "<s>", *known}
    content["added_tokens"] = [t for t in content["added_tokens"] if t["content"] in kept]
    content["pre_tokenizer"] = None
    steps = [
        {"type": "Prepend", "prepend": "▁"},
        {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
    ]
    content["normalizer"] = {"type": "Sequence", "normalizers": steps}
    tokenizer = Tokenizer.from_str(json.dumps(content))
    for token in added:
        (tokenizer.add_special_tokens if token.special else tokenizer.add_tokens)([token])
    return tokenizer


_LLAMA_SETTINGS = {
    "add_bos_token": True,
    "add_eos_token": False,
    "bos_token": "<s>",
    "clean_up_tokenization_spaces": False,
    "eos_token": "</s>",
    "legacy": False,
    "model_max_length": 1000000000000000019884624838656,
    "pad_token": "<pad>",
    "padding_side": "left",
    "processor_class": "LlavaProcessor",
    "tokenizer_class": "LlamaTokenizer",
    "unk_token": "<unk>",
}


def llama() -> Vocabulary:
    """Llama 2's and Mistral's kind, with the two tokens that the llava-hf conversion adds."""
    return Vocabulary(_sentence_piece(_special("<image>", "<pad>")), "<image>", _LLAMA_SETTINGS)


def tiny_llama_chatml() -> Vocabulary:
    """TinyLlama-1.1B-Chat-v0.3's: Llama's kind with ChatML's markers, and `</s>` as its end."""
    added = _special("[PAD]", "<|im_start|>", "<|im_end|>", "<image>")
    settings = {**_LLAMA_SETTINGS, "pad_token": "[PAD]"}
    return Vocabulary(_sentence_piece(added), "<image>", settings)


def phi3() -> Vocabulary:
    """Phi-3's of April 2024: Llama's kind with markers that take up the white space after them."""
    markers = ["<|assistant|>", "<|step|>", "<|function_output|>", "<|tag|>", "<|function_call|>"]
    markers += ["<|system|>", "<|end|>", "<|raw|>", "<|continue|>", "<|user|>"]
    added = [
        AddedToken("</s>", rstrip=True, normalized=False, special=False),
        *_special("<|endoftext|>"),
        *_special(*markers, rstrip=True),
        *_special("<image>", "<pad>"),
    ]
    settings = {**_LLAMA_SETTINGS, "eos_token": "<|endoftext|>", "model_max_length": 4096}
    return Vocabulary(_sentence_piece(added, known=()), "<image>", settings)


def _byte_level(
    first: Sequence[str],
    cut: PreTokenizer,
    added: Sequence[AddedToken],
    post_processor: PostProcessor,
    *,
    cuts_words: bool = False,
    nfc: bool = False,
) -> Tokenizer:
    """Return a byte-level BPE.

    Args:
        first: Special tokens that precede the vocabulary.
        cut: Cuts texts before bytes become characters.
        added: Tokens after the vocabulary.
        post_processor: The post-processor.
        cuts_words: Whether the step that makes characters of bytes cuts words, as GPT-2's does.
        nfc: Whether texts are normalized.
    """
    tokenizer = Tokenizer(models.BPE())
    if nfc:
        tokenizer.normalizer = normalizers.NFC()
    steps = [cut, ByteLevel(add_prefix_space=False, use_regex=cuts_words)]
    tokenizer.pre_tokenizer = Steps(steps)
    tokenizer.decoder = ByteLevelDecoder()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=list(first),
        initial_alphabet=ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS * 3, trainer)
    tokenizer.add_special_tokens(list(added))
    tokenizer.post_processor = post_processor
    return tokenizer


def _llama3(added: Sequence[str], image: str, settings: Mapping[str, Any]) -> Vocabulary:
    cut = Split(Regex(_WORDS.format(digits="{1,3}")), behavior="isolated")
    tokenizer = _byte_level([], cut, _special(*added), processors.ByteLevel(trim_offsets=True))
    start = "<|begin_of_text|>"
    template = processors.TemplateProcessing(
        single=f"{start}:0 $A:0",
        pair=f"{start}:0 $A:0 {start}:1 $B:1",
        special_tokens=[(start, tokenizer.token_to_id(start))],
    )
    tokenizer.post_processor = processors.Sequence(
        [processors.ByteLevel(trim_offsets=True), template]
    )
    common = {
        "bos_token": start,
        "clean_up_tokenization_spaces": True,
        "model_input_names": ["input_ids", "attention_mask"],
        "model_max_length": 131072,
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    return Vocabulary(tokenizer, image, {**common, **settings})


def llama3() -> Vocabulary:
    """Llama 3's, with the two tokens that xtuner's conversion adds."""
    added = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>"]
    settings = {"eos_token": "<|end_of_text|>", "pad_token": "<pad>"}
    return _llama3([*added, "<|eot_id|>", "<image>", "<pad>"], "<image>", settings)


def llama31_reserved() -> Vocabulary:
    """Llama 3.1's; JoyCaption takes three of its reserved tokens for images."""
    added = ["<|begin_of_text|>", "<|end_of_text|>", "<|finetune_right_pad_id|>"]
    added += ["<|start_header_id|>", "<|end_header_id|>", "<|eom_id|>", "<|eot_id|>"]
    added += [f"<|reserved_special_token_{number}|>" for number in range(60, 80)]
    settings = {"eos_token": "<|eot_id|>", "pad_token": "<|finetune_right_pad_id|>"}
    return _llama3(added, "<|reserved_special_token_69|>", settings)


def qwen2() -> Vocabulary:
    """Qwen1.5's and Qwen2's, with the token that the llava-hf conversion adds."""
    cut = Split(Regex(_WORDS.format(digits="")), behavior="isolated")
    tokenizer = _byte_level(
        [],
        cut,
        _special("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<image>"),
        processors.ByteLevel(trim_offsets=False),
        nfc=True,
    )
    settings = {
        "add_prefix_space": False,
        "bos_token": None,
        "eos_token": "<|im_end|>",
        "errors": "replace",
        "model_max_length": 32768,
        "pad_token": "<|endoftext|>",
        "processor_class": "LlavaProcessor",
        "split_special_tokens": False,
        "tokenizer_class": "Qwen2Tokenizer",
        "unk_token": None,
    }
    return Vocabulary(tokenizer, "<image>", settings)


def smollm2() -> Vocabulary:
    """SmolLM2's: GPT-2's kind, digits one by one, special tokens first; `<image>` is added."""
    first = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<repo_name>", "<file_sep>"]
    tokenizer = _byte_level(
        first,
        Digits(individual_digits=True),
        _special("<image>"),
        processors.ByteLevel(trim_offsets=True),
        cuts_words=True,
    )
    settings = {
        "add_prefix_space": False,
        "bos_token": "<|im_start|>",
        "eos_token": "<|im_end|>",
        "model_max_length": 8192,
        "pad_token": "<|im_end|>",
        "tokenizer_class": "GPT2Tokenizer",
        "unk_token": "<|endoftext|>",
        "vocab_size": 49152,
    }
    return Vocabulary(tokenizer, "<image>", settings)


def gemma() -> Vocabulary:
    """A vocabulary with Gemma's markers."""
    added = _special("<start_of_turn>", "<end_of_turn>", "<image>", "<pad>")
    return Vocabulary(_sentence_piece(added), "<image>", _LLAMA_SETTINGS)


#: Vocabularies by name.
VOCABULARIES: Mapping[str, Callable[[], Vocabulary]] = {
    build.__name__: build
    for build in (llama, tiny_llama_chatml, phi3, llama3, llama31_reserved, qwen2, smollm2, gemma)
}
