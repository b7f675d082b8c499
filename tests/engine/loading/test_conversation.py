"""The conversation format of a checkpoint: found where it is sure, never guessed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from llava_tools.chat.formats import (
    CHATML,
    FORMATS,
    JOYCAPTION,
    ConversationFormat,
    ConversationName,
)
from llava_tools.chat.prompt import build, training_example
from llava_tools.core.requests import Message
from llava_tools.engine.loading.conversation import choose_format
from llava_tools.engine.tokenizer import Tokenizer as LlavaTokenizer
from llava_tools.errors import ModelError
from llava_tools.remote.chat_template import write_chat_template
from tests.strategies import make_image

NAMES = {
    "chatml": ("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
    "llama3": (
        "<|begin_of_text|>",
        "<|start_header_id|>",
        "<|end_header_id|>",
        "<|eot_id|>",
        "<|end_of_text|>",
        "<|reserved_special_token_69|>",
        "<|reserved_special_token_70|>",
        "<|reserved_special_token_71|>",
    ),
    "phi3": ("<s>", "<|endoftext|>", "<|user|>", "<|assistant|>", "<|system|>", "<|end|>"),
    "vicuna_v1": ("<s>", "</s>"),
}
ENDS = {"chatml": "<|im_end|>", "llama3": "<|eot_id|>", "phi3": "<|endoftext|>"}
#: A template of Vicuna's kind as llava-hf's checkpoints have it, for lists of parts.
VICUNA = (
    "{% for message in messages %}{{ message['role'].upper() + ': ' }}"
    "{% for part in message['content'] %}{{ part['text'] + ' ' }}{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)


def byte_tokenizer(
    *names: str, eos: str, template: str | None = None, rstrip: bool = False
) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer without merges, and special tokens."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE({letter: i for i, letter in enumerate(letters)}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    tokens = dict.fromkeys((*names, eos, "<image>"))
    backend.add_special_tokens(
        [AddedToken(n, special=True, rstrip=rstrip and n != "<image>") for n in tokens]
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=eos)
    tokenizer.chat_template = template
    return tokenizer


def choose(
    folder: Path, tokenizer: PreTrainedTokenizerFast, option: ConversationName | None = None
) -> ConversationFormat:
    image = tokenizer.convert_tokens_to_ids("<image>")
    assert isinstance(image, int)
    return choose_format(folder, tokenizer, image, option, "m")


@pytest.mark.parametrize("name", ["chatml", "llama3", "phi3"])
@pytest.mark.parametrize("has_template", [True, False])
def test_template_and_vocabulary_agree(tmp_path: Path, name: str, has_template: bool) -> None:
    template = write_chat_template(FORMATS[name]) if has_template else None  # type: ignore[index]
    row = choose(tmp_path, byte_tokenizer(*NAMES[name], eos=ENDS[name], template=template))
    assert row == (FORMATS[name])  # type: ignore[index]


@pytest.mark.parametrize("template", [None, VICUNA])
def test_a_vocabulary_like_llamas_has_llava_15s_own_format(
    tmp_path: Path, template: str | None
) -> None:
    tokenizer = byte_tokenizer("<s>", eos="</s>", template=template)
    assert choose(tmp_path, tokenizer).name == "vicuna_v1"


def test_the_template_of_the_whole_model_precedes_that_of_its_tokenizer(tmp_path: Path) -> None:
    (tmp_path / "chat_template.json").write_text(json.dumps({"chat_template": VICUNA}))
    tokenizer = byte_tokenizer(eos="<|endoftext|>", template=write_chat_template(CHATML))
    assert choose(tmp_path, tokenizer).name == "vicuna_v1"


def test_the_templates_own_system_sentence_is_kept(tmp_path: Path) -> None:
    template = (
        "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}"
        "{{ '<|im_start|>system\nYou are SmolLM.<|im_end|>\n' }}{% endif %}"
        "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )
    tokenizer = byte_tokenizer(*NAMES["chatml"], eos="<|im_end|>", template=template)
    row = choose(tmp_path, tokenizer)
    assert row.name == "chatml"
    assert row.system == "You are SmolLM."


def test_joycaption_is_known_by_its_image_token(tmp_path: Path) -> None:
    tokenizer = byte_tokenizer(*NAMES["llama3"], eos="<|eot_id|>")
    image = tokenizer.convert_tokens_to_ids("<|reserved_special_token_69|>")
    assert choose_format(tmp_path, tokenizer, image, None, "m") == JOYCAPTION


@pytest.mark.parametrize("image_token", [-5, 10**9])
def test_an_image_token_outside_of_the_vocabulary_is_no_joycaptions(
    tmp_path: Path, image_token: int
) -> None:
    tokenizer = byte_tokenizer(*NAMES["llama3"], eos="<|eot_id|>")
    assert choose_format(tmp_path, tokenizer, image_token, None, "m").name == "llama3"


def test_the_option_precedes_everything(tmp_path: Path) -> None:
    tokenizer = byte_tokenizer(*NAMES["chatml"], eos="</s>", template="{{ 'Q: ' }}")
    assert choose(tmp_path, tokenizer, "vicuna_v1").name == "vicuna_v1"


@pytest.mark.parametrize(
    ("names", "eos", "template", "message"),
    [
        pytest.param(
            NAMES["chatml"], "<|im_end|>", VICUNA, "'vicuna_v1', but .*'chatml'", id="disagree"
        ),
        pytest.param(
            NAMES["chatml"], "</s>", None, "'chatml', but ends texts with </s>", id="TinyLLaVA"
        ),
        pytest.param(("<start_of_turn>",), "<eos>", None, "Gemma", id="Gemma"),
        pytest.param(("[INST]",), "</s>", None, "Mistral", id="Mistral by its vocabulary"),
        pytest.param(
            (),
            "</s>",
            "{{ '[INST] ' + messages[0]['content'] + ' [/INST]' }}",
            "Mistral",
            id="Mistral by its template",
        ),
        pytest.param((), "<|endoftext|>", None, "not known", id="nothing"),
        pytest.param(
            (), "</s>", "{{ 'Q: ' + messages[0]['content'] + ' A:' }}", "not known", id="another"
        ),
        pytest.param((), "</s>", "{% if %}", "not known", id="a template that fails"),
        pytest.param((), "</s>", "{{ raise_exception('no') }}", "not known", id="that refuses"),
    ],
)
def test_what_is_not_sure_is_an_error_that_names_the_option(
    tmp_path: Path, names: tuple[str, ...], eos: str, template: str | None, message: str
) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        choose(tmp_path, byte_tokenizer(*names, eos=eos, template=template))
    assert "conversation='vicuna_v1'" in caught.value.hint
    assert "\n" not in str(caught.value)


def test_a_damaged_template_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "chat_template.json").write_text("{")
    with pytest.raises(ModelError, match=r"chat_template\.json is damaged"):
        choose(tmp_path, byte_tokenizer(eos="</s>"))


def test_a_vocabulary_without_the_formats_tokens_is_an_error() -> None:
    with pytest.raises(ModelError, match=r"no <\|im_start\|>.*'chatml'") as caught:
        LlavaTokenizer(byte_tokenizer(eos="</s>"), CHATML)
    assert "conversation=" in caught.value.hint


def test_answers_end_at_the_formats_stops_and_the_tokenizers_end() -> None:
    tokenizer = byte_tokenizer(*NAMES["llama3"], eos="<|end_of_text|>")
    codec = LlavaTokenizer(tokenizer, FORMATS["llama3"])
    stops = tokenizer.convert_ids_to_tokens(list(codec.stop_ids))
    assert stops == ["<|eot_id|>", "<|end_of_text|>"]


@pytest.mark.parametrize("rstrip", [True, False])
def test_special_tokens_take_up_white_space_as_the_checkpoints_tokenizer_does(
    rstrip: bool,
) -> None:
    """Phi-3's do: the line breaks of its format are no tokens."""
    tokenizer = byte_tokenizer(*NAMES["phi3"], eos="<|endoftext|>", rstrip=rstrip)
    codec = LlavaTokenizer(tokenizer, FORMATS["phi3"])
    messages = [
        Message("user", (" Hi ",)),
        Message("assistant", ("\nYes",)),
        Message("user", ("?",)),
    ]
    pieces = build(messages, conversation=FORMATS["phi3"])
    text = "<|user|>\n Hi <|end|>\n<|assistant|>\n\nYes<|end|>\n<|user|>\n?<|end|>\n<|assistant|>\n"
    assert codec.tokenize(pieces, lambda _: [0]) == tokenizer(text)["input_ids"]
    with_image = build([Message("user", (make_image(1), "Hi"))], conversation=FORMATS["phi3"])
    image = tokenizer.convert_tokens_to_ids("<image>")
    text = "<|user|>\n<image>\nHi<|end|>\n<|assistant|>\n"
    assert isinstance(image, int)
    ids = codec.tokenize(with_image, lambda _: [image])
    assert ids == tokenizer(text)["input_ids"]


