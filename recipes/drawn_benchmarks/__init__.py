"""The twelve benchmarks of LLaVA 1.5 on small data sets of drawn images, in their official formats.

    write_benchmarks(Path("drawn"), count=100, seed=0)
    python -m recipes.drawn_benchmarks DIR [--count 100] [--seed 0] [--layout authors]

Each has the file names, layouts and fields that its authors publish, and where LLaVA's scripts read
question files of their own, these too. What is drawn and asked comes from `recipes.drawn_world`;
what stands for photographs, videos or Chinese text is drawn as well, so that figures say something
about the way of an answer, and nothing about a model's rank.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Literal

from recipes.drawn_benchmarks.choices import (
    write_mmbench,
    write_mmbench_cn,
    write_scienceqa,
    write_seed_bench,
)
from recipes.drawn_benchmarks.judged import write_llava_bench, write_mm_vet
from recipes.drawn_benchmarks.vqa import write_gqa, write_textvqa, write_vizwiz, write_vqav2
from recipes.drawn_benchmarks.yes_no import write_mme, write_pope

#: The writer of each benchmark, by its folder in LLaVA's `playground/data/eval`.
WRITERS: Mapping[str, Callable[[Path, int, int], None]] = {
    "vqav2": write_vqav2,
    "gqa": write_gqa,
    "vizwiz": write_vizwiz,
    "scienceqa": write_scienceqa,
    "textvqa": write_textvqa,
    "pope": write_pope,
    "MME": write_mme,
    "mmbench": write_mmbench,
    "mmbench_cn": write_mmbench_cn,
    "seed_bench": write_seed_bench,
    "llava-bench-in-the-wild": write_llava_bench,
    "mm-vet": write_mm_vet,
}

#: `llava`: as LLaVA's `docs/Evaluation.md` sets up `playground/data/eval`, with its question files
#: and the test splits of VQAv2 and VizWiz, which servers score. `authors`: the files of the data
#: sets' authors alone, of splits whose truth is public.
Layout = Literal["llava", "authors"]

_LLAVA_ALONE = ("*/llava*.json*", "vqav2/test2015", "vizwiz/test", "vizwiz/test.json")
_SEEDS_APART = 1_000_000  # so that two benchmarks of a seed share no image


def write_benchmarks(
    folder: Path,
    count: int,
    seed: int = 0,
    *,
    names: Collection[str] = tuple(WRITERS),
    layout: Layout = "llava",
) -> None:
    """Write data sets for `llava-tools eval --data`, each in its own folder.

    Args:
        folder: The data directory; new or empty.
        count: Questions of each benchmark, about: pairs, splits and circular rows are kept whole.
        seed: The same seed and count write the same files.
        names: Which ones, by their folders; all by default.
        layout: See `Layout`.
    """
    for number, (name, write) in enumerate(WRITERS.items()):
        if name in names:
            write(folder / name, count, seed + number * _SEEDS_APART)
    if layout == "authors":
        for path in [path for pattern in _LLAVA_ALONE for path in folder.glob(pattern)]:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
