"""`Split`: a part of a benchmark, such as `val2014`; which one a folder holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from llava_tools.evaluation.task import read_error


@dataclass(frozen=True)
class Split:
    """A part of a benchmark: what its folder holds.

    Attributes:
        name: Of the part, such as `val2014`.
        images: The folder of its images.
        questions: Question files, of which one is enough; the first that is there is read.
    """

    name: str
    images: str
    questions: tuple[str, ...]


def find_split(folder: Path, splits: Sequence[Split]) -> tuple[Split, Path]:
    """Return the first part that is in a folder with its images, and its question file.

    Raises:
        RequestError: None is.
    """
    for split in splits:
        if (folder / split.images).is_dir():
            for name in split.questions:
                if (path := folder / name).is_file():
                    return split, path
    needed = "; or ".join(f"{' or '.join(s.questions)} with {s.images}/" for s in splits)
    raise read_error(folder, f"it must hold {needed}")
