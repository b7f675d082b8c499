"""`llava-tools info`: which models this machine can run, and their licences."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import Any

from llava_tools.cli.options import add_command
from llava_tools.cli.output import write, write_json
from llava_tools.info import LLAVA_NOTICE, Report, report, sizes
from llava_tools.options import TINY_NOTICE


def add(commands: Any) -> None:
    """Add the command to the subparsers of `llava-tools`."""
    info = add_command(
        commands,
        "info",
        _info,
        "show what fits this machine, and the licences",
        ("info", "info --json"),
    )
    info.add_argument("--json", action="store_true", help="the report as JSON")


def _info(arguments: argparse.Namespace) -> int:
    if arguments.json:
        licences = {name: size.licence for name, size in sizes().items()}
        write_json(asdict(report()) | {"licences": licences, "notice": LLAVA_NOTICE})
    else:
        write(_table(report()))
    return 0


def _table(report: Report) -> str:
    lines = [
        f"Device      {report.device}, {report.free_bytes / 1e9:.1f} GB free",
        f"Downloaded  {', '.join(report.downloaded)}",
        f"Loaded      {', '.join(report.loaded) or 'nothing in this process'}",
        "",
        f"{'model':7}{'size':>9}  {'precision':10}{'needs':>9}  runs here",
    ]
    for fit in report.fits:
        count = sizes()[fit.model].parameters
        size = f"{count / 1e9:.1f} B" if count > 1e9 else f"{count / 1e6:.1f} M"
        verdict = "yes" if fit.fits else f"no, {fit.why_not}"
        needs = f"{fit.bytes_needed / 1e9:.2f} GB"
        lines.append(f"{fit.model:7}{size:>9}  {fit.precision:10}{needs:>9}  {verdict}")
    lines += ["", *(f"{name:7}{size.licence}" for name, size in sizes().items())]
    return "\n".join([*lines, "", LLAVA_NOTICE, TINY_NOTICE])
