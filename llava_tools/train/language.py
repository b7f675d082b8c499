"""The language model, trained to answer about pictures that were never drawn.

Scenes go in as :func:`~llava_tools.train.patches.meaning` in fixed codes, blurred a little as an
eye would blur them, with conversations about them; the loss counts what the assistant says and
its ``</s>``. At the same time the eye learns to produce these very codes from pixels, so the two
fit together without either having waited for the other. :func:`learn` is the loop that tuning on
real drawings shares.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional
from transformers import LlavaForConditionalGeneration

from .architecture import text_width
from .checkpoint import Stage
from .conversations import (
    IGNORED,
    IMAGE,
    Conversations,
    Lesson,
    Writer,
    converse,
    lectures,
    pack,
)
from .copying import attention_loss, ground_copying
from .optim import Optimizer, linear_decay
from .patches import ATTRIBUTES, PATCHES, WIDE, codebook
from .record import Record
from .sights import Sight, sample_sight, sight_meaning
from .talk.react import react
from .team import Team
from .wide.codes import mistake
from .words import PLURALS, SINGULARS
from .world import COLOURS, SHAPES, Scene, sample_scene

REACT_LENGTH = 1900
"""Tokens of a row of an agent that thinks aloud: most of them its instructions."""

Look = Callable[[np.random.Generator, int, int], tuple[list[Sight], Tensor]]
"""Makes so many pictures and then so many of shapes only, and what the language model sees of all:
(both, 64, width) float."""


def imagine(width: int, wide: float = 0.0) -> Look:
    """Pictures in codes, straight from the ground truth, without drawing.

    A share ``wide`` of them shows writing, charts or pages.
    """
    codes = torch.from_numpy(codebook(width))

    def look(rng: np.random.Generator, count: int, shapes: int) -> tuple[list[Sight], Tensor]:
        scenes = [sample_sight(rng, wide) for _ in range(count)]
        scenes += [sample_scene(rng) for _ in range(shapes)]
        weights = torch.from_numpy(np.stack([blurred(sight_meaning(s), rng) for s in scenes]))
        shape = len(scenes), PATCHES, width
        noise = rng.standard_normal(shape, np.float32) * np.float32(rng.uniform(0, 0.04))
        return scenes, weights @ codes + torch.from_numpy(noise)

    return look


def blurred(weights: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Weights as an imperfect eye reports them: unsure of some colours, shapes and places."""
    weights = weights * (1 + 0.06 * rng.standard_normal(weights.shape, np.float32))
    weights += 0.015 * rng.standard_normal(weights.shape, np.float32)
    here = np.flatnonzero(weights[:, 1 : 1 + len(COLOURS)].sum(axis=1) > 0.2)
    for patch in here:
        if rng.random() < 0.15:
            low, size = ((1, len(COLOURS)), (1 + len(COLOURS), len(SHAPES)))[int(rng.integers(2))]
            share = float(rng.uniform(0, 0.35))
            weights[patch, low : low + size] *= 1 - share
            weights[patch, low + int(rng.integers(size))] += share
    mistake(weights[:, WIDE:], rng)
    assert weights.shape == (PATCHES, len(ATTRIBUTES))
    return weights


def train_language(
    model: LlavaForConditionalGeneration,
    tokenizer: Tokenizer,
    path: Path,
    minutes: float,
    *,
    pictures: int = 2,
    questions: int = 16,
    rate: float = 1.2e-3,
    seed: int = 23,
    team: Team | None = None,
) -> None:
    """Train the language model in place on imagined scenes and tools for ``minutes``."""
    stage = Stage("language", path, minutes)
    ground_words(model, tokenizer)
    rng, writer = np.random.default_rng((seed, 1 << 31)), Writer(tokenizer)
    heard = pack([lectures(writer, rng, 450) for _ in range(24)])
    ground_copying(model, heard, torch.zeros(0, PATCHES, text_width(model)))
    weights = dict(model.model.language_model.named_parameters())
    look = imagine(text_width(model))
    optimizer = Optimizer(weights.items(), rate, paces={"embed_tokens": 0.4})
    learn(
        model,
        tokenizer,
        stage,
        weights,
        optimizer,
        look,
        pictures,
        questions,
        seed,
        lesson=first_lessons,
        hold=0.45,
        guide=0.3,
        emphasis=3.0,
        team=team,
    )


