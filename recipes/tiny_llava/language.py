"""Pre-training of the language model on text that the recipe writes itself.

    python -m recipes.tiny_llava.language DIR --steps N

reads `DIR/tokenizer` and writes `DIR/language`.

A step has questions about symbolic pictures, captions of them, and conversations with tools. A
symbolic picture is sampled but never drawn: `Symbols` says in words what each of its 64 patches
shows (`cells.labels`), in place of the vision tower and the projector, in this stage only.
Questions about a picture share its patches, but do not see each other. At first they are of few
kinds: a model learns to look things up soon from few kinds, and late from many.
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
from .things import Picture

Rng = np.random.Generator
IGNORED = dataset.IGNORED

#: The weight of target tokens in the loss, by group of examples.
WEIGHTS = {"picture": 2.0, "caption": 1.0, "tools": 0.3}
#: Questions about a picture.
QUESTIONS = 5
#: Kinds of questions, in the order in which they are taught.
LESSONS = (
    "background", "count", "colour", "shape", "exist", "count shape", "count colour", "number",
    "count bars", "tallest", "shortest", "position", "stamp", "bar's colour", "relation",
    "count both", "stamp there", "count lines", "total", "letters", "word", "title",
    "stamp's word", "caption", "box",
)  # fmt: skip
#: Shares of the training between which its start, mostly captions of shapes, gives way to all.
EASY = (0.12, 0.4)
#: Share of questions that stay plain: the others are put as people may put them.
PLAIN = 0.2
#: Shares of pictures that are not of shapes, and of labels that are wrong (half of those are 0).
WIDE, ERRORS = 0.5, 0.03
#: Standard deviations of the embeddings of labels at the start, and of the noise on features.
SCALE, NOISE = 0.05, 0.02
RATE = 2e-3
#: The most tokens of a batch (larger ones leave the processor's caches), and of what its length is
#: a multiple (every new shape costs time).
BATCH, MULTIPLE = 2048, 32


class Example(NamedTuple):
    """What one row of a batch holds.

    Attributes:
        group: One of `WEIGHTS`.
        kinds: The kind of each answer.
        ids: Token ids.
        targets: Equal to `ids` where there is loss, `IGNORED` elsewhere.
        branches: 0 for what all questions share, then the number of the question.
        positions: Of the tokens, as if each question stood alone.
        labels: Of its symbolic picture, int64 (64, label groups), or None.
    """

    group: str
    kinds: tuple[str, ...]
    ids: list[int]
    targets: list[int]
    branches: list[int]
    positions: list[int]
    labels: cells.Labels | None = None


class Writer:
    """Writes examples with the engine's tokenizer."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self._image = open_image(Image.new("RGB", (8, 8)))  # stands for any picture

    def write(self, group: str, rng: Rng, done: float) -> Example:
        """Return an example of a group."""
        if group == "tools":
            conversation = tools.conversation(rng)
            system = Message("system", (conversation.system,))
            kinds = (conversation.kind,) * len(conversation.turns)
            return pack(group, kinds, [self.tokenize(conversation.turns, system)])
        if group == "caption":  # as in LLaVA's first stage
            picture = sample.sample(rng, wide(done))
            text = captions.describe(picture, rng)
            tokens = dataset.tokenize_caption(text, self.tokenizer, model.IMAGE, model.IMAGE_TOKENS)
            return pack(group, ("describe",), [tokens], perturb(cells.labels(picture), rng))
        picture, asked = ask(rng, done)
        plain = max(PLAIN, ease(done))
        texts = [q.plain if rng.random() < plain else questions.spoken(q, rng) for q in asked]
        alone = [self.tokenize([(t, q.answer)]) for t, q in zip(texts, asked, strict=True)]
        return pack(group, tuple(q.kind for q in asked), alone, perturb(cells.labels(picture), rng))

    def tokenize(
        self, turns: Sequence[tuple[str, str]], first: Message | None = None
    ) -> dataset.TokenizedExample:
        """Return questions and answers as tokens, after a system message or about an image."""
        messages = [first or Message("user", (self._image,))]
        for question, answer in turns:
            messages += [Message("user", (question,)), Message("assistant", (answer,))]
        return dataset.tokenize(messages, self.tokenizer, model.IMAGE, model.IMAGE_TOKENS)


