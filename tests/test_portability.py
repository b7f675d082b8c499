"""What other systems than Linux lack has a guard: by the source, and in a Python without it."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("llava_tools", "integrations", "recipes")
#: Imported by `images.store` only where POSIX's file locks are.
POSIX_FILES = ("llava_tools/images/directory.py",)

#: Modules of the standard library that Windows lacks.
MODULES = (
    "crypt", "curses", "fcntl", "grp", "posix", "pty", "pwd", "readline", "resource", "spwd",
    "syslog", "termios", "tty",
)  # fmt: skip
#: Names that Windows lacks, by module.
NAMES = {
    "os": (
        "O_CLOEXEC", "O_DIRECTORY", "O_NOFOLLOW", "O_NONBLOCK", "O_PATH", "O_SYNC", "O_TMPFILE",
        "WNOHANG", "chown", "chroot", "fchdir", "fchmod", "fchown", "fdatasync", "fork",
        "forkpty", "getegid", "geteuid", "getgid", "getloadavg", "getpgid", "getpriority",
        "getsid", "getuid", "killpg", "lchown", "lockf", "mkfifo", "mknod", "nice", "openpty",
        "pathconf", "pipe2", "posix_spawn", "pread", "pwrite", "register_at_fork",
        "sched_getaffinity", "sched_setaffinity", "sendfile", "setgid", "setpgid",
        "setpriority", "setsid", "setuid", "statvfs", "sync", "sysconf", "ttyname", "uname",
        "wait", "wait3", "wait4", "waitid",
    ),
    "signal": (
        "ITIMER_REAL", "SIGALRM", "SIGBUS", "SIGCHLD", "SIGCONT", "SIGHUP", "SIGKILL",
        "SIGPIPE", "SIGQUIT", "SIGSTOP", "SIGUSR1", "SIGUSR2", "alarm", "getitimer", "pause",
        "pthread_kill", "pthread_sigmask", "setitimer", "siginterrupt", "sigpending",
        "sigtimedwait", "sigwait", "sigwaitinfo",
    ),
    "socket": ("AF_UNIX", "SO_REUSEPORT"),
    "time": ("CLOCK_MONOTONIC", "clock_gettime", "tzset"),
    "select": ("epoll", "kqueue", "poll"),
    "mmap": ("MAP_PRIVATE", "MAP_SHARED", "PROT_READ", "PROT_WRITE"),
}  # fmt: skip
#: Arguments of `subprocess` that Windows refuses.
ARGUMENTS = ("pass_fds", "preexec_fn", "process_group", "start_new_session", "umask")


def parse(folder: str) -> Iterator[tuple[str, ast.Module]]:
    """Yield the modules of a folder with their names."""
    for path in sorted((ROOT / folder).rglob("*.py")):
        yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def posix_names(node: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield what Windows lacks in a part of a module, and its lines."""
    for part in ast.walk(node):
        if isinstance(part, ast.Import | ast.ImportFrom):
            modules = [alias.name for alias in part.names]
            if isinstance(part, ast.ImportFrom):
                modules = [part.module or ""]
            yield from ((name, part.lineno) for name in modules if name in MODULES)
        elif isinstance(part, ast.Attribute) and isinstance(part.value, ast.Name):
            if part.attr in NAMES.get(part.value.id, ()):
                yield part.attr, part.lineno
        elif isinstance(part, ast.Call):
            names = [keyword.arg or "" for keyword in part.keywords]
            yield from ((name, part.lineno) for name in names if name in ARGUMENTS)


def guards(function: ast.AST) -> list[int]:
    """Return the lines of a function that look at the system, or at what it has."""
    return [
        part.lineno
        for part in ast.walk(function)
        if (isinstance(part, ast.Call) and ast.unparse(part) == "suppress(ImportError)")
        or (isinstance(part, ast.Call) and ast.unparse(part.func) == "hasattr")
        or (isinstance(part, ast.Attribute) and ast.unparse(part) in ("sys.platform", "os.name"))
    ]