def continue_language(
    model: LlavaForConditionalGeneration,
    tokenizer: Tokenizer,
    path: Path,
    minutes: float,
    start: Path,
    lesson: Lesson,
    *,
    wide: float = 0.5,
    pictures: int = 2,
    questions: int = 16,
    rate: float = 8e-4,
    seed: int = 53,
    team: Team | None = None,
) -> None:
    """Go on from the language model of the checkpoint ``start``, on a wider imagined world.

    A share ``wide`` of the pictures shows writing, charts or pages. Checkpoints go to ``path``,
    and where there is one it counts rather than ``start``.
    """
    stage = Stage("language", path, minutes)
    weights = dict(model.model.language_model.named_parameters())
    restore(weights, torch.load(start, weights_only=True)["weights"])
    optimizer = Optimizer(weights.items(), rate, paces={"embed_tokens": 0.4})
    learn(
        model,
        tokenizer,
        stage,
        weights,
        optimizer,
        imagine(text_width(model), wide),
        pictures,
        questions,
        seed,
        lesson=lambda _: lesson,
        hold=0.45,
        emphasis=3.0,
        team=team,
    )


def first_lessons(step: int) -> Lesson:
    """Exercises first, then plain words, then all manners; tools from the beginning."""
    return Lesson(
        unseen=3,
        length=420,
        spatial=0.1,
        drill=min(1.0, max(0.05, 1.0 - (step - 400) / 150)),
        plain=min(0.9, max(0.1, 0.9 - (step - 500) / 300)),
    )


def ground_words(model: LlavaForConditionalGeneration, tokenizer: Tokenizer, seed: int = 3) -> None:
    """Start the language model where a word finds the patches that show what it names.

    A word's embedding is the code of what it names under a fixed rotation; some heads of the first
    layer have keys that are their queries under the inverse rotation, so that "circle" attends to
    circles and not to itself; some heads of the second let the space before an answer attend to
    such words. Finding these two steps out by gradient alone takes a long plateau, for neither
    helps without the other. It is only a start: all of it goes on learning. Rows of queries and
    keys that turn fast with the distance (RoPE) are left out of it.
    """
    width = text_width(model)
    generator = torch.Generator().manual_seed(seed)
    rotation = torch.linalg.qr(torch.randn(width, width, generator=generator))[0]
    codes = torch.from_numpy(codebook(width))
    codes = codes / codes.norm(dim=1, keepdim=True)
    meant = dict(zip(ATTRIBUTES, codes @ rotation.T, strict=True))
    named = torch.stack([meant[name] for name in (*COLOURS, *SHAPES)]).sum(dim=0)
    embeddings = model.model.language_model.embed_tokens.weight
    layers = cast(Any, model).model.language_model.layers
    with torch.no_grad():
        embeddings.normal_(std=0.05, generator=generator)
        for word, name in _names().items():
            ids = tokenizer.encode(word, add_special_tokens=False).ids
            if len(ids) == 1:
                embeddings[ids[0]] = 0.6 * meant[name] + 0.2 * embeddings[ids[0]]
        space = embeddings[tokenizer.encode(" ", add_special_tokens=False).ids[0]]
        for layer in layers:
            for matrix in (layer.self_attn.q_proj.weight, layer.self_attn.k_proj.weight):
                matrix.normal_(std=0.6 * width**-0.5, generator=generator)
        query, key, rows = _slow_rows(layers[0], heads=3)
        query[rows] = torch.randn(len(rows), width, generator=generator) * 1.4 * width**-0.5
        key[rows] = query[rows] @ rotation
        query, key, rows = _slow_rows(layers[1], heads=2)
        chance = torch.randn(len(rows), 1, generator=generator) * (2 / len(rows)) ** 0.5
        query[rows] = 0.5 * chance * space / space.norm()
        key[rows] = 0.5 * chance * named


def _names() -> dict[str, str]:
    """Words and the attribute that each of them names."""
    words = {word: name for name in (*COLOURS, *SHAPES) for word in (name, name.title())}
    words |= {word: kind for kind in SHAPES for word in (*PLURALS[kind], *SINGULARS[kind])}
    anything = ("shape", "object", "figure", "thing", "item", "form", "element")
    return words | {word + end: "shape here" for word in anything for end in ("", "s")}


