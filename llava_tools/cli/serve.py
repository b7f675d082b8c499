"""`llava-tools serve`: the server for OpenAI's and Ollama's clients and for the page."""

from __future__ import annotations

import argparse
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llava_tools.cli.options import CALIBRATION_HELP, ENGINE_HELP, add_command, add_flags, get_flags
from llava_tools.cli.output import write_note
from llava_tools.errors import RequestError, require
from llava_tools.model import Llava
from llava_tools.options import EngineOptions
from llava_tools.server.options import ServerOptions, read_keys

if TYPE_CHECKING:
    from starlette.applications import Starlette

#: Environment variable with one API key.
KEY_VARIABLE = "LLAVA_SERVER_API_KEY"
#: What the extra `serve` installs.
PACKAGES = ("starlette", "uvicorn", "sse_starlette", "prometheus_client")
#: Limits of the server, with their help.
_LIMITS = {
    "max_body_bytes": "most bytes of a request",
    "max_images": "most images of a request",
    "max_pending": "most requests that wait or run; further ones get 429",
    "max_pending_per_key": "the same for one API key",
    "store_bytes": "bytes that the images of one API key may take in memory",
    "timeout": "most seconds of an answer",
}
#: Seconds that running requests get when the server is stopped.
GRACE_SECONDS = 30


def add(commands: Any) -> None:
    """Add the command to the subparsers of `llava-tools`."""
    serve = add_command(
        commands,
        "serve",
        _serve,
        "answer OpenAI's and Ollama's clients, and show a page",
        (
            "serve --model 7b",
            "serve --model 7b --index my-index --port 8080",
            "serve --host 0.0.0.0 --api-key-file keys.txt",
        ),
    )
    add_server_flags(serve)


def add_server_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of the server, its model and its access."""
    add_flags(
        parser,
        EngineOptions,
        model="tiny, 0.5b, 7b, 13b, a hub id or a folder",
        base_url="pass requests on to an OpenAI-compatible server",
        keep_alive="unload the model after this time without a request, like 5m",
        max_concurrent_requests="requests that run at once",
        calibration=CALIBRATION_HELP,
        **ENGINE_HELP,
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=int, default=8000, help="port; 0 for a free one (8000)")
    parser.add_argument(
        "--api-key-file",
        metavar="FILE",
        help=f"API keys, one a line; one more may be in {KEY_VARIABLE}",
    )
    parser.add_argument(
        "--allow-anyone",
        action="store_true",
        help="listen for other machines without a key",
    )
    parser.add_argument("--index", metavar="DIR", help="an index that the page may search")
    parser.add_argument(
        "--log-format",
        choices=("text", "json", "none"),
        default="text",
        help="lines of the log, one for each request, without contents (text)",
    )
    parser.add_argument(
        "--allow-urls", action="store_true", help="fetch images from public links in requests"
    )
    for name, text in _LIMITS.items():
        default = getattr(ServerOptions, name)
        parser.add_argument(
            "--" + name.replace("_", "-"),
            type=type(default),
            default=default,
            metavar="N",
            help=f"{text} ({default})",
        )
    repeated = {
        "model_names": ("--model-name", "NAME", "a further name of the model, like gpt-4o"),
        "allowed_hosts": ("--allow-host", "HOST", "a private host whose images are fetched"),
        "allowed_origins": ("--allow-origin", "URL", "a site whose pages may use the server"),
    }
    for name, (flag, metavar, text) in repeated.items():
        text = f"{text}; may be passed repeatedly"
        parser.add_argument(
            flag, dest=name, action="append", default=[], metavar=metavar, help=text
        )


def _serve(arguments: argparse.Namespace) -> int:
    require(*PACKAGES, extra="serve")
    from llava_tools.server.app import create_app
    from llava_tools.server.logs import logs_on_stderr

    options = ServerOptions(
        host=arguments.host,
        port=arguments.port,
        api_keys=read_api_keys(arguments.api_key_file),
        allow_anyone=arguments.allow_anyone,
        model_names=tuple(arguments.model_names),
        allow_urls=arguments.allow_urls,
        allowed_hosts=tuple(arguments.allowed_hosts),
        allowed_origins=tuple(arguments.allowed_origins),
        index=arguments.index,
        **{name: getattr(arguments, name) for name in _LIMITS},
    )
    app = create_app(options, Llava(**get_flags(arguments, EngineOptions)))
    with listen(options.host, options.port) as listener, logs_on_stderr(arguments.log_format):
        write_note(f"{url_of(listener)} (Ctrl-C ends it)")
        run_app(app, listener)
    return 0


def run_app(app: Starlette, listener: socket.socket) -> None:
    """Run an application on a socket until it is stopped."""
    import uvicorn

    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    uvicorn.Server(config).run(sockets=[listener])


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens on an address; port 0 takes a free one.

    Raises:
        RequestError: The address is not this machine's, or another program has the port.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise RequestError(
            f"The server cannot listen on {host}, port {port}: {error.strerror or error}.",
            "Pass another --port or --host.",
        ) from None
    # asyncio sets TCP_NODELAY only on sockets whose protocol is named; without it, some responses
    # wait 40 ms for an acknowledgement.
    return socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, fileno=listener.detach())


def url_of(listener: socket.socket) -> str:
    """Return the URL of a socket that listens."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def read_api_keys(file: str | None) -> tuple[str, ...]:
    """Return the API keys of a file and of the environment.

    Raises:
        RequestError: The file cannot be read, or a key is not possible.
    """
    lines = [os.environ.get(KEY_VARIABLE, "")]
    if file is not None:
        try:
            lines += Path(file).expanduser().read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise RequestError(f"The key file {file} cannot be read: {error}.") from None
    keys = read_keys(lines)
    if file is not None and not keys:
        raise RequestError(f"The key file {file} holds no key.", "Write one a line.")
    return keys
