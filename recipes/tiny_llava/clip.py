"""The first part: a CLIP, trained on drawn pictures and captions.

Two things are learned at once: to match pictures and captions (CLIP's contrastive loss), and to
name what each patch shows (`cells`), by linear heads on the features that LLaVA reads, layer -2.
The heads are thrown away. `python -m recipes.tiny_llava.clip DIR --steps N` leaves the CLIP in
`DIR/clip`: its vision tower is the embedded model's, all of it is what retrieval uses.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, normalize
from transformers import AutoTokenizer, CLIPModel
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from .captions import caption, describe
from .cells import FINE, GRID, GROUPS, labels, owners
from .loop import train
from .model import BOS, PAD, SIDE, TEXT_CONTEXT, new_clip, pixels
from .render import draw
from .sample import sample, sample_scene
from .things import Drawing, Scene

BATCH = 64
RATE = 2.5e-3
#: Weight of a patch that shows nothing of a group, where a patch that does counts 1.
NOTHING = 0.1


@dataclass(frozen=True)
class Batch:
    """Pictures with captions and labels.

    Attributes:
        images: float32 (n, 3, 112, 112).
        texts: int64 (n, tokens).
        match: bool (n, n), whether caption i is true of picture j.
        labels: int64 (n, 64, groups), as `cells.labels`.
        covered: float32 (n, 64, 49) in 0-1, whether a shape covers a part of a patch.
        is_scene: bool (n,), whether it is a picture of shapes.
    """

    images: Tensor
    texts: Tensor
    match: Tensor
    labels: Tensor
    covered: Tensor
    is_scene: Tensor


def make_batch(rng: np.random.Generator, done: float, tokenizer: Tokenizer) -> Batch:
    """Draw a batch: at first plain shapes on white, then shapes of all kinds, then everything."""
    plain = min(1.0, max(0.03, 1 - (done - 0.06) / 0.12))
    wide = 0.55 * min(1.0, max(0.0, (done - 0.15) / 0.1))
    crowded = 0.7 if done < 0.6 else 0.2
    drawings = []
    for _ in range(BATCH):
        if rng.random() < plain:
            drawings.append(draw(sample_scene(rng, crowded, white=True), rng, plain=True))
        else:
            drawings.append(draw(sample(rng, wide, crowded), rng))
    texts, match = _captions(drawings, rng)
    return Batch(
        pixels([drawing.image for drawing in drawings]),
        text_ids(texts, tokenizer),
        match,
        torch.from_numpy(np.stack([labels(d.picture, d.outlines, d.glyphs) for d in drawings])),
        torch.from_numpy(np.stack([_covered(drawing) for drawing in drawings])),
        torch.tensor([isinstance(drawing.picture, Scene) for drawing in drawings]),
    )


def _captions(drawings: Sequence[Drawing], rng: np.random.Generator) -> tuple[list[str], Tensor]:
    """Return a caption of each picture, and which are true of which pictures: bool (n, n)."""
    pictures = [drawing.picture for drawing in drawings]
    match = np.eye(len(pictures), dtype=bool)
    texts = []
    for row, picture in zip(match, pictures, strict=True):
        if not isinstance(picture, Scene):
            texts.append(describe(picture, rng))
            continue
        found = caption(picture, rng)
        texts.append(found.text)
        row |= [isinstance(other, Scene) and found.holds(other) for other in pictures]
    return texts, torch.from_numpy(match)


def _covered(drawing: Drawing) -> np.ndarray:
    if not isinstance(drawing.picture, Scene):
        return np.zeros((GRID * GRID, FINE * FINE), np.float32)
    return (owners(drawing.picture, drawing.outlines) > 0).astype(np.float32)


def text_ids(texts: Sequence[str], tokenizer: Tokenizer) -> Tensor:
    """Return the ids of texts: `<s>`, at most 75 tokens, and pads, the first of which is read."""
    encoded = [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
    rows = [[BOS, *ids[: TEXT_CONTEXT - 2], PAD] for ids in encoded]
    length = max(map(len, rows))
    return torch.tensor([row + [PAD] * (length - len(row)) for row in rows])


class PatchHeads(nn.Module):
    """Linear heads that name what patches show, and trace outlines after the second layer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.classes = nn.Linear(width, sum(GROUPS.values()))
        self.outline = nn.Linear(width, FINE * FINE)

    def loss(self, hidden: Sequence[Tensor], batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """Return the summed loss of all groups and the outlines, and shares of right classes.

        Args:
            hidden: The tower's hidden states (n, 65, width), the embeddings first.
            batch: The truth.
        """
        logits = self.classes(hidden[-2][:, 1:]).float().flatten(0, 1)
        total = self._outline_loss(hidden[2][:, 1:], batch)
        figures = {}
        split = logits.split(list(GROUPS.values()), dim=1)
        for name, said, true in zip(GROUPS, split, batch.labels.flatten(0, 1).T, strict=True):
            weights = torch.ones(said.shape[1])
            weights[0] = 1.0 if name == "ground" else NOTHING
            if not (true > 0).any():
                continue
            total = total + cross_entropy(said, true, weight=weights)
            if name in ("shape", "colour", "character 1", "index 1", "standing"):
                right = said[true > 0].argmax(1) == true[true > 0]
                figures[name] = float(right.float().mean())
        return total, figures

    def _outline_loss(self, hidden: Tensor, batch: Batch) -> Tensor:
        """Shapes are put together from outlines, so the early layers learn these."""
        said = self.outline(hidden[batch.is_scene]).float()
        return 2 * binary_cross_entropy_with_logits(said, batch.covered[batch.is_scene])


class Pretraining(nn.Module):
    """A CLIP with the heads that are thrown away."""

    def __init__(self, clip: CLIPModel) -> None:
        super().__init__()
        self.clip = clip
        self.heads = PatchHeads(clip.visual_projection.in_features)

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """Return the loss of a batch and its figures."""
        seen = self.clip.vision_model(batch.images, output_hidden_states=True)
        named, figures = self.heads.loss(seen.hidden_states, batch)
        images = normalize(self.clip.visual_projection(seen.pooler_output).float(), dim=-1)
        read = self.clip.text_model(batch.texts).pooler_output
        texts = normalize(self.clip.text_projection(read).float(), dim=-1)
        contrast, found = self._contrast(images, texts, batch.match)
        return named + contrast, {**figures, "patches": float(named.detach()), "found": found}

    def _contrast(self, images: Tensor, texts: Tensor, match: Tensor) -> tuple[Tensor, float]:
        """CLIP's loss, without pairs whose caption is true by chance; and the share found."""
        scores = self.clip.logit_scale.exp().clamp(max=100) * texts @ images.T
        scores = scores.masked_fill(match & ~torch.eye(len(match), dtype=torch.bool), -torch.inf)
        own = torch.arange(len(match))
        loss = (cross_entropy(scores, own) + cross_entropy(scores.T, own)) / 2
        return loss, float((scores.argmax(1) == own).float().mean())


def save(clip: CLIPModel, tokenizer_folder: Path, folder: Path) -> None:
    """Write the CLIP with its image processor and tokenizer, as transformers loads them."""
    clip.save_pretrained(folder)
    size = {"height": SIDE, "width": SIDE}
    CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size=size).save_pretrained(folder)
    AutoTokenizer.from_pretrained(tokenizer_folder).save_pretrained(folder)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--steps", type=int, required=True)
    options = parser.parse_args(arguments)
    if (options.folder / "clip" / "config.json").exists():
        return
    tokenizer = Tokenizer.from_file(str(options.folder / "tokenizer" / "tokenizer.json"))
    module = Pretraining(new_clip(tokenizer.get_vocab_size()))
    train(
        "clip",
        options.folder,
        module,
        lambda rng, done: module.loss(make_batch(rng, done, tokenizer)),
        steps=options.steps,
        rate=RATE,
    )
    save(module.clip, options.folder / "tokenizer", options.folder / "clip")


if __name__ == "__main__":
    main()