def ease(done: float) -> float:
    """Return how much of the start is left: 1 at first, 0 once everything is taught."""
    return min(1.0, max(0.0, (EASY[1] - done) / (EASY[1] - EASY[0])))


def groups(done: float) -> list[str]:
    """Return the groups of a step's examples.

    Captions teach soon to look up what a patch shows, which questions need. Tools come later: what
    they are given can only be copied, and before a model copies, that is noise.
    """
    start = ease(done)
    counts = {"picture": 8 - 5 * start, "caption": 2 + 10 * start, "tools": 3 - 3 * start}
    return [group for group, count in counts.items() for _ in range(round(count))]


def wide(done: float) -> float:
    """Return the share of pictures that are not of shapes: none at first."""
    return WIDE * (1 - ease(done))


def ask(rng: Rng, done: float) -> tuple[Picture, list[questions.Question]]:
    """Return a picture and questions about it, of the kinds that are taught so far."""
    taught = LESSONS[: max(4, round(len(LESSONS) * (1 - ease(done))))]
    while True:
        picture = sample.sample(rng, wide(done))
        asked = [questions.ask(picture, rng) for _ in range(3 * QUESTIONS)]
        if found := [question for question in asked if question and question.kind in taught]:
            return picture, found[:QUESTIONS]


def pack(
    group: str,
    kinds: tuple[str, ...],
    conversations: Sequence[dataset.TokenizedExample],
    labels: cells.Labels | None = None,
) -> Example:
    """Return one row of conversations that begin alike, up to and with their image."""
    first = conversations[0].ids
    shared = 0 if labels is None else len(first) - first[::-1].index(model.IMAGE)
    row = Example(group, kinds, list(first[:shared]), [IGNORED] * shared, [0] * shared, [], labels)
    row.positions.extend(range(shared))
    for number, tokens in enumerate(conversations, 1):
        row.ids.extend(tokens.ids[shared:])
        row.targets.extend(tokens.labels[shared:])
        row.branches.extend([number] * (len(tokens.ids) - shared))
        row.positions.extend(range(shared, len(tokens.ids)))
    return row


def split(examples: Iterable[Example]) -> list[list[Example]]:
    """Return batches of similar length with at most `BATCH` tokens each, padding included."""
    batches: list[list[Example]] = [[]]
    for example in sorted(examples, key=lambda example: len(example.ids)):
        if batches[-1] and (len(batches[-1]) + 1) * len(example.ids) > BATCH:
            batches.append([])
        batches[-1].append(example)
    return batches


def perturb(labels: cells.Labels, rng: Rng) -> cells.Labels:
    """Return labels (64, groups) with mistakes in those that are not 0, as a vision tower's."""
    others = rng.integers(0, list(cells.GROUPS.values()), size=labels.shape)
    others[rng.random(labels.shape) < 0.5] = 0
    return np.where((labels > 0) & (rng.random(labels.shape) < ERRORS), others, labels)


class Symbols(nn.Module):
    """Makes image features of labels: a patch is the sum of its words, their groups and its place.

    A class that has a name, such as a colour or a character, is said by the embedding of that word
    in the language model; all have an embedding of their own beside it.
    """

    def __init__(self, tokenizer: Tokenizer, width: int) -> None:
        super().__init__()
        sizes = torch.tensor(list(cells.GROUPS.values()))
        words = [
            tokenizer.encode(name) if name else []
            for group in cells.CLASSES.values()
            for name in group
        ]
        ids = torch.tensor([word[0] if len(word) == 1 else model.PAD for word in words])
        self.offsets: Tensor
        self.words: Tensor
        self.register_buffer("offsets", sizes.cumsum(0) - sizes, persistent=False)
        self.register_buffer("words", ids, persistent=False)
        self.label_embedding = nn.Parameter(SCALE * torch.randn(int(sizes.sum()), width))
        self.place_embedding = nn.Parameter(SCALE * torch.randn(model.IMAGE_TOKENS, width))

    def forward(self, labels: Tensor, word_embedding: Tensor) -> Tensor:
        """Return features [n, 64, width] of labels int64 [n, 64, groups]; label 0 adds nothing.

        `word_embedding` is that of the language model, [vocabulary, width].
        """
        named = (self.words != model.PAD)[:, None] * word_embedding[self.words]
        embedded = functional.embedding(labels + self.offsets, self.label_embedding + named)
        return (embedded * (labels > 0)[..., None]).sum(-2) + self.place_embedding


