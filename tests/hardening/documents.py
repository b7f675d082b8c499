"""Hostile and mutated PDFs among good files: each is read, or named and skipped; the rest is read.

Limits of time and memory are smaller than those of the package, so that reaching them takes less.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from unittest import mock

from llava_tools.retrieval import Skipped, load_pages, pages, pdf_process
from tests.hardening.attack import Attack, Tally
from tests.hardening.images import mutate
from tests.retrieval.documents import write_long_pdf, write_pdf
from tests.retrieval.hostile_pdfs import HOSTILE, write_escape_sequences
from tests.retrieval.odd_pdfs import ODD

#: Limits of a page, in seconds of processor time and in bytes.
SECONDS, MEMORY = 0.5, 256 << 20
#: Files that are mutated.
_SEEDS = (
    "14,400 inches", "a mask of itself", "a font that draws itself", "scripts and files",
    "tables in a loop", "fax", "JPEG 2000", "JBIG2",
)  # fmt: skip


@contextmanager
def small_limits() -> Iterator[None]:
    """Start children that draw PDFs with smaller limits, and smaller pages."""
    with (
        mock.patch.object(pdf_process, "MAX_SECONDS", SECONDS),
        mock.patch.object(pdf_process, "MAX_MEMORY", MEMORY),
        mock.patch.object(pages, "SIDE", 200),
    ):
        pdf_process.close_idle_processes()  # the limits are those of the moment of the start
        try:
            yield
        finally:
            pdf_process.close_idle_processes()


def samples(folder: Path) -> list[bytes]:
    """Return the files that are mutated."""
    path = folder / "sample.pdf"
    files = [ODD[name](path).read_bytes() for name in _SEEDS]
    files.append(write_pdf(path, ["Some words", "Others"]).read_bytes())
    files.append(write_long_pdf(path, 5).read_bytes())
    files.append(write_escape_sequences(path).read_bytes())
    path.unlink()
    return files


def outcome(folder: Path) -> str:
    """Read a folder of `a.pdf`, `b.pdf` and `c.pdf`, of which `b.pdf` is hostile."""
    texts, skipped = [], []
    for item in load_pages([folder]):
        if isinstance(item, Skipped):
            skipped.append(item)
        elif Path(item.document.path).name != "b.pdf":
            texts.append(item.page.text)
        elif max(item.page.image.size) > pages.SIDE + 1:
            raise AssertionError(f"a page of {item.page.image.size}")
    if texts != ["Before", "After"]:
        raise AssertionError(f"other files were not read: {texts}, {skipped}")
    for item in skipped:
        reason = item.reason
        if item.document != str(folder / "b.pdf") or len(reason) > 500 or "\n" in reason:
            raise AssertionError(f"{item.document}: {reason}")
        if not reason.isprintable():
            raise AssertionError(f"control characters: {reason!r}")
    if len(skipped) > 1:
        raise AssertionError(f"skipped twice: {skipped}")
    if not skipped:
        return "read"
    return "limits" if "more than" in skipped[0].reason else "refused"


def attack(count: int, seed: int) -> Tally:
    """Read hostile PDFs of every kind in turn, one among five that are mutated."""
    rng, tally = random.Random(seed), Tally()
    kinds = sorted((HOSTILE | ODD).items())
    rng.shuffle(kinds)
    with tempfile.TemporaryDirectory() as name, small_limits():
        folder = Path(name)
        files = samples(folder)
        write_pdf(folder / "a.pdf", ["Before"])
        write_pdf(folder / "c.pdf", ["After"])
        for number in range(count):
            if number % 5 == 0:
                kind, write = kinds[number // 5 % len(kinds)]
                write(folder / "b.pdf")
                tally.add(partial(outcome, folder), kind)
            else:
                data = mutate(files[number % len(files)], rng)
                (folder / "b.pdf").write_bytes(data)
                tally.add(partial(outcome, folder), f"number {number}, seed {seed}: {data!r:.300}")
    return tally


ATTACK = Attack("documents", "hostile and mutated PDFs among good ones", attack, 700, 100)
