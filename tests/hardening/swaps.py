"""Files that become links, pipes and folders while they are opened: only the allowed folder's.

Another process swaps them as fast as it can, between any check and any opening.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from llava_tools.errors import ImageError
from llava_tools.images import ImageRef, open_image
from llava_tools.images.access import ImageResolver
from llava_tools.images.opening import open_regular_within
from llava_tools.images.store import ImageStore
from tests.hardening.attack import Attack, Tally
from tests.hardening.path_forms import ALLOWED_IMAGE, SECRET_IMAGE
from tests.hardening.surfaces import check_text, in_time

#: Tries that have to end within the time of one case.
_BATCH = 100

#: Swaps `a.png` and the folder `deeper` in a folder until its parent process ends.
_SWAPPER = """
import os, sys
parent, (allowed, secret) = os.getppid(), sys.argv[1:]
os.chdir(allowed)
os.mkfifo("new pipe")
print("ready", flush=True)
while os.getppid() == parent:
    for target in ("../secret/a.png", secret + "/a.png"):
        os.symlink(target, "new")
        os.replace("new", "a.png")
        os.link("image", "new")
        os.replace("new", "a.png")
    os.link("new pipe", "new")
    os.replace("new", "a.png")
    os.unlink("a.png")
    os.mkdir("a.png")
    os.rmdir("a.png")
    os.link("image", "a.png")
    os.rename("deeper", "away")
    os.symlink("../secret", "deeper")
    os.unlink("deeper")
    os.mkfifo("deeper")
    os.unlink("deeper")
    os.rename("away", "deeper")
"""


def _make_folders(root: Path) -> tuple[Path, Path]:
    allowed, secret = root / "allowed", root / "secret"
    (allowed / "deeper").mkdir(parents=True)
    secret.mkdir()
    for path in (allowed / "image", allowed / "a.png", allowed / "deeper" / "a.png"):
        path.write_bytes(ALLOWED_IMAGE)
    (secret / "a.png").write_bytes(SECRET_IMAGE)
    return allowed, secret


def _read(path: Path, allowed: Path) -> ImageRef:
    with open_regular_within(path, [allowed]) as file:
        return open_image(file)


def _openers(allowed: Path) -> list[Callable[[], ImageRef]]:
    """Return what opens the files: calls of tools, messages, and what all of them stand on."""
    resolver = ImageResolver(ImageStore(), [allowed])
    paths = (allowed / "a.png", allowed / "deeper" / "a.png")
    return [
        partial(use, path) if use is not _read else partial(use, path, allowed)
        for use in (resolver.open_block, lambda path: resolver.open(str(path)), _read)
        for path in paths
    ]


def _outcome(opened: Callable[[], ImageRef]) -> str:
    try:
        image = opened()
    except ImageError as error:
        check_text(str(error))
        return "refused"
    except OSError:  # of `open_regular_within` alone
        return "refused"
    if image.data != ALLOWED_IMAGE:
        raise AssertionError("the secret image was opened")
    return "opened in the allowed folder"


def _try_all(openers: list[Callable[[], ImageRef]], numbers: range, tally: Tally) -> str:
    for number in numbers:
        opener = openers[number % len(openers)]
        tally.add(partial(_outcome, opener), f"number {number}")
    return ""


def attack(count: int, seed: int) -> Tally:
    """Open two paths again and again while they are swapped; the seed changes nothing."""
    tally = Tally()
    with tempfile.TemporaryDirectory() as folder:
        allowed, secret = _make_folders(Path(folder).resolve())
        arguments = [sys.executable, "-c", _SWAPPER, str(allowed), str(secret)]
        with subprocess.Popen(arguments, stdout=subprocess.PIPE) as swapper:
            assert swapper.stdout is not None
            swapper.stdout.readline()
            openers = _openers(allowed)
            try:
                for start in range(0, count, _BATCH):
                    numbers = range(start, min(start + _BATCH, count))
                    in_time(partial(_try_all, openers, numbers, tally))
            except AssertionError as error:
                tally.findings.append(f"from number {start} on: {error}")
            ended = swapper.poll()
            swapper.kill()
    if ended is not None:
        tally.findings.append(f"the swapping process ended with {ended}")
    return tally


ATTACK = Attack(
    "swaps",
    "files swapped for links, pipes and folders while they are opened",
    attack,
    100_000,
    900,
)
