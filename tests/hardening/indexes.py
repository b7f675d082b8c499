"""Damaged page indexes: each answers as the intact one, or ends in one error, and is mended."""

from __future__ import annotations

import random
import shutil
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import lancedb
from filelock import FileLock

from llava_tools.errors import IndexStoreError
from llava_tools.images import ImageRef
from llava_tools.retrieval import PageIndex
from llava_tools.testing import ScriptedEmbedder
from tests.hardening.attack import Attack, Tally
from tests.retrieval.documents import write_long_pdf, write_pdf
from tests.retrieval.test_damaged_index import CORRUPTIONS

#: What is looked for, and how.
SEARCHES = (("descaling machine 42", "text"), ("total", "hybrid"), ("a new total", "image"))
ERROR = "error"


def embedder(dimensions: int = 8) -> ScriptedEmbedder:
    """Return an encoder whose vectors depend on the text or the image only."""

    def vector(seed: str) -> Sequence[float]:
        rng = random.Random(seed)
        return [rng.random() - 0.5 for _ in range(dimensions)]

    def of_image(image: ImageRef) -> Sequence[float]:
        return vector(image.handle)

    return ScriptedEmbedder(vector, of_image, dimensions=dimensions)


def make_index(folder: Path) -> None:
    """Write `in`, files, and `index`, their index after two updates."""
    (folder / "in").mkdir()
    write_pdf(folder / "in" / "a.pdf", ["Invoice total 42", "Descaling the machine", "The end"])
    write_long_pdf(folder / "in" / "long.pdf", 20)
    update(folder / "index", folder / "in")
    write_pdf(folder / "in" / "b.pdf", ["A new total"])
    update(folder / "index", folder / "in")


def answers(folder: Path) -> list[Any]:
    """Return what searches find, and the files; `ERROR` in place of each that is refused."""
    index = PageIndex(folder, embedder())
    calls: list[Callable[[], object]] = [partial(_search, index, *search) for search in SEARCHES]
    found: list[Any] = []
    for call in (*calls, index.documents):
        try:
            found.append(call())
        except IndexStoreError as error:
            check_message(error)
            found.append(ERROR)
    return found


def _search(index: PageIndex, query: str, mode: Any) -> list[Any]:
    hits = index.search(query, 30, mode=mode)
    thumbnails = [index.thumbnail(hit) for hit in hits[:3]]
    return [*((hit, hit.text, hit.size, hit.digest) for hit in hits), thumbnails]


def check_message(error: IndexStoreError) -> None:
    """Raise `AssertionError` for a message of several lines or of more than 500 characters."""
    if len(str(error).splitlines()) != 1 or len(str(error)) > 500:
        raise AssertionError(f"no line of 500 characters: {error}")


def compare(found: list[Any], right: list[Any], damage: str, *, updated: bool = False) -> str:
    """Return what answers are; raise what is not allowed.

    LanceDB keeps no checksums: a bit that flips within a stored text, thumbnail or vector is a
    stored text, thumbnail or vector. What other programs write by LanceDB is a row like others.
    A table without its newest manifests is as it was some writes earlier, until an update.
    """
    wrong = [pair for pair in zip(found, right, strict=True) if pair[0] not in (ERROR, pair[1])]
    if not wrong:
        return ERROR if ERROR in found else "right"
    if "/data/" in damage or damage.startswith("row"):
        return "other values"
    if "/_versions/" in damage and not updated:
        return "some writes earlier"
    answer, expected = wrong[0]
    others = [item for item in answer if item not in expected]
    raise AssertionError(f"{others or answer!r:.200} and not {expected!r:.100}")


def _files(index: Path) -> list[Path]:
    return sorted(path for path in index.rglob("*") if path.is_file())


def damage_a_file(index: Path, rng: random.Random) -> str:
    """Change the bytes of a file: first a kind of file is drawn, then one of that kind."""
    kinds: dict[tuple[str, ...], list[Path]] = {}
    for path in _files(index):
        kinds.setdefault(path.relative_to(index).parts[:2], []).append(path)
    path = rng.choice(kinds[rng.choice(sorted(kinds))])
    name = rng.choice([*CORRUPTIONS, "swapped"])
    if name == "swapped":
        other = rng.choice(_files(index))
        mine, theirs = path.read_bytes(), other.read_bytes()
        path.write_bytes(theirs)
        other.write_bytes(mine)
    else:
        data = CORRUPTIONS[name](path.read_bytes(), rng)
        path.unlink() if data is None else path.write_bytes(data)
    return f"{name} {path.relative_to(index)}"


