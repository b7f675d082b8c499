"""How often a saved model answers right, by kind, on what no training shows.

`own` asks about the training renderer's pictures in the training's phrasings, with unseen seeds;
`stranger` asks about the second renderer's in its own words; `blind` asks the stranger's questions
about noise. Then come exact calls of tools that no training has, without a grammar, and retrieval.
Answers are greedy, by transformers, in float32. Figures go to a JSON file after each kind; a killed
run resumes from it.

    python -m recipes.tiny.evaluate DIR [--each 300]
    python -m recipes.tiny.evaluate --model llava_tools/tiny --out FILE
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer
from transformers import AutoProcessor, LlavaForConditionalGeneration

from llava_tools import Embedder
from llava_tools.chat import prompt
from llava_tools.core.constraints import UNCONSTRAINED, Constraint
from llava_tools.core.requests import Message
from llava_tools.images import open_image

from . import exam, retrieval, stranger, tool_exam
from .model import BOS, END, IMAGE, IMAGE_TOKENS, PAD
from .questions import KINDS

#: Most tokens of an answer: of one that is a box or a sentence, of any other, and of a call.
LONG, SHORT, CALL = 64, 12, 96
LONG_KINDS = ("box", "caption")
BATCH = 50

Figures = dict[str, Any]


class Examinee:
    """A model loaded from its saved files, asked in batches."""

    def __init__(self, folder: Path) -> None:
        self._model: Any = LlavaForConditionalGeneration.from_pretrained(
            folder, dtype=torch.float32
        ).eval()
        self._processor = AutoProcessor.from_pretrained(folder)
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._image = open_image(Image.new("RGB", (8, 8)))  # stands for any

    def answers(self, items: Sequence[exam.Item]) -> list[str]:
        """Return the answers to questions about images, without spaces around them."""
        prompts = [self._prompt([Message("user", (self._image, i.question))]) for i in items]
        limit = LONG if any(item.kind in LONG_KINDS for item in items) else SHORT
        return self._generate(prompts, limit, [item.image for item in items])

    def calls(self, items: Sequence[tool_exam.ToolItem]) -> list[str]:
        """Return what it writes where tools are bound, without spaces around it."""
        return self._generate([self._prompt(i.messages, i.constraint) for i in items], CALL)

    def _prompt(
        self, messages: Sequence[Message], constraint: Constraint = UNCONSTRAINED
    ) -> list[int]:
        def encode(text: str, *, start: bool) -> list[int]:
            ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
            return ids

        return prompt.token_ids(
            prompt.build(messages, constraint),
            encode,
            bos=(BOS,),
            special=lambda _: END,
            image=lambda _: (IMAGE,) * IMAGE_TOKENS,
        )

    def _generate(
        self, prompts: list[list[int]], limit: int, images: Sequence[Image.Image] = ()
    ) -> list[str]:
        """Return the continuations of prompts, those of like length together."""
        order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
        texts = [""] * len(prompts)
        for start in range(0, len(order), BATCH):
            some = order[start : start + BATCH]
            length = max(len(prompts[i]) for i in some)
            ids = torch.tensor([[PAD] * (length - len(prompts[i])) + prompts[i] for i in some])
            seen = {}
            if images:
                process = self._processor.image_processor
                seen = dict(process([images[i] for i in some], return_tensors="pt"))
            with torch.inference_mode():
                written = self._model.generate(
                    input_ids=ids,
                    attention_mask=(ids != PAD).long(),
                    max_new_tokens=limit,
                    do_sample=False,
                    **seen,
                )
            for index, row in zip(some, written, strict=True):
                texts[index] = self._tokenizer.decode(row[length:].tolist()).strip()
        return texts


def plan(folder: Path, each: int) -> dict[str, Callable[[], Any]]:
    """Return what there is to measure, by name: `own/colour`, ..., `tools`, `retrieval`."""
    examinee, jobs = Examinee(folder), dict[str, Callable[[], Any]]()

    def ask(draw: Callable[[], list[exam.Item]], blind: bool = False) -> dict[str, int]:
        items = exam.blinded(draw()) if blind else draw()
        (score,) = exam.score(items, examinee.answers(items)).values()
        return asdict(score)

    def tools() -> dict[str, tuple[int, int]]:
        items = tool_exam.items()
        return tool_exam.by_part(items, examinee.calls(items))

    def search(measure: Callable[..., Any]) -> Any:
        with Embedder(str(folder), device="cpu", dtype="float32") as embedder:

            def embed(method: Callable[[Any], list[list[float]]], inputs: Any) -> retrieval.Vectors:
                return np.array(method(inputs), np.float32)

            return measure(
                partial(embed, embedder.embed_texts), partial(embed, embedder.embed_images)
            )

    for kind in KINDS:
        jobs[f"own/{kind}"] = partial(ask, partial(exam.own_items, each, kinds=[kind]))
    for kind in stranger.KINDS:
        draw = partial(exam.stranger_items, kinds=[kind])
        jobs[f"stranger/{kind}"] = partial(ask, partial(draw, each))
        jobs[f"blind/{kind}"] = partial(ask, partial(draw, -(-each // 3)), blind=True)
    jobs["tools"] = tools
    jobs["retrieval"] = partial(search, retrieval.examine)
    jobs["neighbours"] = partial(search, retrieval.neighbours)
    return jobs


def evaluate(folder: Path, out: Path, each: int) -> Figures:
    """Measure what the JSON file `out` does not have yet of this model; return all figures."""
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    figures: Figures = {"sha256": digest, "each": each}
    saved = json.loads(out.read_text(encoding="utf-8")) if out.exists() else {}
    if all(saved.get(key) == value for key, value in figures.items()):
        figures = saved
    for name, measure in plan(folder, each).items():
        if name not in figures:
            figures[name] = measure()
            sys.stderr.write(f"{name} {json.dumps(figures[name])}\n")
            part = out.with_suffix(".part")
            part.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
            part.replace(out)
    return figures


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Examine a saved embedded model.")
    parser.add_argument("folder", type=Path, metavar="DIR", nargs="?", default=Path())
    parser.add_argument("--model", type=Path, help="folder of its files (DIR/model)")
    parser.add_argument("--out", type=Path, help="JSON file of figures (DIR/figures.json)")
    parser.add_argument("--each", type=int, default=300, help="questions a kind (300)")
    options = parser.parse_args(arguments)
    out = options.out or options.folder / "figures.json"
    evaluate(options.model or options.folder / "model", out, options.each)


if __name__ == "__main__":
    main()
