"""Pre-training of the language model on text that the recipe writes itself.

    python -m recipes.tiny.language DIR --steps N    # reads DIR/tokenizer, writes DIR/language

A step has conversations about symbolic pictures, captions of them, and conversations with tools. A
symbolic picture is sampled but never drawn: `Symbols` embeds the labels of its 64 patches
(`cells.labels`), in place of the vision tower and the projector, and is used in this stage only.
`llava_tools.finetune.dataset` tokenizes, so prompts and targets are those of later stages.
"""

from __future__ import annotations

import argparse
import shutil
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoTokenizer, LlamaForCausalLM

from llava_tools.core.requests import Message
from llava_tools.engine.tokenizer import Tokenizer
from llava_tools.finetune import dataset
from llava_tools.images import open_image

from . import captions, cells, loop, model, questions, sample, tools

Rng = np.random.Generator

#: Groups of examples: how many are in a step, and the weight of their target tokens in the loss.
GROUPS = {"picture": (20, 2.0), "caption": (4, 1.0), "tools": (6, 1.0)}
#: Shares of pictures that are not of shapes, and of labels that are wrong (half of those are 0).
WIDE, ERRORS = 0.55, 0.03
#: Probabilities of one to seven rounds about a picture.
ROUNDS = (0.15, 0.05, 0.1, 0.15, 0.15, 0.2, 0.2)
#: Share of questions in their plainest words, and the peak learning rate.
PLAIN, RATE = 0.3, 4e-3
#: Standard deviations of the embeddings of labels at the start, and of the noise on features.
SCALE, NOISE = 0.05, 0.02
#: The most tokens of a batch (larger ones leave the processor's caches), and of what its length is
#: a multiple (every new shape costs time).
BATCH, MULTIPLE = 1536, 32


class Example(NamedTuple):
    """A conversation to learn from.

    Attributes:
        group: One of `GROUPS`.
        kinds: The kind of each answer.
        tokens: Ids and targets.
        labels: Those of its symbolic picture, int64 (64, label groups), or None.
    """

    group: str
    kinds: tuple[str, ...]
    tokens: dataset.TokenizedExample
    labels: cells.Labels | None = None


class Writer:
    """Writes examples with the engine's tokenizer."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._arguments = tokenizer, model.IMAGE, model.IMAGE_TOKENS
        self._image = open_image(Image.new("RGB", (8, 8)))  # stands for any picture

    def write(self, group: str, rng: Rng) -> Example:
        """Return an example of a group."""
        if group == "tools":
            conversation = tools.conversation(rng)
            system = Message("system", (conversation.system,))
            kinds = (conversation.kind,) * len(conversation.turns)
            return Example(group, kinds, self.tokenize(conversation.turns, system))
        picture = sample.sample(rng, wide=WIDE)
        labels = perturb(cells.labels(picture), rng)
        if group == "caption":  # as in LLaVA's first stage
            tokens = dataset.tokenize_caption(captions.describe(picture, rng), *self._arguments)
            return Example(group, ("describe",), tokens, labels)
        rounds = 1 + int(rng.choice(len(ROUNDS), p=ROUNDS))
        asked = [q for _ in range(rounds) if (q := questions.ask(picture, rng)) is not None]
        texts = [
            f"{q.text[0].upper()}{q.text[1:]}?"
            if rng.random() < PLAIN
            else questions.spoken(q, rng)
            for q in asked
        ]
        tokens = self.tokenize([(t, q.answer) for t, q in zip(texts, asked, strict=True)])
        return Example(group, tuple(question.kind for question in asked), tokens, labels)

    def tokenize(
        self, turns: Sequence[tuple[str, str]], first: Message | None = None
    ) -> dataset.TokenizedExample:
        """Return questions and answers as tokens, after a system message or about an image."""
        messages = [first or Message("user", (self._image,))]
        for question, answer in turns:
            messages += [Message("user", (question,)), Message("assistant", (answer,))]
        return dataset.tokenize(messages, *self._arguments)


def split(examples: Iterable[Example]) -> list[list[Example]]:
    """Return batches of similar length with at most `BATCH` tokens each, padding included."""
    batches: list[list[Example]] = [[]]
    for example in sorted(examples, key=lambda example: len(example.tokens.ids)):
        if batches[-1] and (len(batches[-1]) + 1) * len(example.tokens.ids) > BATCH:
            batches.append([])
        batches[-1].append(example)
    return batches


def perturb(labels: cells.Labels, rng: Rng) -> cells.Labels:
    """Return labels (64, groups) with mistakes in those that are not 0, as a vision tower's."""
    others = rng.integers(0, list(cells.GROUPS.values()), size=labels.shape)
    others[rng.random(labels.shape) < 0.5] = 0
    return np.where((labels > 0) & (rng.random(labels.shape) < ERRORS), others, labels)


