"""The CLIP twin: a text tower for the embedded model's eye, so that words find pictures.

A trained embedded model's folder goes in; the weights that make a CLIP of its eye come out (see
:mod:`~recipes.tiny_llava.clip` for which). The loss is CLIP's, symmetric InfoNCE, over drawn
pictures and composed captions; where a caption is also true of another picture of the batch, that
pair is left out.

``python -m recipes.tiny_llava.twin --model DIR --out DIR --minutes N`` draws pictures for the first
part of the time, trains on their hidden states for the rest, writes the twin's files to ``--out``
and prints how well it retrieves. Checkpoints go to ``--work``; the same command after a kill goes
on where it was.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional
from transformers import CLIPModel, LlavaForConditionalGeneration

from .captions import Caption, caption
from .checkpoint import Stage, restore
from .clip import embed_captions, embed_hidden, export, look, new_clip, trained
from .draw import square
from .optim import Optimizer, linear_decay
from .pool import Pool
from .retrieve import Vectors, examine, table
from .world import COLOURS, SHAPES, Scene

DRAWING = 0.3
"""Share of the minutes in which pictures are drawn and looked at, once."""


def also_true(captions: Sequence[Caption], scenes: Sequence[Scene]) -> NDArray[np.bool_]:
    """Which captions are true of which scenes, (captions, scenes)."""
    axes = [*COLOURS, None], [*SHAPES, None]
    index = [{name: i for i, name in enumerate(axis)} for axis in axes]
    counts = np.array([[[s.count(c, k) for k in axes[1]] for c in axes[0]] for s in scenes])
    grounds = np.array([s.background or "" for s in scenes])
    true = np.ones((len(captions), len(scenes)), bool)
    for row, told in zip(true, captions, strict=True):
        if told.background is not None:
            row &= grounds == told.background
        for claim in told.claims:
            here = counts[:, index[0][claim.colour], index[1][claim.kind]]
            row &= (claim.least <= here) & (here <= claim.most)
    return true


def contrast(clip: CLIPModel, texts: Tensor, pictures: Tensor, true: Tensor) -> Tensor:
    """CLIP's loss over a batch of pairs; pairs of ``true`` (n, n) off the diagonal do not count."""
    own = torch.eye(len(texts), dtype=torch.bool)
    scores = clip.logit_scale.exp() * texts @ pictures.T
    scores = scores.masked_fill(true & ~own, float("-inf"))
    target = torch.arange(len(texts))
    said = functional.cross_entropy(scores, target)
    return (said + functional.cross_entropy(scores.T, target)) / 2


def train_twin(
    clip: CLIPModel,
    tokenizer: Tokenizer,
    work: Path,
    minutes: float,
    *,
    size: int = 192,
    rate: float = 2e-3,
    seed: int = 17,
) -> None:
    """Train the twin in place for ``minutes`` of computing, checkpoints in ``work``."""
    parameters = trained(clip)
    clip.requires_grad_(False)
    for parameter in parameters.values():
        parameter.requires_grad_(True)
    drawing = Stage("drawing", work / "drawing.pt", minutes * DRAWING)
    drawing.load()
    pool = Pool(work / "pool", clip, seed)
    while drawing.done < 1 or len(pool) < size:
        pool.grow()
        drawing.step += 1
        drawing.save()
        drawing.tell({"pictures": len(pool)})
    stage = Stage("twin", work / "twin.pt", minutes * (1 - DRAWING))
    optimizer = Optimizer(parameters.items(), rate, paces={"logit_scale": 10.0})
    if (state := stage.load()) is not None:
        restore(parameters, state["weights"])
        optimizer.load(state["optimizer"])
    while stage.done < 1:
        rng = np.random.default_rng((seed, 1, stage.step))
        scenes, hidden = pool.sample(rng, size)
        told = [caption(scene, rng) for scene in scenes]
        texts = embed_captions(clip, [one.text for one in told], tokenizer)
        pictures = embed_hidden(clip, hidden)
        loss = contrast(clip, texts, pictures, torch.from_numpy(also_true(told, scenes)))
        loss.backward()
        optimizer.step(linear_decay(stage.done))
        with torch.no_grad():
            clip.logit_scale.clamp_(max=math.log(100))
        stage.step += 1
        if stage.step % 25 == 0:
            first = (texts @ pictures.T).argmax(1) == torch.arange(len(texts))
            stage.tell(
                {
                    "loss": float(loss.detach()),
                    "first": float(first.float().mean()),
                    "scale": float(clip.logit_scale.detach().exp()),
                }
            )
        if stage.due or stage.done >= 1:
            weights = {name: parameter.detach() for name, parameter in parameters.items()}
            stage.save(weights=weights, optimizer=optimizer.state())


def retrieval(clip: CLIPModel, tokenizer: Tokenizer, times: int = 3) -> dict[str, dict[str, float]]:
    """How well the twin retrieves; see :func:`~recipes.tiny_llava.retrieve.examine`."""

    @torch.inference_mode()
    def texts(said: Sequence[str]) -> Vectors:
        vectors: Vectors = embed_captions(clip, said, tokenizer).numpy()
        return vectors

    @torch.inference_mode()
    def pictures(shown: Sequence[Image.Image]) -> Vectors:
        pixels = np.stack([np.asarray(square(picture)) for picture in shown])
        vectors: Vectors = embed_hidden(clip, look(clip, torch.from_numpy(pixels))).numpy()
        return vectors

    return examine(texts, pictures, times)


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line: train, write, print the table and, last, the figures as one JSON line."""
    parser = argparse.ArgumentParser(description="Train the embedded model's CLIP twin.")
    parser.add_argument("--model", type=Path, required=True, help="the embedded model's folder")
    parser.add_argument("--out", type=Path, required=True, help="folder for the twin's files")
    parser.add_argument("--minutes", type=float, default=24, help="of one free core (24)")
    parser.add_argument("--work", type=Path, help="folder for checkpoints (default OUT.work)")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    model = LlavaForConditionalGeneration.from_pretrained(options.model, dtype=torch.float32)
    tokenizer = Tokenizer.from_file(str(options.model / "tokenizer.json"))
    clip = new_clip(model)
    work = options.work or options.out.with_name(options.out.name + ".work")
    train_twin(clip, tokenizer, work, options.minutes)
    export(clip, options.out)
    told = retrieval(clip, tokenizer)
    sys.stdout.write(f"{table(told)}\n{json.dumps(told)}\n")


if __name__ == "__main__":
    main()
