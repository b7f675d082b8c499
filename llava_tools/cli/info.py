"""`llava-tools info`: what this machine can run; or what a model is, and whether it runs here."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from llava_tools.cli.options import LOAD_HELP, add_command, add_flags
from llava_tools.cli.output import write, write_json
from llava_tools.info import NOTICES, Fit, ModelReport, Report, describe, report, sizes
from llava_tools.options import LoadOptions


def add(commands: Any) -> None:
    """Add the command to the subparsers of `llava-tools`."""
    info = add_command(
        commands,
        "info",
        _info,
        "show what fits this machine, or what a model is",
        ("info", "info 7b", "info ./my-model --json"),
        "Without MODEL, shows which models this machine can run, and their licences. With MODEL, "
        "shows what it is from its configuration, without its weights; the exit code is 1 if it "
        "is not loaded here.",
    )
    info.add_argument("model", nargs="?", help="tiny, 0.5b, 7b, 13b, a hub id or a folder")
    flags = ("revision", "local_files_only")
    add_flags(info, LoadOptions, **{name: LOAD_HELP[name] for name in flags})
    info.add_argument("--json", action="store_true", help="the report as JSON")


def _info(arguments: argparse.Namespace) -> int:
    if arguments.model is not None:
        return _model_info(arguments)
    if arguments.json:
        licences = {name: size.licence for name, size in sizes().items()}
        write_json(asdict(report()) | {"licences": licences, "notice": NOTICES["7b"]})
    else:
        write(_table(report()))
    return 0


def _model_info(arguments: argparse.Namespace) -> int:
    revision = getattr(arguments, "revision", None)
    local_files_only = getattr(arguments, "local_files_only", False)
    model = describe(arguments.model, revision, local_files_only=local_files_only)
    if arguments.json:
        write_json(asdict(model))
    else:
        write(_description(model))
    return 0 if model.refusal is None else 1


def _table(report: Report) -> str:
    lines = [
        _device_line(report),
        f"Downloaded  {', '.join(report.downloaded)}",
        f"Loaded      {', '.join(report.loaded) or 'nothing in this process'}",
        "",
        f"{'model':7}{'size':>9}  {'precision':10}{'needs':>9}  runs here",
    ]
    for fit in report.fits:
        size = _count(sizes()[fit.model].parameters)
        lines.append(f"{fit.model:7}{size:>9}  {_fit(fit)}")
    lines += ["", *(f"{name:7}{size.licence}" for name, size in sizes().items())]
    notices = dict.fromkeys(NOTICES[name] for name in ("7b", "0.5b", "tiny"))
    return "\n".join([*lines, "", *notices])


def _device_line(report: Report | ModelReport) -> str:
    return f"Device      {report.device}, {report.free_bytes / 1e9:.1f} GB free"


def _count(parameters: int) -> str:
    return f"{parameters / 1e9:.1f} B" if parameters > 1e9 else f"{parameters / 1e6:.1f} M"


def _fit(fit: Fit) -> str:
    verdict = "yes" if fit.fits else f"no, {fit.why_not}"
    return f"{fit.precision:10}{f'{fit.bytes_needed / 1e9:.2f} GB':>9}  {verdict}"


def _description(model: ModelReport) -> str:
    lines = [f"{label:12}{value}" for label, value in _facts(model) if value]
    lines.append(_device_line(model))
    if model.fits:
        lines += ["", f"{'precision':10}{'needs':>9}  runs here", *map(_fit, model.fits)]
    notices = [*model.warnings, *([model.notice] if model.notice else [])]
    return "\n".join([*lines, *([""] if notices else []), *notices])


def _facts(model: ModelReport) -> Iterable[tuple[str, str]]:
    """Yield labels and values; those that are not known are empty."""
    yield "Model", model.model
    yield "Refused", f"{model.refusal.message} {model.refusal.hint}" if model.refusal else ""
    yield "Adapter of", model.adapter_base or ""
    yield "Prompts", model.conversation or ("" if model.refusal else "unknown without transformers")
    if text := model.text:
        yield (
            "Language",
            f"{text.model_type}; context {model.default_context_length:,} tokens, built for "
            f"{text.context_length:,}",
        )
    if vision := model.vision:
        yield (
            "Vision",
            f"{vision.model_type}, {vision.image_size} x {vision.image_size} pixels, "
            f"{vision.image_tokens} tokens an image",
        )
    yield "Parameters", _count(model.parameters) if model.parameters else ""
    kind = f"{model.quantization} (bitsandbytes)" if model.quantization else model.dtype
    place = "on this machine" if model.downloaded else "not downloaded"
    if model.disk_bytes:
        size = f"{model.disk_bytes / 1e9:.2f} GB"
        yield "Weights", ", ".join(part for part in (size, kind, place) if part)
    yield "Licence", model.licence or ("" if model.refusal else "its files name none")
