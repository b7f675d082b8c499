"""Hostile forms of paths, and the folders that they lead to.

`ALLOWED` stands for the allowed folder, `SECRET` for the one beside it, `FD` for the descriptor of
an open file of that one.
"""

# ruff: noqa: RUF001

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

from PIL import Image

from tests.strategies import encoded

#: Of the images in the allowed folder, and of those that nobody may see.
ALLOWED_COLOUR, SECRET_COLOUR = "#0a7f01", "#c0ffee"
SECRET_WORDS = "the secret words"
ALLOWED_IMAGE = encoded(Image.new("RGB", (8, 8), ALLOWED_COLOUR), "PNG")
SECRET_IMAGE = encoded(Image.new("RGB", (8, 8), SECRET_COLOUR), "PNG")

#: Names of images in the allowed folder, where relative names of tools' calls start.
INSIDE: tuple[str, ...] = (
    "a.png",
    "./a.png",
    "deeper/b.png",
    "deeper/../a.png",
    "../allowed/a.png",
    "ALLOWED/a.png",
    "ALLOWED//a.png",
    "ALLOWED/./deeper/.././a.png",
    "ALLOWED/in.png",
    "ALLOWED/indir/b.png",
    "ALLOWED/hard.png",
    "ALLOWED/outdir/../allowed/a.png",
    "/proc/self/rootALLOWED/a.png",
    "ALLOWED/a.png/",
    "ALLOWED/a.png/.",
)

#: Names of what is not an image in the allowed folder.
OUTSIDE: tuple[str, ...] = (
    # the secret folder
    "SECRET/a.png", "SECRET/words.txt", "../secret/a.png", "../secret/words.txt",
    "deeper/../../secret/a.png", "ALLOWED/../secret/a.png", "ALLOWED/./../secret/./a.png",
    "ALLOWED-not/a.png", "../allowed-not/a.png", "ALLOWED/a.png/../../secret/a.png",
    "../" * 5_000 + "SECRET/a.png", "/.." * 50 + "SECRET/a.png", "//SECRET/a.png",
    # links
    "out.png", "ALLOWED/out.png", "ALLOWED/chain.png", "ALLOWED/outdir/a.png",
    "ALLOWED/outdir/words.txt", "outdir/a.png", "ALLOWED/outdir/../secret/a.png",
    "ALLOWED/loop.png", "ALLOWED/dangling.png", "ALLOWED/zero.png", "ALLOWED/environ.png",
    # no regular files
    "ALLOWED/pipe", "ALLOWED/pipe.png", "pipe", "ALLOWED/socket", "/dev/zero", "/dev/full",
    "/dev/random", "/dev/null", "/dev/tty", "/dev/stdin", "/dev/fd/0", "/dev/fd/FD", "/dev/mem",
    # the process and the system
    "/proc/self/environ", "/proc/self/cmdline", "/proc/self/maps", "/proc/self/mem",
    "/proc/self/pagemap", "/proc/self/fd", "/proc/self/fd/0", "/proc/self/fd/FD",
    "/proc/self/cwd/../secret/a.png", "/proc/self/rootSECRET/a.png", "/proc/thread-self/fd/FD",
    "/proc/self/exe", "/proc/kmsg", "/proc/kcore", "/proc/1/environ", "/sys/kernel/notes",
    "/etc/passwd", "/etc/hostname", "/etc/shadow",
    # folders
    "", ".", "..", "/", "//", "./", "ALLOWED", "ALLOWED/", "ALLOWED/deeper", "SECRET", "deeper/",
    "ALLOWED/a.png/..", "a.png/a.png",
    # homes, variables and patterns
    "~", "~/a.png", "~root/a.png", "~nobody-of-that-name/a.png", "$HOME/a.png", "${PWD}/a.png",
    "`id`.png", "$(id).png", "%USERPROFILE%\\a.png", "*", "ALLOWED/[a].png",
    # other spellings
    "%2e%2e/secret/a.png", "..%2fsecret%2fa.png", "%2fetc%2fpasswd", "..;/secret/a.png",
    "．．/secret/a.png", "..∕secret∕a.png", "..⧸secret⧸a.png", "..\\secret\\a.png",
    "....//secret/a.png", "file://SECRET/a.png", "file:SECRET/a.png", "FILE://ALLOWED/a.png",
    "file:///proc/self/environ", "ALLOWED/A.PNG", "ALLOWED/a.png ", " ALLOWED/a.png",
    "ALLOWED/a.png.", "ALLOWED/a.png:$DATA", "image:SECRET/a.png", "SECRET/a.png#a", "a.png?b",
    # Windows
    "C:\\Windows\\win.ini", "C:a.png", "\\\\127.0.0.1\\share\\a.png", "//127.0.0.1/share/a.png",
    "\\\\?\\C:\\a.png", "\\\\.\\PhysicalDrive0", "CON", "NUL", "aux.png", "a.png::$DATA",
    # texts that are no names
    "\x00", "a.png\x00", "SECRET/a.png\x00.png", "ALLOWED/a.png\x00SECRET/a.png", "\ud800.png",
    "\udcff.png", "ALLOWED/\ud800", "a\nb.png", "\r\n", "\x1b]0;title\x07.png", "\u202egnp.a",
    "a" * 300, "a" * 100_000, "a/" * 3_000, "ALLOWED/" + "a/../" * 3_000 + "missing.png",
    "ALLOWED/huge.png", "ALLOWED/missing.png", "ALLOWED/words.txt", "img_" + "0" * 24, "img_",
    "-", "--help", "@ALLOWED/a.png", "|id", "ALLOWED/empty.png",
)  # fmt: skip


def make_folders(root: Path) -> None:
    """Make the folders `allowed`, `allowed-not` and `secret` below a folder."""
    allowed, secret = root / "allowed", root / "secret"
    (allowed / "deeper").mkdir(parents=True)
    for folder in (secret, root / "allowed-not", root / "current"):
        folder.mkdir()
    for path in (allowed / "a.png", allowed / "deeper" / "b.png"):
        path.write_bytes(ALLOWED_IMAGE)
    for path in (secret / "a.png", root / "allowed-not" / "a.png", root / "a.png"):
        path.write_bytes(SECRET_IMAGE)
    (secret / "words.txt").write_text(SECRET_WORDS, encoding="utf-8")
    (allowed / "words.txt").write_text("words", encoding="utf-8")
    (allowed / "empty.png").touch()
    with open(allowed / "huge.png", "wb") as file:
        file.truncate(60_000_000)
    if sys.platform != "win32":
        _make_special(allowed, secret)


def _make_special(allowed: Path, secret: Path) -> None:
    """Make links, a pipe and a socket, for which Windows needs permissions or has none."""
    links: dict[str, str | Path] = {
        "in.png": "a.png",
        "indir": "deeper",
        "out.png": secret / "a.png",
        "chain.png": "out.png",
        "outdir": secret,
        "loop.png": "loop.png",
        "dangling.png": "nothing.png",
        "zero.png": "/dev/zero",
        "environ.png": "/proc/self/environ",
        "pipe.png": "pipe",
    }
    for name, target in links.items():
        (allowed / name).symlink_to(target)
    os.link(allowed / "a.png", allowed / "hard.png")
    os.mkfifo(allowed / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        current = os.open(".", os.O_RDONLY)
        os.chdir(allowed)  # the path of a socket has some hundred characters at most
        listener.bind("socket")
        os.chdir(current)
        os.close(current)