@pytest.mark.parametrize("rstrip", [True, False])
@pytest.mark.parametrize(
    "space", ["\n\n ", "\u2003\x85\u3000", "\x1c", "\x1f\n", "\u200b", "\ufeff"]
)
def test_text_keeps_what_is_no_white_space_for_the_checkpoints_tokenizer(
    space: str, rstrip: bool
) -> None:
    tokenizer = byte_tokenizer(*NAMES["phi3"], eos="<|endoftext|>", rstrip=rstrip)
    codec = LlavaTokenizer(tokenizer, FORMATS["phi3"])
    messages = [Message("user", (space + "Hi",)), Message("assistant", (space + "Yes",))]
    ids = codec.tokenize(training_example(messages, FORMATS["phi3"]), lambda _: [0])
    text = f"<|user|>\n{space}Hi<|end|>\n<|assistant|>\n{space}Yes<|end|>"
    assert ids == tokenizer(text)["input_ids"]
    prompt = codec.tokenize(build(messages[:1], conversation=FORMATS["phi3"]), lambda _: [0])
    assert ids == [*prompt, *codec.encode_answer(space + "Yes"), codec.end_of_turn]


@pytest.mark.parametrize("puts_it_first", [True, False])
def test_a_prompt_begins_with_what_the_tokenizer_puts_first(puts_it_first: bool) -> None:
    tokenizer = byte_tokenizer(*NAMES["chatml"], eos="<|im_end|>")
    start = tokenizer.convert_tokens_to_ids("<|im_start|>")
    tokenizer.bos_token = "<|im_start|>"  # SmolLM2's, which its tokenizer does not add
    if puts_it_first:
        tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
            single="<|im_start|> $A", special_tokens=[("<|im_start|>", start)]
        )
    assert LlavaTokenizer(tokenizer, CHATML).bos == ([start] if puts_it_first else [])
