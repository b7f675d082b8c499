"""`llava-tools mcp`: visual tools and documents for MCP hosts, over stdio or HTTP."""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llava_tools.cli.options import CALIBRATION_HELP, ENGINE_HELP, add_command, add_flags, get_flags
from llava_tools.cli.output import write_json, write_note
from llava_tools.cli.serve import KEY_VARIABLE, read_api_keys
from llava_tools.errors import LlavaToolsError, RequestError, require
from llava_tools.model import Llava
from llava_tools.options import TINY_NOTICE, EngineOptions

if TYPE_CHECKING:
    from llava_tools.server.mcp import McpServer
    from llava_tools.server.options import ServerOptions

_log = logging.getLogger(__name__)

#: Seconds that running calls get when the server is stopped; clients keep connections open.
GRACE_SECONDS = 3


def add(commands: Any) -> None:
    """Add the command to the subparsers of `llava-tools`."""
    mcp = add_command(
        commands,
        "mcp",
        _mcp,
        "give MCP hosts visual tools and documents",
        (
            "mcp --model 7b --allow-directory ~/Images --print-config claude-desktop",
            "mcp --model 7b --index my-index",
            "mcp --model 7b --http 127.0.0.1:8001",
        ),
        "Serves visual tools and documents to hosts of the Model Context Protocol, such as Claude "
        "Desktop and editors: over stdio, for a host that starts this command, or over HTTP.",
    )
    add_flags(
        mcp,
        EngineOptions,
        model="tiny, 0.5b, 7b, 13b, a hub id or a folder",
        base_url="an OpenAI-compatible server that runs the model",
        keep_alive="unload the model after this time without a call, like 5m",
        calibration=CALIBRATION_HELP,
        **ENGINE_HELP,
    )
    mcp.add_argument("--index", metavar="DIR", help="an index for find and ask_documents")
    mcp.add_argument(
        "--tools", metavar="NAMES", help="names of tools, with commas between; all by default"
    )
    mcp.add_argument(
        "--existence-threshold",
        type=float,
        metavar="SHARE",
        help="refuse to answer about things that are less probably there (0 to 1), like 0.5",
    )
    mcp.add_argument("--preload", action="store_true", help="load the model before the first call")
    mcp.add_argument(
        "--no-images", action="store_true", help="results without images, for a host that sees none"
    )
    mcp.add_argument(
        "--resource-links", action="store_true", help="results with links to their images"
    )
    _add_repeated(mcp, "--allow-directory", "DIR", "a folder whose images calls may name")
    _add_repeated(mcp, "--allow-host", "HOST", "a host, or HOST:PORT, whose URLs calls may name")
    mcp.add_argument("--http", metavar="HOST:PORT", help="serve at http://HOST:PORT/mcp")
    mcp.add_argument(
        "--api-key-file",
        metavar="FILE",
        help=f"API keys for --http, one a line; one more may be in {KEY_VARIABLE}",
    )
    mcp.add_argument(
        "--allow-anyone", action="store_true", help="listen for other machines without a key"
    )
    _add_repeated(mcp, "--allow-origin", "URL", "a site whose pages may use the server")
    mcp.add_argument(
        "--print-config",
        metavar="HOST",
        help="print what to paste into the file of a host, and stop",
    )


def _add_repeated(parser: argparse.ArgumentParser, flag: str, metavar: str, text: str) -> None:
    parser.add_argument(
        flag, action="append", default=[], metavar=metavar, help=f"{text}; may be passed repeatedly"
    )


def _mcp(arguments: argparse.Namespace) -> int:
    require("mcp", extra="mcp")
    if arguments.print_config is not None:
        return _print_config(arguments)
    from llava_tools.server.mcp import ContentOptions, McpServer

    options = None if arguments.http is None else _server_options(arguments)
    with Llava(**get_flags(arguments, EngineOptions)) as model:
        server = McpServer(
            model,
            tools=None if arguments.tools is None else _split(arguments.tools),
            index=_open_index(arguments.index),
            allowed_directories=arguments.allow_directory,
            allowed_hosts=arguments.allow_host,
            content=ContentOptions(not arguments.no_images, arguments.resource_links),
            existence_threshold=arguments.existence_threshold,
        )
        if model.options.model == "tiny" and model.options.base_url is None:
            write_note(TINY_NOTICE)
        if arguments.preload:
            threading.Thread(target=_preload, args=(model,), daemon=True).start()
        if options is None:
            _run_stdio(server)
        else:
            _run_http(server, options)
    return 0