def unguarded(tree: ast.Module) -> list[tuple[str, int]]:
    """Return uses of what Windows lacks without a look at the system before, in their function."""
    guarded = set()
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            first = min(guards(function), default=None)
            if first is not None:
                guarded |= {use for use in posix_names(function) if use[1] >= first}
    return sorted(set(posix_names(tree)) - guarded)


def run_by_import(tree: ast.Module) -> Iterator[ast.AST]:
    """Yield what importing a module runs: its statements and classes, and decorators."""
    waiting: list[ast.stmt] = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from node.decorator_list
        elif isinstance(node, ast.ClassDef):
            waiting += node.body
            yield from node.decorator_list
        else:
            yield node


def takes_encoding_of_the_system(call: ast.Call) -> bool:
    """Return whether a call opens text without naming its encoding."""
    function, is_method = ast.unparse(call.func), isinstance(call.func, ast.Attribute)
    arguments = {keyword.arg: keyword.value for keyword in call.keywords}
    if "encoding" in arguments:
        return False
    if function.startswith("subprocess."):
        return "text" in arguments
    if is_method and function.endswith(".read_text"):
        return not call.args
    if is_method and function.endswith(".write_text"):
        return len(call.args) < 2
    if (function != "open" and not function.endswith(".open")) or function in (
        "archive.open",
        "os.open",
    ):
        return False  # `ZipFile.open` is of bytes, `os.open` of descriptors
    modes = [arguments["mode"]] if "mode" in arguments else call.args[0 if is_method else 1 :]
    if not modes:
        return not is_method  # other objects have an `open` without arguments
    mode = modes[0].value if isinstance(modes[0], ast.Constant) else "b"  # another `open`, of ours
    return "b" not in str(mode)


@pytest.mark.parametrize("package", PACKAGES)
def test_what_windows_lacks_stands_behind_a_look_at_the_system(package: str) -> None:
    found = {name: unguarded(tree) for name, tree in parse(package) if name not in POSIX_FILES}
    assert {name: uses for name, uses in found.items() if uses} == {}


def test_tests_are_imported_on_every_system() -> None:
    found = {
        name: [use for part in run_by_import(tree) for use in posix_names(part)]
        for name, tree in parse("tests")
    }
    assert {name: uses for name, uses in found.items() if uses} == {}


@pytest.mark.parametrize("folder", [*PACKAGES, "tests"])
def test_files_of_text_name_their_encoding(folder: str) -> None:
    found = [
        f"{name}:{call.lineno}"
        for name, tree in parse(folder)
        if not name.rpartition("/")[2].startswith("test_")
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and takes_encoding_of_the_system(call)
    ]
    assert found == []


#: The directory of images needs POSIX, the GPU's kernels Triton; `__main__` runs a command.
LEFT_OUT = ("__main__", "images.directory", "paged_decode", "fused_layer", "fused_rows")

#: Imports all modules, and then again in a Python that has less.
IMPORTS = """
import importlib, os, pkgutil, signal, sys
import {package}

def import_all():
    for module in pkgutil.walk_packages({package}.__path__, "{package}."):
        if not module.name.endswith({left_out!r}):
            importlib.import_module(module.name)

import_all()
for name in [name for name in sys.modules if name.split(".")[0] == "{package}"]:
    del sys.modules[name]
for name in {modules!r}:
    sys.modules[name] = None
for module, names in ((os, {os!r}), (signal, {signal!r})):
    for name in names:
        if hasattr(module, name):
            delattr(module, name)
import {package}
import_all()
print(len([name for name in sys.modules if name.startswith("{package}.")]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("package", ["llava_tools", "langchain_llava"])
def test_all_modules_are_imported_without_what_windows_lacks(package: str) -> None:
    program = IMPORTS.format(package=package, left_out=LEFT_OUT, modules=MODULES, **NAMES)
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        encoding="utf-8",
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 10
