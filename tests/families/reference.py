"""The right answers: published prompts through `generate` of transformers.

Nothing of the package is used: prompts are the texts of `prompts`, tokens those of the checkpoint's
`tokenizer.json`, pixels are made with Pillow, and the weights were never in a file.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer, normalizers, pre_tokenizers
from transformers import LlavaForConditionalGeneration

from tests.families.loadable import Loadable, Pixels
from tests.families.vocabularies import VOCABULARIES


def tokens(row: Loadable, folder: Path, prompt: str) -> list[int]:
    """Return the ids of a prompt with one id for each `<image>`.

    The texts around images are tokenized one by one, as the official code does.
    """
    tokenizer, vocabulary = _tokenizer(row, folder), VOCABULARIES[row.vocabulary]()
    start, image = row.published.start, vocabulary.image_id
    ids = [] if start is None else [vocabulary.id(start)]
    for number, text in enumerate(prompt.split("<image>")):
        if number:
            ids.append(image)
        ids += tokenizer.encode(text, add_special_tokens=False).ids
    return ids


def _tokenizer(row: Loadable, folder: Path) -> Tokenizer:
    """Return the tokenizer that the model was trained with.

    LLaVA's official code uses Llama's slow tokenizer, which puts a space before the first word of a
    text alone; `tokenizer.json` puts one after special tokens, too, as Phi-3 was trained.
    """
    folder = folder / "base" if (folder / "base").is_dir() else folder
    content = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    tokenizer = Tokenizer.from_str(json.dumps(content))
    if row.vocabulary in ("llama", "tiny_llama_chatml"):
        tokenizer.normalizer = normalizers.Replace(" ", "▁")
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    return tokenizer


def pixels(images: Sequence[Image.Image], how: Pixels, side: int) -> torch.Tensor:
    """Return the pixels of images, float32 [images, 3, side, side]."""
    return torch.stack([_pixels(image.convert("RGB"), how, side) for image in images])


def _pixels(image: Image.Image, how: Pixels, side: int) -> torch.Tensor:
    if how.pads and image.width != image.height:
        longest = max(image.size)
        color = tuple(int(255 * value) for value in how.mean)
        square = Image.new("RGB", (longest, longest), color)
        square.paste(image, ((longest - image.width) // 2, (longest - image.height) // 2))
        image = square
    values = np.asarray(image.resize((side, side), how.resample), dtype=np.float32) / 255
    normalized = (values - np.array(how.mean)) / np.array(how.std)
    return torch.tensor(normalized.transpose(2, 0, 1), dtype=torch.float32)


def answer(
    row: Loadable,
    folder: Path,
    model: LlavaForConditionalGeneration,
    prompt: str,
    images: Sequence[Image.Image],
    new_tokens: int,
) -> list[int]:
    """Return the greedy tokens after a prompt, with the one that ends them."""
    vocabulary = VOCABULARIES[row.vocabulary]()
    vision: Any = model.config.vision_config
    per_image = (vision.image_size // vision.patch_size) ** 2
    ids: list[int] = []
    for token in tokens(row, folder, prompt):
        ids += [token] * (per_image if token == vocabulary.image_id else 1)
    batch = torch.tensor([ids])
    extra = {"pixel_values": pixels(images, row.pixels, vision.image_size)} if len(images) else {}
    with torch.inference_mode():
        out = model.generate(
            input_ids=batch,
            attention_mask=torch.ones_like(batch),
            max_new_tokens=new_tokens,
            do_sample=False,
            eos_token_id=[vocabulary.id(end) for end in row.published.ends],
            pad_token_id=0,
            **extra,
        )
    generated: list[int] = out[0, len(ids) :].tolist()
    return generated
