"""`llava-tools bench`: parse, measure, print a table, a plot if wanted, one JSON line last."""

from __future__ import annotations

import argparse
import json
import secrets
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from llava_tools.bench import Behind, Contender, Plan, measure, report
from llava_tools.bench.machine import describe
from llava_tools.cli.options import add_engine, engine
from llava_tools.errors import RequestError, need
from llava_tools.model import Llava


def add(commands: Any) -> None:
    """Add the command to the subparsers of `llava-tools`."""
    usual = Plan()
    bench = commands.add_parser(
        "bench",
        help="how fast questions about pictures are answered, here and by others",
        description="Ask the same questions about new and known pictures of a model in this "
        "process, of transformers' generate on the same weights, and of any number of servers.",
    )
    bench.set_defaults(run=_bench)
    bench.add_argument(
        "--model", help="tiny (the default where no server is named), 7b, 13b, a hub id or a folder"
    )
    bench.add_argument(
        "--base-url",
        action="append",
        default=[],
        metavar="URL",
        help="an OpenAI-compatible server; may be given more than once",
    )
    bench.add_argument("--no-generate", action="store_true", help="leave transformers' out")
    add_engine(bench)
    bench.add_argument("--rounds", type=int, default=usual.rounds, help="that count (%(default)s)")
    bench.add_argument(
        "--at-once", type=int, default=usual.at_once, help="requests together (%(default)s)"
    )
    bench.add_argument(
        "--tokens", type=int, default=usual.tokens, help="of a description (%(default)s)"
    )
    bench.add_argument("--seed", type=int, help="of the pictures (never the same twice)")
    bench.add_argument("--plot", type=Path, metavar="FILE", help="a .png, .svg or .pdf")


def _bench(arguments: argparse.Namespace) -> int:
    plan = Plan(
        arguments.rounds,
        arguments.at_once,
        arguments.tokens,
        secrets.randbits(32) if arguments.seed is None else arguments.seed,
    )
    if arguments.plot is not None:
        report.check_plot(arguments.plot)
    if len(set(arguments.base_url)) < len(arguments.base_url):
        raise RequestError("One --base-url is given twice.", "Name each server once.")
    with ExitStack() as open_ones:
        contenders = _contenders(arguments, open_ones)
        measured = measure(contenders, plan, lambda done: _progress(done, plan.rounds))
        told = report.as_dict(measured, plan) | describe()
    print(report.table(measured, plan))  # noqa: T201
    if arguments.plot is not None:
        report.plot(measured, plan, arguments.plot)
    print(json.dumps({"benchmark": "bench"} | told))  # noqa: T201
    return 0


def _contenders(arguments: argparse.Namespace, open_ones: ExitStack) -> list[Contender]:
    """Return whoever is wanted, each with its model loaded or its server asked for its name."""
    found: list[Contender] = []
    if arguments.model is not None or not arguments.base_url:
        model = open_ones.enter_context(Llava(arguments.model or "tiny", **engine(arguments)))
        found.append(Behind(model.backend.model_name, model.backend))
        if not arguments.no_generate:
            need("torch", "transformers", "accelerate", extra="torch")
            from llava_tools.bench.generate import Generate

            found.append(Generate(model.options))
    for url in arguments.base_url:
        model = open_ones.enter_context(Llava(base_url=url))
        found.append(Behind(f"{model.backend.model_name} at {url}", model.backend))
    return found


def _progress(done: int, rounds: int) -> None:
    """Say how far it is, where somebody watches."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\rround {done} of {rounds}" + ("\n" if done == rounds else ""))
        sys.stderr.flush()
