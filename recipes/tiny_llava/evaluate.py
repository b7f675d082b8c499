"""How often a saved model answers right, by kind, on what no training shows.

`own` asks about the training renderer's pictures in the training's phrasings, with unseen seeds;
`stranger` asks about the second renderer's in its own words; `blind` asks the stranger's questions
about noise. Then come exact calls of tools that no training has, without a grammar, and retrieval.
Answers are greedy, by transformers, in float32. Figures go to a JSON file after each kind; a killed
run resumes from it: `python -m recipes.tiny_llava.evaluate --model FOLDER --out FILE [--each 300]`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import AutoProcessor, LlavaForConditionalGeneration

from llava_tools import Embedder
from llava_tools.chat.prompt import build
from llava_tools.core.requests import Message
from llava_tools.engine.tokenizer import Tokenizer
from llava_tools.images import open_image

from . import exam, retrieval, stranger, tool_exam
from .model import IMAGE, IMAGE_TOKENS, PAD
from .questions import KINDS

#: Most tokens of an answer: of one that is a box or a sentence, of any other, and of a call.
LONG, SHORT, CALL = 64, 12, 96
LONG_KINDS = ("box", "caption")
BATCH = 50
#: All that is measured, by name.
MEASURES = (
    *(f"own/{kind}" for kind in KINDS),
    *(f"{trial}/{kind}" for kind in stranger.KINDS for trial in ("stranger", "blind")),
    "tools", "retrieval", "neighbours",
)  # fmt: skip


class Examinee:
    """A model loaded from its saved files, asked in batches."""

    def __init__(self, folder: Path) -> None:
        self._model: Any = LlavaForConditionalGeneration.from_pretrained(
            folder, dtype=torch.float32
        ).eval()
        self._processor: Any = AutoProcessor.from_pretrained(folder)

    def answers(self, items: Sequence[exam.Item]) -> list[str]:
        """Return the answers to questions about images, without spaces around them."""
        image = open_image(Image.new("RGB", (8, 8)))  # stands for any
        prompts = [build([Message("user", (image, item.question))]) for item in items]
        limit = LONG if any(item.kind in LONG_KINDS for item in items) else SHORT
        return self._generate(prompts, limit, [item.image for item in items])

    def calls(self, items: Sequence[tool_exam.ToolItem]) -> list[str]:
        """Return what it writes where tools are bound, without spaces around it."""
        return self._generate([build(item.messages, item.constraint) for item in items], CALL)

    def _generate(
        self, prompts: Sequence[Any], limit: int, images: Sequence[Image.Image] = ()
    ) -> list[str]:
        tokenizer, texts = Tokenizer(self._processor.tokenizer), list[str]()
        for start in range(0, len(prompts), BATCH):
            some = [
                tokenizer.tokenize(prompt, lambda _: (IMAGE,) * IMAGE_TOKENS)
                for prompt in prompts[start : start + BATCH]
            ]
            length = max(map(len, some))
            ids = torch.tensor([[PAD] * (length - len(one)) + one for one in some])
            inputs = {"input_ids": ids, "attention_mask": (ids != PAD).long()}
            if seen := images[start : start + BATCH]:
                inputs |= self._processor.image_processor(seen, return_tensors="pt")
            with torch.inference_mode():
                written = self._model.generate(**inputs, max_new_tokens=limit, do_sample=False)
            answers = tokenizer.tokenizer.batch_decode(
                written[:, length:], skip_special_tokens=True
            )
            texts += [answer.strip() for answer in answers]
        return texts


def measure(name: str, folder: Path, examinee: Examinee, each: int) -> Any:
    """Return one of `MEASURES`, of `each` questions (blind: of a third of them)."""
    if name == "tools":
        calls = tool_exam.items()
        return tool_exam.by_part(calls, examinee.calls(calls))
    if name in ("retrieval", "neighbours"):
        search: Any = retrieval.examine if name == "retrieval" else retrieval.neighbours
        with Embedder(str(folder), device="cpu", dtype="float32") as embedder:
            return search(embedder.embed_texts, embedder.embed_images)
    trial, kind = name.split("/")
    if trial == "blind":
        items = exam.blinded(exam.stranger_items(-(-each // 3), kinds=[kind]))
    else:
        draw = exam.own_items if trial == "own" else exam.stranger_items
        items = draw(each, kinds=[kind])
    return asdict(exam.score(items, examinee.answers(items))[kind])


def evaluate(folder: Path, out: Path, each: int) -> None:
    """Measure what the JSON file `out` does not have yet of this model."""
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    figures: dict[str, Any] = {"sha256": digest, "each": each}
    if (
        out.exists()
        and figures.items() <= (saved := json.loads(out.read_text(encoding="utf-8"))).items()
    ):
        figures = saved
    examinee = Examinee(folder)
    for name in MEASURES:
        if name not in figures:
            figures[name] = measure(name, folder, examinee, each)
            sys.stderr.write(f"{name} {json.dumps(figures[name])}\n")
            part = out.with_suffix(".part")
            part.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
            part.replace(out)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Examine a saved embedded model.")
    parser.add_argument("--model", type=Path, required=True, help="folder of its files")
    parser.add_argument("--out", type=Path, required=True, help="JSON file of figures")
    parser.add_argument("--each", type=int, default=300, help="questions a kind (300)")
    options = parser.parse_args()
    evaluate(options.model, options.out, options.each)