def add_a_foreign_file(index: Path, rng: random.Random) -> str:
    """Put another program's file, folder or link into a folder of the index."""
    folders = [index, *sorted(path for path in index.rglob("*") if path.is_dir())]
    name = rng.choice(["x.lance", "1.manifest", f"{2**64 - 2}.manifest", "x.txn", "a b", "é\n"])
    path = rng.choice(folders) / name
    if path.exists():
        path = path.with_name("other.lance")
    match rng.randrange(4):
        case 0:
            path.mkdir()
        case 1:
            path.symlink_to("/nowhere")
        case _:
            path.write_bytes(rng.randbytes(rng.choice([0, 10, 5000])))
    return f"foreign {path.relative_to(index)!s}"


def remove_a_folder(index: Path, rng: random.Random) -> str:
    """Remove a table, or a folder of one."""
    path = rng.choice(sorted(path for path in index.rglob("*") if path.is_dir()))
    shutil.rmtree(path)
    return f"without {path.relative_to(index)}"


#: Values that another program may write into columns of a table.
_VALUES: dict[str, dict[str, list[str]]] = {
    "documents": {
        "metadata": ["'{'", "'[]'", "'{\"a\": [1]}'", "''"],
        "pages": ["0", "-1", "2147483647"],
        "digest": ["''", "'../../x'"],
        "document": ["''", "'\x1b[2J'", "'/etc/passwd'"],
        "modified": ["'x'", "''"],
    },
    "pages": {
        "page": ["0", "-1", "2147483647"],
        "width": ["0", "-5"],
        "text": ["''", "'\x1b[2J'"],
        "words": ["'['", "'[[1]]'", "'{}'"],
        "handle": ["''", "'img_00000000000000000000'"],
        "digest": ["''", "'other'"],
    },
}


def change_a_row(index: Path, rng: random.Random) -> str:
    """Write another value into a column of a table, as another program may."""
    table = rng.choice(sorted(_VALUES))
    column = rng.choice(sorted(_VALUES[table]))
    value = rng.choice(_VALUES[table][column])
    where = "true" if table == "documents" else f"page = {rng.randrange(1, 4)}"
    lancedb.connect(index).open_table(table).update(where, values_sql={column: value})
    return f"row of {table}: {column} = {value!r}"


def damage_in_parts(index: Path, rng: random.Random) -> str:
    """Damage several files."""
    return ", ".join(damage_a_file(index, rng) for _ in range(rng.randrange(2, 6)))


#: What is done to an index, and how often among ten.
_DAMAGES = (*[damage_a_file] * 6, damage_in_parts, add_a_foreign_file, remove_a_folder)


def try_damage(intact: Path, damage: Callable[[Path, random.Random], str], seed: str) -> str:
    """Damage a copy of an index; return how it answers then, and after an update."""
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "index"
        shutil.copytree(intact / "index", folder)
        done = damage(folder, rng)
        try:
            right = answers(intact / "index")
            before = compare(answers(folder), right, done)
            after = update(folder, intact / "in")
            updated = compare(answers(folder), right, done, updated=after == "mended")
            if updated == ERROR and after == "mended":
                raise AssertionError("an error after an update without one")
        except BaseException as error:  # a panic of LanceDB's is no Exception
            raise AssertionError(f"{done}: {error!r}") from error
    return f"{before}, {after}"


def update(folder: Path, files: Path) -> str:
    """Return whether an index can be mended; the lock is free afterwards."""
    try:
        PageIndex(folder, embedder()).update([files], metadata={"year": 2026})
    except IndexStoreError as error:
        check_message(error)
        return "refused"
    finally:
        if (folder / "lock").is_file():
            with FileLock(folder / "lock", timeout=0):
                pass
    return "mended"


def attack(count: int, seed: int) -> Tally:
    """Damage copies of one index."""
    tally = Tally()
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as name:
        make_index(Path(name))
        for number in range(count):
            damage = rng.choice((*_DAMAGES, change_a_row))
            what = f"{seed}-{number}"
            tally.add(partial(try_damage, Path(name), damage, what), f"{damage.__name__} {what}")
    return tally


ATTACK = Attack(
    "indexes", "files of a page index changed, swapped, added, missing", attack, 1_200, 15
)
