"""`benchmarks/real_language_model`: tokenizer, checkpoint, perplexity, table; no network."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    LlavaForConditionalGeneration,
    PreTrainedTokenizerFast,
)

from benchmarks.real_language_model.__main__ import required_right, summarize, table
from benchmarks.real_language_model.checkpoint import SYSTEM, graft, smollm2_tokenizer
from benchmarks.real_language_model.checks import Check
from benchmarks.real_language_model.perplexity import PASSAGES, perplexity, plain_perplexity
from llava_tools import Llava
from llava_tools.core.backend import check_labels
from llava_tools.engine.engine import LlavaEngine
from llava_tools.testing import ScriptedBackend

CONTROL_TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    merges = [("1", "7"), ("h", "e"), ("Ġ", "he")]
    vocabulary = [*CONTROL_TOKENS, *sorted(ByteLevel.alphabet()), *("".join(m) for m in merges)]
    return smollm2_tokenizer(vocabulary, [" ".join(merge) for merge in merges], CONTROL_TOKENS)


@pytest.fixture(scope="module")
def llama(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer) - 1,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
        tie_word_embeddings=True,
    )
    model = LlamaForCausalLM(config)
    model.eval()
    return model


@pytest.fixture(scope="module")
def folder(
    tokenizer: PreTrainedTokenizerFast,
    llama: LlamaForCausalLM,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    path = tmp_path_factory.mktemp("grafted")
    graft(llama, tokenizer, path)
    return path


def test_digits_are_tokens_of_their_own_and_no_token_is_put_first(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    assert tokenizer.tokenize("17 he") == ["1", "7", "Ġhe"]
    assert tokenizer("he").input_ids == tokenizer.convert_tokens_to_ids(["he"])
    assert tokenizer.decode(tokenizer("né 17\n").input_ids) == "né 17\n"


def test_control_tokens_and_image_are_single_tokens(tokenizer: PreTrainedTokenizerFast) -> None:
    assert tokenizer("<|im_start|><|im_end|><image>").input_ids == [1, 2, len(tokenizer) - 1]
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id) == (1, 2)


@pytest.mark.parametrize("system", [None, "Be brief."])
def test_the_template_writes_chatml(tokenizer: PreTrainedTokenizerFast, system: str | None) -> None:
    messages = [{"role": "user", "content": "Hi"}]
    if system:
        messages.insert(0, {"role": "system", "content": system})
    prompt = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert prompt == (
        f"<|im_start|>system\n{system or SYSTEM}<|im_end|>\n"
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    )


def test_the_grafted_model_has_the_logits_of_the_text_model(
    folder: Path, llama: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast
) -> None:
    llava = LlavaForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    ids = torch.tensor([tokenizer("he 17 and 25").input_ids])
    with torch.inference_mode():
        logits, expected = llava(input_ids=ids).logits, llama(input_ids=ids).logits
    torch.testing.assert_close(logits, expected)
    torch.testing.assert_close(logits[..., -1], logits[..., :-1].mean(-1))
    assert llava.lm_head.weight is llava.get_input_embeddings().weight
    assert llava.generation_config.eos_token_id == 2
    config = json.loads((folder / "config.json").read_text())
    assert config["image_token_index"] == len(tokenizer) - 1
    assert "quantization_config" not in config["text_config"]


def test_the_engine_finds_chatml_and_its_perplexity_is_that_of_transformers(folder: Path) -> None:
    passages = ["he 17", "the end of 25"]
    with Llava(str(folder), dtype="float32") as llava:
        engine = llava.backend
        assert isinstance(engine, LlavaEngine)
        conversation = engine.loaded.tokenizer.conversation
        assert (conversation.name, conversation.system) == ("chatml", SYSTEM)
        assert engine.loaded.tokenizer.bos == []
        figure = perplexity(engine, passages)
    model = LlavaForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    plain = plain_perplexity(model, AutoTokenizer.from_pretrained(folder), passages)
    assert figure == pytest.approx(plain, rel=1e-5)


def test_perplexity_is_a_mean_over_tokens_and_ends() -> None:
    backend = ScriptedBackend(scores=lambda request, label: -2.0 * (len(label.split()) + 1))
    assert perplexity(backend, ["a b c", "d"]) == pytest.approx(math.exp(2.0))


def test_passages_can_be_scored() -> None:
    check_labels(PASSAGES)
    assert len(PASSAGES) == 10
    assert all(200 < len(passage) < 600 and "\n" not in passage for passage in PASSAGES)


def test_table_and_counts() -> None:
    checks = [
        Check("question", "Capital?", "Paris.\nIt is.", True),
        Check("question", "Q" * 80, "no", False),
        Check("call", "Add", "add", True),
    ]
    lines = table(checks).splitlines()
    assert lines[0].split() == ["question", "right", "Capital?", "Paris.", "It", "is."]
    assert "…" in lines[1]
    assert summarize(checks) == {"question": "1 of 2", "call": "1 of 1"}


@pytest.mark.parametrize(
    ("kind", "rights", "satisfied"),
    [
        ("question", (True, False), True),
        ("call", (False, True), False),
        ("generate", (True, False), False),
    ],
)
def test_the_first_of_each_kind_and_all_comparisons_are_required(
    kind: str, rights: tuple[bool, ...], satisfied: bool
) -> None:
    assert required_right([Check(kind, "", "", right) for right in rights]) is satisfied
