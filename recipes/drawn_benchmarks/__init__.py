"""The twelve benchmarks of LLaVA 1.5 on small data sets of drawn images, in their official formats.

    write_benchmarks(Path("drawn"), count=100, seed=0)
    python -m recipes.drawn_benchmarks DIR [--count 100] [--seed 0]

Each has the file names, layouts and fields that its authors publish, and where LLaVA's own scripts
read question files of theirs, these too. What is drawn and asked comes from `recipes.drawn_world`;
what stands for photographs, videos or Chinese text is drawn as well, so that figures say something
about the way of an answer, and nothing about a model's rank.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path

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

_SEEDS_APART = 1_000_000  # so that two benchmarks of a seed share no image


def write_benchmarks(
    folder: Path, count: int, seed: int = 0, names: Collection[str] = tuple(WRITERS)
) -> None:
    """Write data sets for `llava-tools eval --data`, each in its own folder.

    Args:
        folder: The data directory.
        count: Questions of each benchmark, about: pairs, splits and circular rows are kept whole.
        seed: The same seed and count write the same files.
        names: Which ones; all by default.
    """
    for number, (name, write) in enumerate(WRITERS.items()):
        if name in names:
            write(folder / name, count, seed + number * _SEEDS_APART)