class Pretraining(nn.Module):
    """The language model and the symbols that it answers from."""

    def __init__(self, language: LlamaForCausalLM, writer: Writer) -> None:
        super().__init__()
        self.language, self._writer = language, writer
        self.symbols = Symbols(writer.tokenizer, language.config.hidden_size)

    def loss(self, rng: Rng, done: float) -> tuple[Tensor, dict[str, float]]:
        """Return the weighted mean loss of a step's target tokens, and figures; see `loop.Loss`.

        The figures: each group's mean loss, and the share of each kind's answers without a mistake.
        """
        examples = [self._writer.write(group, rng, done) for group in groups(done)]
        figures: defaultdict[str, list[float]] = defaultdict(list)
        total, weight = torch.zeros(()), 0.0
        for batch in split(examples):
            answers = [(example.group, kind) for example in batch for kind in example.kinds]
            for (group, kind), (losses, hits) in zip(answers, self.score(batch, rng), strict=True):
                total = total + WEIGHTS[group] * losses.sum()
                weight += WEIGHTS[group] * len(losses)
                figures[f"{group} loss"].append(float(losses.detach().mean()))
                figures[f"{kind} right"].append(float(hits.all()))
        return total / weight, {name: float(np.mean(f)) for name, f in figures.items()}

    def score(self, examples: list[Example], rng: Rng) -> list[tuple[Tensor, Tensor]]:
        """Return for each answer the losses of its tokens and whether each is the likeliest."""
        length = -(-max(len(example.ids) for example in examples) // MULTIPLE) * MULTIPLE
        ids, targets, branches, positions = (
            torch.tensor([row + [fill] * (length - len(row)) for row in rows])
            for rows, fill in (
                ([example.ids for example in examples], model.PAD),
                ([example.targets for example in examples], IGNORED),
                ([example.branches for example in examples], 0),
                ([example.positions for example in examples], 0),
            )
        )
        embedded = self.language.model.embed_tokens(ids)
        seen = [example.labels for example in examples if example.labels is not None]
        if seen:
            words = self.language.model.embed_tokens.weight
            features = self.symbols(torch.from_numpy(np.stack(seen)), words)
            noise = rng.standard_normal(features.shape, dtype=np.float32)
            features = features + NOISE * torch.from_numpy(noise)
            embedded = embedded.masked_scatter((ids == model.IMAGE)[..., None], features)
        before = torch.ones(length, length, dtype=torch.bool).tril()
        same = (branches[:, :, None] == branches[:, None]) | (branches[:, None] == 0)
        hidden = self.language.model(
            inputs_embeds=embedded,
            attention_mask=torch.where(before & same, 0.0, -torch.inf)[:, None],
            position_ids=positions,
            use_cache=False,
        ).last_hidden_state
        is_target = targets[:, 1:] != IGNORED
        true = targets[:, 1:][is_target]
        logits = self.language.lm_head(hidden[:, :-1][is_target]).float()
        # An answer's losses stand together: it starts where the token before is no target.
        starts = is_target & ~functional.pad(is_target, (1, 0))[:, :-1]
        lengths = (starts.flatten().cumsum(0)[is_target.flatten()] - 1).bincount().tolist()
        losses = functional.cross_entropy(logits, true, reduction="none").split(lengths)
        return list(zip(losses, (logits.argmax(-1) == true).split(lengths), strict=True))


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
