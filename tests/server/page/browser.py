"""A server with a scripted model, and a browser on its page that notes what goes wrong."""

from __future__ import annotations

import os
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import uvicorn

from llava_tools import Llava
from llava_tools.core.requests import Request
from llava_tools.server.app import create_app
from llava_tools.server.options import ServerOptions
from llava_tools.testing import ScriptedBackend
from tests.evidence.scripted import depends_on_square

EXAMPLES = Path(__file__).parents[3] / "examples" / "images"
#: Text that would be code if the page took it for HTML.
HOSTILE = '<img src=x onerror="document.title=1"><b>bold</b> [link](javascript:alert(1))'
#: A box in hundredths of the square around an image of 240 x 240 pixels.
BOX = "[0.25, 0.5, 0.75, 1.0]"


def find_chromium() -> str | None:
    """Return the path of a Chromium of the system: CHROMIUM, or the one that is installed."""
    names = ("chromium", "chromium-browser", "google-chrome")
    found = (path for name in names if (path := shutil.which(name)))
    return os.environ.get("CHROMIUM") or next(found, None)


def script(request: Request) -> str:
    """Answer by the last question."""
    message = request.messages[-1]
    text = str(message.content[-1])
    if text.startswith("Please provide the bounding box"):
        return BOX
    if "How many" in text:
        return "3"
    if "hostile" in text:
        return HOSTILE
    if "which images" in text:
        return " ".join(image.handle for item in request.messages for image in item.images)
    if "90 days" in text or "coffee" in text:
        return "90 days"
    if message.images and "colour" in text:
        return {240: "yellow", 200: "red"}.get(message.images[0].size[0], "green")
    return "one two three four five six"


def probability(request: Request, label: str) -> float:
    """Return the log-probability of yes or no: the scripted images show no unicorn."""
    shows = "unicorn" not in str(request.messages[-1].content[-1])
    return -0.01 if (label.lower() == "yes") == shows else -5.0


class Pause:
    """Lets a stream go on chunk by chunk while it is closed."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._open = True
        self._steps = 0

    def __call__(self) -> None:
        """Wait for a step, unless the pause is open."""
        with self._changed:
            self._changed.wait_for(lambda: self._open or self._steps > 0)
            self._steps -= not self._open

    def close(self) -> None:
        """Have streams wait before each chunk."""
        self._set(False, 0)

    def step(self, count: int = 1) -> None:
        """Let some chunks pass."""
        self._set(False, self._steps + count)

    def open(self) -> None:
        """Let all chunks pass."""
        self._set(True, 0)

    def _set(self, is_open: bool, steps: int) -> None:
        with self._changed:
            self._open, self._steps = is_open, steps
            self._changed.notify_all()


@dataclass
class Server:
    """A running server.

    Attributes:
        address: Its URL.
        backend: Its model.
        pause: Holds the model's streams.
        app: The application.
    """

    address: str
    backend: ScriptedBackend
    pause: Pause
    app: Any


@contextmanager
def run_server(
    index: Any = None,
    *,
    is_loaded: bool = True,
    measures_evidence: bool = True,
    **options: Any,
) -> Iterator[Server]:
    """Run a server in a thread; its model is loaded, or is so once `pause` opens."""
    pause = Pause()
    if not is_loaded:
        pause.close()
    backend = ScriptedBackend(
        script, pause=pause, scores=probability, scores_without=depends_on_square
    )
    backend.measures_evidence = measures_evidence
    app = create_app(ServerOptions(**options), Llava(backend=backend))
    if index is not None:
        app.state.service.index = index
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        while is_loaded and not app.state.service.is_loaded:
            time.sleep(0.01)
        try:
            yield Server(address, backend, pause, app)
        finally:
            pause.open()
            server.should_exit = True
            thread.join()


@dataclass
class Visit:
    """A page that is open in a browser, with what went wrong.

    Attributes:
        page: Playwright's page.
        problems: Messages on the console and errors of scripts.
        origins: Origins of all requests.
    """

    page: Any
    problems: list[str] = field(default_factory=list)
    origins: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.page.on("console", lambda message: self.problems.append(message.text))
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("request", lambda request: self._note(request.url))

    def _note(self, url: str) -> None:
        if not url.startswith(("blob:", "data:")):
            self.origins.add("{0.scheme}://{0.netloc}".format(urlsplit(url)))

    def open(self, address: str) -> None:
        """Open the page of a server."""
        self.page.goto(address)
        self.page.wait_for_selector("#examples button")

    def add(self, *names: str) -> None:
        """Choose example images as files."""
        self.page.set_input_files("#files", [EXAMPLES / name for name in names])
        self.page.wait_for_function(
            "count => document.querySelectorAll('#tray li').length >= count", arg=len(names)
        )

    def choose(self, mode: str) -> None:
        """Choose a mode."""
        self.page.check(f"input[value={mode}]", force=True)

    def ask(self, text: str, mode: str = "ask", *, wait: bool = True) -> Any:
        """Send a question; return the turn, with its answer if `wait`."""
        self.choose(mode)
        count = self.page.locator(".turn").count()
        if mode not in ("describe", "read_text"):
            self.page.fill("#question", text)
        self.page.press("#question", "Enter")
        turn = self.page.locator(".turn").nth(count)
        turn.locator(".tools" if wait else ".answer").wait_for(
            state="visible" if wait else "attached"
        )
        return turn
