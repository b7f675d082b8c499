"""`llava-tools bench`: prints a table, writes a plot, and prints one JSON line last."""

from __future__ import annotations

import argparse
import json
import secrets
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from llava_tools.bench import report
from llava_tools.bench.contenders import BackendContender, Contender
from llava_tools.bench.machine import describe
from llava_tools.bench.workload import Workload, measure
from llava_tools.cli.options import ENGINE_HELP, add_command, add_flags, get_flags
from llava_tools.cli.output import write, write_progress
from llava_tools.errors import RequestError, escape_line, require
from llava_tools.model import Llava
from llava_tools.options import EngineOptions


def add(commands: Any) -> None:
    """Add the command to the subparsers of `llava-tools`."""
    bench = add_command(
        commands,
        "bench",
        _bench,
        "measure how fast models and servers answer questions about images",
        (
            "bench --model 7b --plot bench.png",
            "bench --base-url http://localhost:8000/v1 --rounds 3",
        ),
        "Send the same questions about new and repeated images to a model in this "
        "process, to transformers' generate on the same weights, and to servers.",
    )
    bench.add_argument(
        "--base-url",
        dest="servers",
        action="append",
        default=[],
        metavar="URL",
        help="an OpenAI-compatible server; may be passed repeatedly",
    )
    bench.add_argument("--no-generate", action="store_true", help="leave out transformers")
    add_flags(
        bench,
        EngineOptions,
        model="tiny, 0.5b, 7b, 13b, a hub id or a folder; none by default if servers are named",
        **ENGINE_HELP,
    )
    add_flags(
        bench,
        Workload,
        rounds="rounds that count",
        at_once="requests that are sent together",
        tokens="length limit of a description",
    )
    bench.add_argument("--seed", type=int, default=secrets.randbits(32), help="of images (random)")
    bench.add_argument("--plot", type=Path, metavar="FILE", help="a .png, .svg or .pdf")


def _bench(arguments: argparse.Namespace) -> int:
    workload = Workload(**get_flags(arguments, Workload))
    if arguments.plot is not None:
        report.check_plot(arguments.plot, extra="bench")
    if len(set(arguments.servers)) < len(arguments.servers):
        raise RequestError("A --base-url is passed twice.", "Name each server once.")
    with ExitStack() as stack:
        contenders = _contenders(arguments, stack)
        measured = measure(contenders, workload, lambda done: _progress(done, workload.rounds))
        result = {"benchmark": "bench"} | report.as_dict(measured, workload) | describe()
        lines = [report.table(measured, workload)]
        if _has_model(arguments):
            from llava_tools.bench import bandwidth

            if found := bandwidth.measure(contenders, measured, workload):
                lines.append(bandwidth.line(found))
                result["decode_bandwidth"] = bandwidth.as_dict(found)
    write("\n".join(lines))
    if arguments.plot is not None:
        report.plot(measured, workload, arguments.plot)
    write(json.dumps(result))
    return 0


def _contenders(arguments: argparse.Namespace, stack: ExitStack) -> list[Contender]:
    """Load the model, and connect to the servers; `stack` closes them."""
    contenders: list[Contender] = []
    options = get_flags(arguments, EngineOptions)
    if _has_model(arguments):
        model = stack.enter_context(Llava(**options))
        name = escape_line(model.backend.model_name)
        contenders.append(BackendContender(name, model.backend))
        if not arguments.no_generate:
            require("torch", "transformers", "accelerate", extra="torch")
            from llava_tools.bench.generate import GenerateContender

            contenders.append(GenerateContender(model.options))
    for url in arguments.servers:
        model = stack.enter_context(Llava(base_url=url))
        name = escape_line(f"{model.backend.model_name} at {url}")
        contenders.append(BackendContender(name, model.backend))
    return contenders


def _has_model(arguments: argparse.Namespace) -> bool:
    """Whether a model is run in this process."""
    return "model" in get_flags(arguments, EngineOptions) or not arguments.servers


def _progress(done: int, rounds: int) -> None:
    write_progress(f"round {done} of {rounds}", is_last=done == rounds)
