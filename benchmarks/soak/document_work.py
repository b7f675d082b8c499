"""Work with an index of pages: files come, go and come back, some of them damaged or hostile."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

from benchmarks.drawn_pdf import DrawnPage, TextLine, write_pages
from benchmarks.server_load import IMAGES, QUESTIONS
from benchmarks.soak.scene import DAMAGED, Scene
from llava_tools.retrieval import ask
from tests.retrieval.hostile_pdfs import HOSTILE

SIGNS = Path(__file__).parents[2] / "examples" / "signs.pdf"
#: One of so many rounds has a hostile PDF, which takes its 30 seconds.
HOSTILE_ONE_OF = 40
DAMAGED_ONE_OF = 4


def write_documents(folder: Path) -> None:
    """Write the files that the index has between rounds."""
    folder.mkdir()
    shutil.copy(SIGNS, folder)
    for image in IMAGES:
        shutil.copy(image, folder)


def documents(scene: Scene, rng: random.Random) -> None:
    """Add a file, find it, remove it; remove one that stays, and add it again; ask."""
    folder, index = scene.folder / "documents", scene.index
    word = f"word{rng.randrange(10**9)}"
    lines = [TextLine(f"{word} line {row}", 60, 780 - 14 * row) for row in range(20)]
    new = write_pages(folder / f"{word}.pdf", [DrawnPage((595, 842), lines)] * 2)
    bad = _write_bad(folder, rng)
    try:
        report = index.update([folder])
        skipped = sorted(Path(item.document).name for item in report.skipped)
        scene.outcomes.equal("skipped files", skipped, sorted(path.name for path in bad))
        hits = index.search(word, mode="text")
        scene.outcomes.equal("found files", {hit.document for hit in hits}, {str(new)})
        index.thumbnail(hits[0])
        index.open(hits[0])
        found = ask(index, QUESTIONS[0], scene.model)
        scene.outcomes.same("documents answer", found.text)
        index.remove([new])
        scene.outcomes.equal("removed file", index.search(word, mode="text"), [])
        index.remove([folder / SIGNS.name])
    finally:
        for path in (new, *bad):
            path.unlink()
    index.update([folder])
    scene.outcomes.equal("documents", len(index.documents()), 1 + len(IMAGES))
    hits = index.search("a yellow star", k=3)
    scene.outcomes.same("hybrid search", [(Path(hit.document).name, hit.page) for hit in hits])


def _write_bad(folder: Path, rng: random.Random) -> list[Path]:
    """Now and then, write files that are skipped; return them."""
    bad = []
    if rng.randrange(DAMAGED_ONE_OF) == 0:
        (folder / "damaged.png").write_bytes(DAMAGED + rng.randbytes(20))
        (folder / "damaged.pdf").write_bytes(b"%PDF-1.7\n" + rng.randbytes(200))
        bad += [folder / "damaged.png", folder / "damaged.pdf"]
    if rng.randrange(HOSTILE_ONE_OF) == 0:
        kind = rng.choice(sorted(HOSTILE))
        bad.append(HOSTILE[kind](folder / f"hostile-{kind}.pdf"))
    return bad


WORK = (documents,)
