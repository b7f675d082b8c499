"""Hostile paths in every place that names an image: nothing outside of the folder is read.

Every surface is tried as it is by default, and with an allowed folder. What the developer's own
code names may be any file; it neither waits for ever nor fails with another error.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from llava_tools.images import open_image
from tests.hardening.attack import Attack, Tally
from tests.hardening.path_forms import (
    ALLOWED_COLOUR,
    ALLOWED_IMAGE,
    INSIDE,
    OUTSIDE,
    SECRET_COLOUR,
    SECRET_IMAGE,
    SECRET_WORDS,
    make_folders,
)
from tests.hardening.surfaces import (
    STRIDE,
    Access,
    FrameworkRefusalError,
    RefusalError,
    Surface,
    check_text,
    in_time,
    open_surfaces,
)


def outcome(name: str, inside: bool, surface: Surface, access: Access) -> str:
    """Send a path to a surface, and return how that ended.

    Raises:
        AssertionError: It led out of the allowed folder, or ended otherwise.
    """
    try:
        answer = in_time(lambda: surface.send(name))
    except FrameworkRefusalError:
        return "refused by the framework"
    except RefusalError as error:
        check_text(str(error))
        _check_secrets(str(error))
        return "refused"
    if surface.paths == "all":
        return "opened for the developer's own code"
    _check_secrets(answer)
    if not inside or surface.paths == "none" or not access.directories:
        raise AssertionError(f"accepted: {answer!r}")
    if ALLOWED_COLOUR not in answer and open_image(ALLOWED_IMAGE).handle not in answer:
        raise AssertionError(f"another answer: {answer!r}")
    return "opened in the allowed folder"


def _check_secrets(text: str) -> None:
    for secret in (SECRET_COLOUR, SECRET_WORDS, open_image(SECRET_IMAGE).handle):
        if secret in text:
            raise AssertionError(f"a secret is shown: {text!r}")


def attack(count: int, seed: int) -> Tally:
    """Send the forms to surfaces in turn, each form to another surface in each round."""
    tally = Tally()
    current = Path.cwd()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        root = Path(folder).resolve()
        make_folders(root)
        stack.callback(os.chdir, current)
        os.chdir(root / "current")
        file = stack.enter_context(open(root / "secret" / "a.png", "rb"))
        accesses = (Access(), Access(directories=(root / "allowed",)))
        targets = [
            (access, surface)
            for access in accesses
            for surface in stack.enter_context(open_surfaces(access))
        ]
        names = {"ALLOWED": root / "allowed", "SECRET": root / "secret", "FD": file.fileno()}
        forms = [(form, form in INSIDE) for form in (*INSIDE, *OUTSIDE)]
        for number in range(count):
            turn, place = divmod(number, len(forms))
            form, inside = forms[place]
            access, surface = targets[(STRIDE * turn + place + seed) % len(targets)]
            name = form
            for word, value in names.items():
                name = name.replace(word, str(value))
            what = f"{surface.name}, {'a folder allowed' if access.directories else 'by default'}"
            what += f": {form[:200]!r}"
            tally.add(partial(outcome, name, inside, surface, access), what)
    return tally


ATTACK = Attack(
    "paths",
    "hostile paths in messages, calls of tools, bodies of servers, command lines",
    attack,
    112 * (len(INSIDE) + len(OUTSIDE)),
    4 * (len(INSIDE) + len(OUTSIDE)),
)
