"""Names in the developer's own code, on the command line, and in calls of the visual tools."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any
from unittest import mock

from llava_tools import Llava, model_cache, open_image, tools
from llava_tools.cli.main import main
from llava_tools.errors import RequestError
from llava_tools.images.access import ImageResolver
from llava_tools.images.fetch import Fetcher
from llava_tools.images.store import ImageStore
from tests.hardening.surfaces.surface import (
    Access,
    RefusalError,
    Surface,
    colour,
    make_backend,
    refusals,
)

#: Arguments of tools whose result has what the model answers, without the image.
TOOL_ARGUMENTS: dict[str, dict[str, object]] = {
    "look": {"question": "What colour?"},
    "read_text": {},
    "zoom": {"box": [0, 0, 8, 8], "question": "What colour?"},
    "compare": {"question": "What colour?"},
}


def tool_call(tool: str, name: str) -> dict[str, object]:
    """Return the arguments of a call that names an image."""
    images: dict[str, object] = {"images": [name, name]} if tool == "compare" else {"image": name}
    return images | TOOL_ARGUMENTS[tool]


def surfaces(access: Access, stack: ExitStack) -> Iterator[Surface]:
    """Yield the surfaces without a framework."""
    llava = Llava(backend=make_backend())
    fetcher = Fetcher(allowed_hosts=frozenset(access.hosts))

    def opened(name: str) -> str:
        with refusals():
            return colour(open_image(name, fetcher=fetcher))

    def answered(name: str) -> str:
        with refusals():
            return llava.ask("What colour?", [name]).text

    yield Surface("open_image", opened, "all", "all")
    yield Surface("Llava.ask", answered, "all", "all")
    yield Surface("command line", _command(access, stack), "all", "all")
    resolver = ImageResolver(ImageStore(), access.directories, access.hosts)

    def called(tool: str) -> Callable[[str], str]:
        def send(name: str) -> str:
            with refusals(RequestError):
                return str(tools.call(llava, tool, tool_call(tool, name), resolver))

        return send

    for tool in TOOL_ARGUMENTS:
        yield Surface(f"tools.call {tool}", called(tool), "allowed", "allowed")


def _command(access: Access, stack: ExitStack) -> Callable[[str], str]:
    cache: Any = model_cache.ModelCache(lambda options: make_backend())
    stack.enter_context(mock.patch.object(model_cache, "engines", cache))
    hosts = [word for host in access.hosts for word in ("--allow-host", host)]

    def send(name: str) -> str:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(["ask", "-q", *hosts, "--", name, "What colour?"])
        if code == 0:
            return out.getvalue()
        if code != 2 or out.getvalue():
            raise AssertionError(f"exit code {code}: {out.getvalue()!r} {err.getvalue()!r}")
        # As the stream of a process writes it.
        shown = err.getvalue().encode(errors="backslashreplace").decode()
        raise RefusalError(shown.removesuffix("\n"))

    return send
