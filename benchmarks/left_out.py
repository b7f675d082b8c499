"""What to put in place of image tokens that are left out, and in which windows: a comparison.

Right answers of the embedded model as in `benchmarks.pointing`, on seeds of their own. For each
window of the image's tokens the answer is scored without it, by transformers, with

- mean: the mean of the image's features,
- around: the mean of the cells around the window,
- blank: the features of an image of the background's colour,
- zero: zeros,
- remove: nothing; the tokens after it move up.

Windows of 1, 2 and 3 cells a side of the 8 x 8 grid overhang its edges and lie one cell apart; all
of them count, or every other one as on a chessboard. Falls are those of the log-probability, or of
the log-odds, in which other answers count as much when the answer is nearly certain. A cell gets
the mean fall of its windows, or the square of the mean root. Printed are how often the map's `peak`
lies in the shape's box, and the overlap (IoU) of that box with the map's `region`.

    python -m benchmarks.left_out [--answers 30] [--neutral mean,blank] [--windows 2,3]
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor
from transformers import DynamicCache, LlavaForConditionalGeneration

from benchmarks.machine import describe
from benchmarks.pointing import TINY, Case, inside, right_answers
from llava_tools import Llava, Message, open_image
from llava_tools.chat import prompt
from llava_tools.core.image_grid import Box
from llava_tools.engine import vision_tower
from llava_tools.engine.engine import LlavaEngine
from llava_tools.engine.loading.processor import preprocess
from llava_tools.evidence import EvidenceMap
from llava_tools.evidence.blocks import Cell, cell_values
from llava_tools.images import ImageRef
from recipes.drawn_world import RENDERERS

SIDE = 8
NEUTRAL = ("mean", "around", "blank", "zero", "remove")


@dataclass(frozen=True)
class Window:
    """Cells that are left out together; `white` is whether a chessboard has them."""

    cells: tuple[Cell, ...]
    white: bool

    @property
    def positions(self) -> list[int]:
        """Positions of their tokens."""
        return [row * SIDE + column for row, column in self.cells]


def windows(size: int) -> list[Window]:
    """Return the windows of a size."""
    begins = range(1 - size, SIDE)
    return [
        Window(
            tuple(
                (row, column)
                for row in range(max(top, 0), min(top + size, SIDE))
                for column in range(max(left, 0), min(left + size, SIDE))
            ),
            (top + left) % 2 == 0,
        )
        for top in begins
        for left in begins
    ]


class Scorer:
    """Scores an answer with image tokens left out, by transformers."""

    def __init__(self, engine: LlavaEngine) -> None:
        self._loaded = engine.loaded
        self._model = LlavaForConditionalGeneration.from_pretrained(
            TINY, dtype=torch.float32
        ).eval()
        colour = engine.loaded.processor.background
        self._blank = self._features(open_image(Image.new("RGB", (1, 1), colour)))

    @torch.inference_mode()
    def _features(self, image: ImageRef) -> Tensor:
        pixels = preprocess(self._loaded.processor, [image])
        return vision_tower.features(self._model, pixels)[0]

    @torch.inference_mode()
    def scores(self, case: Case, neutral: str, blocks: Sequence[Window]) -> list[float]:
        """Return the log-probability of the answer without each window."""
        tokenizer, features = self._loaded.tokenizer, self._features(case.image)
        message = Message("user", (case.image, case.example.question))
        ids = tokenizer.tokenize(prompt.build((message,)), lambda image: (-1,))
        begin = ids.index(-1)
        label = [*tokenizer.encode_answer(case.answer), tokenizer.end_of_turn]
        embed = self._model.get_input_embeddings()
        before = embed(torch.tensor(ids[:begin]))
        after = embed(torch.tensor([*ids[begin + 1 :], *label[:-1]]))
        prefix = self._prefix(before)
        found = []
        for block in blocks:
            changed = torch.cat([self._without(features, neutral, block), after])
            found.append(self._score(prefix, changed, label))
        return found

    def _prefix(self, before: Tensor) -> DynamicCache:
        cache = DynamicCache()
        self._model.model.language_model(
            inputs_embeds=before[None], past_key_values=cache, use_cache=True
        )
        return cache

    def _score(self, prefix: DynamicCache, embeddings: Tensor, label: list[int]) -> float:
        hidden = self._model.model.language_model(
            inputs_embeds=embeddings[None], past_key_values=prefix, use_cache=True
        ).last_hidden_state[0, -len(label) :]
        prefix.crop(-len(embeddings))
        logprobs = self._model.lm_head(hidden).log_softmax(-1)
        return float(logprobs[torch.arange(len(label)), torch.tensor(label)].sum())

    def _without(self, features: Tensor, neutral: str, block: Window) -> Tensor:
        positions = block.positions
        if neutral == "remove":
            kept = [i for i in range(len(features)) if i not in positions]
            return features[kept]
        changed = features.clone()
        if not positions:
            return changed
        if neutral == "around":
            steps = itertools.product((-1, 0, 1), repeat=2)
            near = {
                (row + down, column + right)
                for down, right in steps
                for row, column in block.cells
                if 0 <= row + down < SIDE and 0 <= column + right < SIDE
            }
            ring = [row * SIDE + column for row, column in near - set(block.cells)]
            changed[positions] = features[ring].mean(0)
        elif neutral == "blank":
            changed[positions] = self._blank[positions]
        else:
            changed[positions] = features.mean(0) if neutral == "mean" else 0.0
        return changed


def log_odds(logprob: float) -> float:
    """Return the logarithm of the odds, in nats."""
    return logprob - math.log(-math.expm1(min(logprob, -1e-7)))


def mean_values(blocks: Sequence[Sequence[Cell]], falls: Sequence[float]) -> list[list[float]]:
    """Return for each cell the mean fall of its windows."""
    return [
        [
            statistics.mean(
                [fall for block, fall in zip(blocks, falls, strict=True) if cell in block] or [0.0]
            )
            for cell in ((row, column) for column in range(SIDE))
        ]
        for row in range(SIDE)
    ]


def overlap(first: Box | None, second: Box) -> float:
    """Return the intersection of two boxes divided by their union."""
    if first is None:
        return 0.0
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    common = max(0.0, width) * max(0.0, height)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
    return common / (sum(areas) - common)


def judge(
    case: Case, engine: LlavaEngine, blocks: Sequence[Window], scores: Sequence[float]
) -> dict[str, tuple[bool, float]]:
    """Return for each way to a map whether it points to the shape, and its region's overlap."""
    whole, *without = scores
    found: dict[str, tuple[bool, float]] = {}
    for board in ("all", "chessboard"):
        chosen = [i for i, block in enumerate(blocks) if board == "all" or block.white]
        cells = [blocks[i].cells for i in chosen]
        for measure in ("logprob", "odds"):
            scale = log_odds if measure == "odds" else float
            falls = [scale(whole) - scale(without[i]) for i in chosen]
            maps = {"mean": mean_values(cells, falls), "root": cell_values(SIDE, cells, falls)}
            for name, values in maps.items():
                rows = tuple(map(tuple, values))
                item = EvidenceMap(case.answer, whole, rows, case.image, engine.image_grid)
                way = f"{board} {len(chosen)}, {measure}, {name}"
                found[way] = inside(item.peak, case.box), overlap(item.region, case.box)
    return found