def _slow_rows(layer: Any, heads: int) -> tuple[Tensor, Tensor, list[int]]:
    """A layer's queries and keys, and those of their rows that RoPE turns slowly."""
    size = layer.self_attn.head_dim
    query, key = layer.self_attn.q_proj.weight, layer.self_attn.k_proj.weight
    last = min(heads * size, len(query))
    return query, key, [row for row in range(last) if row % (size // 2) >= size // 4]


def learn(
    model: LlavaForConditionalGeneration,
    tokenizer: Tokenizer,
    stage: Stage,
    weights: dict[str, nn.Parameter],
    optimizer: Optimizer,
    look: Look,
    pictures: int,
    questions: int,
    seed: int,
    lesson: Callable[[int], Lesson] = lambda _: Lesson(),
    hold: float = 0.35,
    guide: float = 0.0,
    emphasis: float = 1.0,
    team: Team | None = None,
) -> None:
    """Train ``weights`` on conversations about what ``look`` makes, until the stage is over."""
    team = team or Team()
    if (state := stage.load()) is not None:
        restore(weights, state["weights"])
        optimizer.load(state["optimizer"])
    writer = Writer(tokenizer)
    record = Record()
    done = stage.done
    while done < 1:
        rng = np.random.default_rng((seed + team.rank, stage.step))
        manner = lesson(stage.step)
        aloud = rng.random() < manner.react
        asked = 0 if aloud else pictures
        scenes, features = look(rng, asked, 1 if aloud else manner.shown)
        shapes = [scene for scene in scenes[asked:] if isinstance(scene, Scene)]
        if aloud:
            scene = shapes[0] if rng.random() < 0.3 else None
            rows = [lectures(writer, rng, REACT_LENGTH, scene, react)]
            features = features[: scene is not None]
        else:
            rows = [converse(scene, writer, rng, questions, manner) for scene in scenes[:asked]]
            rows += [lectures(writer, rng, manner.length, scene) for scene in shapes]
            rows += [lectures(writer, rng, manner.length) for _ in range(manner.unseen)]
        guided = guide * (done < hold)
        loss = step_loss(model, pack(rows), features, record, guided, asked, emphasis)
        loss.backward()
        optimizer.step(linear_decay(done, hold=hold))
        stage.step += 1
        done = team.meet(stage.step, weights.values(), stage.done)
        if stage.step % 25 == 0 and team.leads:
            stage.tell(record.figures())
        if team.leads and (stage.due or done >= 1):
            kept = {name: p.detach() for name, p in weights.items()}
            stage.save(weights=kept, optimizer=optimizer.state())


def step_loss(
    model: LlavaForConditionalGeneration,
    told: Conversations,
    features: Tensor,
    record: Record | None = None,
    guide: float = 0.0,
    asked: int = 0,
    emphasis: float = 1.0,
) -> Tensor:
    """Mean cross-entropy over what the assistant says.

    Args:
        model: The model; its eye is not used.
        told: Packed conversations, at most one picture a row.
        features: Projected image features of the rows with a picture, (these rows, 64, width).
        record: Keeps count of right answers by kind.
        guide: Weight of :func:`~llava_tools.train.copying.attention_loss` beside it.
        asked: How many rows, the first ones, count ``emphasis`` times as much.
        emphasis: See ``asked``.
    """
    embedded = model.get_input_embeddings()(told.ids)
    image = told.ids == IMAGE
    embedded = embedded.masked_scatter(image[..., None], features.to(embedded.dtype))
    passed = model.model.language_model(
        inputs_embeds=embedded,
        attention_mask=told.allowed,
        position_ids=told.positions,
        use_cache=False,
        output_hidden_states=bool(guide),
    )
    hidden = passed.last_hidden_state
    rows, spots = (told.labels != IGNORED).nonzero(as_tuple=True)
    logits = model.lm_head(hidden[rows, spots - 1])
    truth = told.labels[rows, spots]
    if record is not None:
        right = torch.ones_like(told.labels, dtype=torch.bool)
        right[rows, spots] = logits.detach().argmax(-1) == truth
    losses = functional.cross_entropy(logits, truth, reduction="none")
    loud = torch.where(rows < asked, emphasis, 1.0)
    loss = (losses * loud).sum() / loud.sum()
    looks = attention_loss(model, told, passed.hidden_states) if guide else torch.zeros(())
    if record is not None:
        record.add(told, right, float(loss.detach()), float(looks.detach()))
    return loss + guide * looks


def restore(weights: dict[str, nn.Parameter], saved: dict[str, Tensor]) -> None:
    """Copy saved weights into the parameters of the same names."""
    with torch.no_grad():
        for name, parameter in weights.items():
            parameter.copy_(saved[name])
