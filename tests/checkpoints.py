"""Random-weight LLaVA checkpoints in the real layout, small enough for tests."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, processors, trainers
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPTextConfig,
    CLIPTokenizer,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    PreTrainedTokenizerFast,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil

from llava_tools.chat.formats import SYSTEM

CORPUS = [
    SYSTEM,
    "USER: What is in the picture? ASSISTANT: A red circle and a blue square.",
    "Describe the image in one sentence. How many dogs are there? Two.",
    "Answer the question using a single word or phrase. yes no left right above below </s>",
]


def llama_like_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer like Llama's: SentencePiece spaces, bytes, initial `<s>`, mergeable `</s>`."""
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
    core.train_from_iterator(CORPUS * 3, trainer)
    # Bytes are ordinary tokens: rebuild with only the real special tokens added.
    merges = [*_merges(core), ("<", "/"), ("s", ">"), ("</", "s>")]
    vocabulary = core.get_vocab()
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
    start = ("<s>", rebuilt.token_to_id("<s>"))
    rebuilt.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[start]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=rebuilt, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


def _merges(tokenizer: Tokenizer) -> list[tuple[str, str]]:
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    return [
        tuple(merge) if isinstance(merge, list) else tuple(merge.split(" ")) for merge in merges
    ]


@dataclass(frozen=True)
class Geometry:
    """Width and depth of both models; size of images in pixels; patches are 14 px."""

    vision: tuple[int, int] = (32, 3)
    language: tuple[int, int] = (64, 2)
    image: int = 56
    context_length: int = 512

    @property
    def image_tokens(self) -> int:
        return int((self.image // 14) ** 2)


SMALL = Geometry()


def config(vocab_size: int, image_token: int, shape: Geometry = SMALL) -> LlavaConfig:
    """LLaVA's configuration: features of the second-last layer, without CLS; heads of 64 or 16."""

    def heads(width: int) -> int:
        return max(2, width // 64)

    return LlavaConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=shape.vision[0],
            intermediate_size=4 * shape.vision[0],
            num_hidden_layers=shape.vision[1],
            num_attention_heads=heads(shape.vision[0]),
            image_size=shape.image,
            patch_size=14,
            projection_dim=shape.vision[0],
        ),
        text_config=LlamaConfig(
            vocab_size=vocab_size,
            hidden_size=shape.language[0],
            intermediate_size=8 * shape.language[0] // 3 // 32 * 32,
            num_hidden_layers=shape.language[1],
            num_attention_heads=heads(shape.language[0]),
            num_key_value_heads=heads(shape.language[0]),
            max_position_embeddings=shape.context_length,
            bos_token_id=1,
            eos_token_id=2,
            pad_token_id=0,
        ),
        image_token_index=image_token,
        image_seq_length=shape.image_tokens,
    )


def random_model(
    tokenizer: PreTrainedTokenizerFast,
    seed: int = 0,
    shape: Geometry = SMALL,
    *,
    endless: bool = False,
) -> LlavaForConditionalGeneration:
    """A model whose weights are so large that rounding does not change the likeliest token.

    Args:
        tokenizer: Tokenizer with the model's vocabulary.
        seed: Seed of the weights.
        shape: Shape of both models.
        endless: Whether `</s>` is never the likeliest token, so that answers have a fixed length.
    """
    torch.manual_seed(seed)
    image_token = tokenizer.convert_tokens_to_ids("<image>")
    model = LlavaForConditionalGeneration(config(len(tokenizer), image_token, shape))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=1.5 / parameter.shape[-1] ** 0.5)
        if endless:
            model.lm_head.weight[tokenizer.eos_token_id] = 0  # some other logit is above 0
    model.eval()
    return model


def write_checkpoint(
    folder: Path,
    seed: int = 0,
    shape: Geometry = SMALL,
    tokenizer: PreTrainedTokenizerFast | None = None,
    *,
    dtype: torch.dtype = torch.float32,
    endless: bool = False,
) -> Path:
    """Write a checkpoint as `save_pretrained` does and return its folder."""
    tokenizer = tokenizer or llama_like_tokenizer()
    random_model(tokenizer, seed, shape, endless=endless).to(dtype).save_pretrained(folder)
    write_processors(folder, tokenizer, shape.image)
    return folder


def write_processors(folder: Path, tokenizer: PreTrainedTokenizerFast, size: int) -> None:
    """Write the tokenizer and a cropping image processor, as in the released checkpoints."""
    tokenizer.save_pretrained(folder)
    LlavaImageProcessorPil(
        size={"shortest_edge": size}, crop_size={"height": size, "width": size}
    ).save_pretrained(folder)


def clip_like_tokenizer() -> CLIPTokenizer:
    """A tokenizer like CLIP's: lower case, bytes, `<|endoftext|>` with the last id."""
    letters = sorted(ByteLevel.alphabet())
    merges = [("r", "e"), ("re", "d</w>"), ("s", "t"), ("a", "r</w>"), ("st", "ar</w>")]
    pieces = [*letters, *(f"{letter}</w>" for letter in letters), *("".join(m) for m in merges)]
    names = [*pieces, "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer({name: index for index, name in enumerate(names)}, merges)


def write_clip(folder: Path, llava: Path, end: int | None = None, seed: int = 5) -> CLIPModel:
    """Write the CLIP of a LLaVA checkpoint's vision tower, in the layout of OpenAI's CLIPs.

    Args:
        folder: Target folder.
        llava: Folder of the LLaVA checkpoint.
        end: `eos_token_id` in the configuration; the released CLIPs have 2, another token's id.
        seed: Seed of the weights that LLaVA does not have.
    """
    llava_model = LlavaForConditionalGeneration.from_pretrained(llava, dtype=torch.float32)
    tokenizer = clip_like_tokenizer()
    torch.manual_seed(seed)
    text = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=48,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=77,
        bos_token_id=0,
        eos_token_id=tokenizer.eos_token_id if end is None else end,
        pad_token_id=1,
    )
    vision: Any = llava_model.config.vision_config
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=24))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=1.5 / parameter.shape[-1] ** 0.5)
    model.vision_model.load_state_dict(llava_model.model.vision_tower.state_dict())
    model.eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    size = vision.image_size
    CLIPImageProcessorPil(
        size={"shortest_edge": size}, crop_size={"height": size, "width": size}
    ).save_pretrained(folder)
    return model