def main() -> None:
    """Compare and print a line for each way, then one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--answers", type=int, default=30, help="of both renderers together")
    parser.add_argument("--neutral", default=",".join(NEUTRAL))
    parser.add_argument("--windows", default="1,2,3", help="cells of a side")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    results: dict[str, list[tuple[bool, float]]] = {}
    with Llava(dtype="float32") as model:
        engine = model.backend
        assert isinstance(engine, LlavaEngine)
        scorer = Scorer(engine)
        for renderer in RENDERERS:
            cases = right_answers(model, renderer, first_seed=0)
            for case in itertools.islice(cases, options.answers // len(RENDERERS)):
                for neutral in options.neutral.split(","):
                    for size in map(int, options.windows.split(",")):
                        blocks = windows(size)
                        scores = scorer.scores(case, neutral, [Window((), False), *blocks])
                        for way, item in judge(case, engine, blocks, scores).items():
                            results.setdefault(f"{neutral}, {size}: {way}", []).append(item)
    rows = {
        way: [round(statistics.mean(values), 3) for values in zip(*items, strict=True)]
        for way, items in results.items()
    }
    for way, row in rows.items():
        print(way, row)
    print(json.dumps({"benchmark": "left_out", **describe(), "answers": options.answers, **rows}))


if __name__ == "__main__":
    main()
