"""`llava-tools calibrate`: makes probabilities mean how often answers are right."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llava_tools.cli.options import ENGINE_HELP, add_command, add_flags, get_flags
from llava_tools.cli.output import write, write_note, write_progress
from llava_tools.errors import RequestError
from llava_tools.model import Llava
from llava_tools.options import EngineOptions

if TYPE_CHECKING:
    from llava_tools.evaluation.trust.calibrating import CalibrationEffect

#: Fewer records than this leave the fitted numbers, and the error that is printed, to chance.
_FEW = 200
_TITLES = {"choice": "choices", "yes_no": "yes or no"}


def add(commands: Any) -> None:
    """Add the command to the subparsers of `llava-tools`."""
    calibrate = add_command(
        commands,
        "calibrate",
        _calibrate,
        "make the probabilities of labels mean how often they are right",
        (
            "calibrate --data labelled.json --model ./my-llava --out ./my-llava/calibration.json",
            "calibrate --data labelled.json --model 7b --out 7b.json --plot reliability.png",
        ),
        "Fits temperatures on labelled images for the probabilities of choose, score and the "
        "visual tools. Records are {image, question, labels, answer}, or {image, shows, answer} "
        "with yes or no. The file counts in the model's folder as calibration.json, or with the "
        "option calibration.",
    )
    calibrate.add_argument(
        "--data", type=Path, required=True, metavar="FILE", help="JSON list of labelled records"
    )
    calibrate.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="the calibration to write"
    )
    calibrate.add_argument(
        "--coverage",
        type=float,
        default=0.8,
        metavar="SHARE",
        help="share of questions to answer, for the threshold that is printed (0.8)",
    )
    calibrate.add_argument("--plot", type=Path, metavar="FILE", help="a .png, .svg or .pdf")
    add_flags(
        calibrate,
        EngineOptions,
        model="tiny, 0.5b, 7b, 13b, a hub id or a folder",
        base_url="a vLLM or llava-tools server that runs the model",
        **ENGINE_HELP,
    )


def _calibrate(arguments: argparse.Namespace) -> int:
    from llava_tools.evaluation.trust.calibrating import calibrate, measure_effects
    from llava_tools.evaluation.trust.labelled import predict, read_labelled

    _check_files(arguments)
    records = read_labelled(arguments.data)
    if len(records) < _FEW:
        write_note(f"{len(records)} records are few: the figures are uncertain below {_FEW}.")
    with Llava(**get_flags(arguments, EngineOptions)) as model:
        backend = model.backend
        predictions = predict(backend, records, lambda done: _progress(done, len(records)))
        calibration = calibrate(backend, predictions, f"{len(records)} of {arguments.data.name}")
    effects = measure_effects(predictions)
    calibration.write(arguments.out)
    figures = {name: effect.figures(arguments.coverage) for name, effect in effects.items()}
    for name, values in figures.items():
        write(_line(_TITLES[name], values))
    if arguments.plot is not None:
        _plot(effects, arguments.plot)
    write(json.dumps({"calibration": str(arguments.out), "model": calibration.model} | figures))
    return 0


def _check_files(arguments: argparse.Namespace) -> None:
    """Check, before anything is measured, what can be wrong afterwards."""
    if not 0 < arguments.coverage <= 1:
        raise RequestError(f"--coverage {arguments.coverage} is not possible.", "Use 0.8, say.")
    if arguments.out.is_dir() or not arguments.out.parent.is_dir():
        raise RequestError(
            f"--out {arguments.out} cannot be written: it is a folder, or there is no folder for "
            "it.",
            "Name a file in a folder that exists.",
        )
    if arguments.plot is not None:
        from llava_tools.bench.report import check_plot

        check_plot(arguments.plot)


def _line(title: str, values: dict[str, Any]) -> str:
    return (
        f"{title}: {values['count']} answers, {values['accuracy']:.1%} right; calibration error "
        f"{values['ece_before']:.3f} before, {values['ece_after']:.3f} after (fitted on the other "
        f"half); {values['coverage']:.0%} answered with abstain={values['abstain']:.3f}, "
        f"{values['accuracy_at_coverage']:.1%} of them right"
    )


def _plot(effects: dict[str, CalibrationEffect], path: Path) -> None:
    from llava_tools.evaluation.trust.reliability import plot_reliability

    panels = {}
    for name, effect in effects.items():
        panels[f"{_TITLES[name]}, before"] = effect.before
        panels[f"{_TITLES[name]}, after"] = effect.after
    plot_reliability(panels, path)


def _progress(done: int, count: int) -> None:
    write_progress(f"record {done} of {count}", is_last=done == count)
