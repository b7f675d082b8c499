"""Random-weight LLaVA checkpoints of the real layout, small enough to make in a test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, trainers
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    PreTrainedTokenizerFast,
)
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil

from llava_tools.prompt import SYSTEM

CORPUS = [
    SYSTEM,
    "USER: What is in the picture? ASSISTANT: A red circle and a blue square.",
    "Describe the image in one sentence. How many dogs are there? Two.",
    "Answer the question using a single word or phrase. yes no left right above below </s>",
]


def llama_like_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer built as Llama's is: SentencePiece spaces, byte fallback, `</s>` mergeable."""
    byte_tokens = [f"<0x{value:02X}>" for value in range(256)]
    core = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    core.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    core.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=700,
        special_tokens=["<unk>", "<s>", "</s>", *byte_tokens],
        show_progress=False,
    )
    core.train_from_iterator(_corpus(), trainer)
    state = core.get_vocab()
    # Bytes are ordinary vocabulary, not special tokens; rebuild with only the real ones added.
    merges = _merges(core) + [("<", "/"), ("s", ">"), ("</", "s>")]
    vocabulary = dict(state)
    for piece in ("</", "s>"):
        vocabulary.setdefault(piece, len(vocabulary))
    for character in "</s>▁":
        vocabulary.setdefault(character, len(vocabulary))
    rebuilt = Tokenizer(
        models.BPE(vocabulary, merges, byte_fallback=True, unk_token="<unk>", fuse_unk=True)
    )
    rebuilt.normalizer, rebuilt.decoder = core.normalizer, core.decoder
    rebuilt.add_special_tokens(
        [AddedToken(t, normalized=False, special=True) for t in ("<unk>", "<s>", "</s>")]
    )
    rebuilt.add_special_tokens([AddedToken("<image>", normalized=False, special=True)])
    return PreTrainedTokenizerFast(
        tokenizer_object=rebuilt, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


def _corpus() -> Iterator[str]:
    return iter(CORPUS * 3)


def _merges(tokenizer: Tokenizer) -> list[tuple[str, str]]:
    import json

    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    return [
        tuple(merge) if isinstance(merge, list) else tuple(merge.split(" ")) for merge in merges
    ]


def config(vocabulary: int, image_token: int) -> LlavaConfig:
    """4x4 = 16 image tokens, two layers each; the real wiring."""
    return LlavaConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=3,
            num_attention_heads=2,
            image_size=56,
            patch_size=14,
            projection_dim=32,
        ),
        text_config=LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=512,
            bos_token_id=1,
            eos_token_id=2,
            pad_token_id=0,
        ),
        image_token_index=image_token,
        image_seq_length=16,
    )


def random_model(
    tokenizer: PreTrainedTokenizerFast, seed: int = 0
) -> LlavaForConditionalGeneration:
    """Weights large enough that the likeliest token is never a matter of rounding."""
    torch.manual_seed(seed)
    shape = config(len(tokenizer), tokenizer.convert_tokens_to_ids("<image>"))
    model = LlavaForConditionalGeneration(shape)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=1.5 / parameter.shape[-1] ** 0.5)
    model.eval()
    return model


def write_checkpoint(folder: Path, seed: int = 0) -> Path:
    """Write a checkpoint as `save_pretrained` does and return its folder."""
    tokenizer = llama_like_tokenizer()
    random_model(tokenizer, seed).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    LlavaImageProcessorPil(
        size={"shortest_edge": 56}, crop_size={"height": 56, "width": 56}
    ).save_pretrained(folder)
    return folder
