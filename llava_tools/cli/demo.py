"""`llava-tools demo`: the page, on a free port of this machine, opened in the browser."""

from __future__ import annotations

import argparse
import threading
import webbrowser
from typing import Any

from llava_tools.cli.options import ENGINE_HELP, add_command, add_flags, get_flags
from llava_tools.cli.output import write_note
from llava_tools.cli.serve import PACKAGES, listen, run_app, url_of
from llava_tools.errors import require
from llava_tools.model import Llava
from llava_tools.options import EngineOptions


def add(commands: Any) -> None:
    """Add the command to the subparsers of `llava-tools`."""
    demo = add_command(
        commands,
        "demo",
        _demo,
        "open a page in the browser to ask about images",
        ("demo", "demo --model 7b --index my-index", "demo --no-browser --port 8080"),
        "Run the server for this machine only, and open its page. `serve` is for other clients.",
    )
    add_flags(
        demo,
        EngineOptions,
        model="tiny, 0.5b, 7b, 13b, a hub id or a folder",
        base_url="pass requests on to an OpenAI-compatible server",
        **ENGINE_HELP,
    )
    demo.add_argument("--index", metavar="DIR", help="an index that the page may ask")
    demo.add_argument("--port", type=int, default=0, help="port; 0 for a free one (0)")
    demo.add_argument("--no-browser", action="store_true", help="only print the address")


def _demo(arguments: argparse.Namespace) -> int:
    require(*PACKAGES, extra="serve")
    from llava_tools.server.app import create_app
    from llava_tools.server.options import ServerOptions

    options = ServerOptions(port=arguments.port, index=arguments.index)
    app = create_app(options, Llava(**get_flags(arguments, EngineOptions)))
    with listen(options.host, options.port) as listener:
        url = url_of(listener)
        write_note(f"{url} (Ctrl-C ends it)")
        if not arguments.no_browser:
            # It connects at once, and is answered as soon as the server runs. Browsers in a
            # terminal return only when they are left.
            threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()
        run_app(app, listener)
    return 0