class Symbols(nn.Module):
    """Makes image features of labels: a sum of embeddings of what a patch holds and its place."""

    def __init__(self, width: int) -> None:
        super().__init__()
        sizes = torch.tensor(list(cells.GROUPS.values()))
        self.offsets: Tensor
        self.register_buffer("offsets", sizes.cumsum(0) - sizes, persistent=False)
        self.label_embedding = nn.Parameter(SCALE * torch.randn(int(sizes.sum()), width))
        self.place_embedding = nn.Parameter(SCALE * torch.randn(model.IMAGE_TOKENS, width))

    def forward(self, labels: Tensor) -> Tensor:
        """Return features [n, 64, width] of labels int64 [n, 64, groups]; label 0 adds nothing."""
        embedded = functional.embedding(labels + self.offsets, self.label_embedding)
        return (embedded * (labels > 0)[..., None]).sum(-2) + self.place_embedding


class Pretraining(nn.Module):
    """The language model and the symbols that it answers from."""

    def __init__(self, language: LlamaForCausalLM, writer: Writer) -> None:
        super().__init__()
        self.language, self._writer = language, writer
        self.symbols = Symbols(language.config.hidden_size)

    def loss(self, rng: Rng, done: float) -> tuple[Tensor, dict[str, float]]:
        """Return the weighted mean loss of a step's target tokens, and figures; see `loop.Loss`.

        The figures: each group's mean loss, and the share of each kind's answers without a mistake.
        """
        examples = [self._writer.write(g, rng) for g, (n, _) in GROUPS.items() for _ in range(n)]
        figures: defaultdict[str, list[float]] = defaultdict(list)
        total, weight = torch.zeros(()), 0.0
        for batch in split(examples):
            answers = [(example.group, kind) for example in batch for kind in example.kinds]
            for (group, kind), (losses, hits) in zip(answers, self._score(batch, rng), strict=True):
                total = total + GROUPS[group][1] * losses.sum()
                weight += GROUPS[group][1] * len(losses)
                figures[f"{group} loss"].append(float(losses.detach().mean()))
                figures[f"{kind} right"].append(float(hits.all()))
        return total / weight, {name: float(np.mean(f)) for name, f in figures.items()}

    def _score(self, examples: list[Example], rng: Rng) -> list[tuple[Tensor, Tensor]]:
        """Return for each answer the losses of its tokens and whether each is the likeliest."""
        ids, labels, *_ = dataset.collate([(example.tokens, None) for example in examples])
        rest = (0, -ids.shape[1] % MULTIPLE)
        ids, labels = functional.pad(ids, rest), functional.pad(labels, rest, value=dataset.IGNORED)
        embedded = self.language.model.embed_tokens(ids)
        seen = [example.labels for example in examples if example.labels is not None]
        if seen:
            features = self.symbols(torch.from_numpy(np.stack(seen)))
            noise = rng.standard_normal(features.shape, dtype=np.float32)
            features = features + NOISE * torch.from_numpy(noise)
            embedded = embedded.masked_scatter((ids == model.IMAGE)[..., None], features)
        # No mask: padding is on the right, where nothing attends to it.
        hidden = self.language.model(inputs_embeds=embedded, use_cache=False).last_hidden_state
        is_target = labels[:, 1:] != dataset.IGNORED
        targets = labels[:, 1:][is_target]
        logits = self.language.lm_head(hidden[:, :-1][is_target]).float()
        starts = is_target & ~functional.pad(is_target, (1, 0))[:, :-1]
        lengths = (starts.flatten().cumsum(0)[is_target.flatten()] - 1).bincount().tolist()
        losses = functional.cross_entropy(logits, targets, reduction="none").split(lengths)
        return list(zip(losses, (logits.argmax(-1) == targets).split(lengths), strict=True))


def pretrain(folder: Path, steps: int) -> None:
    """Train a language model with the tokenizer of `folder`; write `folder/language`."""
    backend = AutoTokenizer.from_pretrained(folder / "tokenizer")
    language = model.new_language_model(len(backend))
    language.set_attn_implementation("eager")  # trains faster than "sdpa" at these lengths
    module = Pretraining(language, Writer(Tokenizer(backend)))
    loop.train("language", folder, module, module.loss, steps=steps, rate=RATE)
    language.save_pretrained(folder / "language")
    shutil.copytree(folder / "tokenizer", folder / "language", dirs_exist_ok=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Pre-train the embedded model's language model.")
    parser.add_argument("folder", type=Path, help="DIR; reads DIR/tokenizer, writes DIR/language")
    parser.add_argument("--steps", type=int, required=True)
    options = parser.parse_args()
    pretrain(options.folder, options.steps)