def _split(names: str) -> list[str]:
    return [name.strip() for name in names.split(",") if name.strip()]


def _open_index(folder: str | None) -> Any:
    if folder is None:
        return None
    from llava_tools.retrieval import PageIndex  # loads slowly

    index = PageIndex(folder)
    index.stats()  # raises if there is none
    return index


def _preload(model: Llava) -> None:
    try:
        model.warm_up()
    except LlavaToolsError as error:
        _log.error("the model cannot be loaded: %s", error)  # calls report it, too


def _run_stdio(server: McpServer) -> None:
    from mcp.server.stdio import stdio_server

    async def serve() -> None:
        async with stdio_server() as (read_stream, write_stream):
            await server.run(read_stream, write_stream, server.create_initialization_options())

    if sys.stdin is None or sys.stdout is None:
        raise RequestError("Standard input or output is closed.", "Use --http HOST:PORT.")
    if sys.stdin.isatty():
        write_note("waiting for an MCP host on standard input; see --print-config HOST")
    # Nothing interrupts the thread that reads stdin. The default action ends the process.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    asyncio.run(serve())


def _run_http(server: McpServer, options: ServerOptions) -> None:
    import uvicorn

    from llava_tools.server.mcp.http import PATH, create_app

    config = uvicorn.Config(
        create_app(server, options),
        host=options.host,
        port=options.port,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    write_note(f"{_address(options.host, options.port)}{PATH} (Ctrl-C ends it)")
    uvicorn.Server(config).run()


def _server_options(arguments: argparse.Namespace) -> ServerOptions:
    require("starlette", "uvicorn", extra="mcp")
    from llava_tools.server.options import ServerOptions

    host, port = split_address(arguments.http)
    return ServerOptions(
        host=host,
        port=port,
        api_keys=read_api_keys(arguments.api_key_file),
        allow_anyone=arguments.allow_anyone,
        allowed_origins=tuple(arguments.allow_origin),
    )


def split_address(text: str) -> tuple[str, int]:
    """Return host and port of an address such as `127.0.0.1:8001` or `[::1]:8001`.

    Raises:
        RequestError: It has another form.
    """
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or (":" in host and not host.startswith("[")):
        raise RequestError(f"--http {text!r:.60} is no address.", "Write HOST:PORT.")
    return host.strip("[]"), int(port)


def _address(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _print_config(arguments: argparse.Namespace) -> int:
    from llava_tools.server.mcp import hosts

    name = arguments.print_config
    if arguments.http is None:
        config = hosts.command_config(name, command_words(arguments))
    else:
        options = _server_options(arguments)
        everywhere = options.host in ("0.0.0.0", "::")
        host = socket.gethostname() if everywhere else options.host
        url = f"{_address(host, options.port)}/mcp"
        config = hosts.url_config(name, url, with_key=bool(options.api_keys))
    write_json(config)
    write_note(f"for {hosts.HOSTS[name].file}")
    return 0


def command_words(arguments: argparse.Namespace) -> list[str]:
    """Return the command that starts this server over stdio from any folder."""
    words = [sys.executable, "-m", "llava_tools", "mcp"]
    for name, value in get_flags(arguments, EngineOptions).items():
        flag = f"--{name.replace('_', '-')}"
        if name == "calibration" or (name == "model" and Path(value).expanduser().is_dir()):
            value = _absolute(value)
        words += [flag] if value is True else [flag, str(value)]
    for folder in arguments.allow_directory:
        words += ["--allow-directory", _absolute(folder)]
    for host in arguments.allow_host:
        words += ["--allow-host", host]
    if arguments.index is not None:
        words += [
            "--index",
            arguments.index if "://" in arguments.index else _absolute(arguments.index),
        ]
    if arguments.tools is not None:
        words += ["--tools", arguments.tools]
    if arguments.existence_threshold is not None:
        words += ["--existence-threshold", str(arguments.existence_threshold)]
    flags = {
        "--preload": arguments.preload,
        "--no-images": arguments.no_images,
        "--resource-links": arguments.resource_links,
    }
    return words + [flag for flag, is_set in flags.items() if is_set]


def _absolute(path: str) -> str:
    return str(Path(path).expanduser().resolve())
