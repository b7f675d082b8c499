"""The model cards `DIR/model/README.md` and `DIR/model/clip/README.md`.

Their text is `data/card.md` and `data/clip_card.md`. Figures come from `DIR/figures.json`, those of
the weights before from `data/shipped.json` (both by `evaluate`); steps, minutes and losses come
from the logs of the training.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from string import Template
from typing import Any

from safetensors import safe_open

from . import retrieval
from .words import DATA

Figures = dict[str, Any]

#: A longer pause between two lines of a log is that of a killed run.
PAUSE_SECONDS = 120
#: Columns of the table of answers: title, trial, and what is counted.
COLUMNS = (
    ("stranger", "stranger", "right"), ("own", "own", "right"), ("blind", "blind", "right"),
    ("best guess", "own", "commonest"),
)  # fmt: skip


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["-"] * len(head), *rows))


def shares(figures: Figures, trial: str, key: str, kinds: Sequence[str]) -> list[str]:
    """Return the percentages of a trial by kind and their mean; a dash where there is none."""
    found = [figures.get(f"{trial}/{kind}") for kind in kinds]
    values = [score and 100 * score[key] / score["asked"] for score in found]
    known = [value for value in values if value is not None]
    values.append(sum(known) / len(known) if known else None)
    return ["–" if value is None else f"{value:.1f}" for value in values]


def answers(figures: Figures, before: Figures) -> str:
    """Return the table of right answers by kind."""
    kinds = [name.removeprefix("own/") for name in figures if name.startswith("own/")]
    columns = {title: shares(figures, trial, key, kinds) for title, trial, key in COLUMNS}
    columns |= {
        f"{title}, before": shares(before, trial, key, kinds) for title, trial, key in COLUMNS[:2]
    }
    return table(("kind", *columns), zip((*kinds, "mean"), *columns.values(), strict=True))


def calls(figures: Figures, before: Figures) -> str:
    """Return the table of right calls of tools, by part of the examination."""
    rows = [
        (part, str(asked), *(_percent(source.get("tools", {}).get(part)) for source in sources))
        for sources in [(figures, before)]
        for part, (_, asked) in figures["tools"].items()
    ]
    return table(("tools", "items", "right", "before"), rows)


def _percent(counts: Sequence[int] | None) -> str:
    return "–" if counts is None else f"{100 * counts[0] / counts[1]:.0f}"


def neighbours(figures: Figures, before: Figures) -> str:
    """Return the table of images that differ in one respect."""
    rows = [
        (respect, *(f"{100 * source['neighbours'][respect]:.0f}" for source in (figures, before)))
        for respect in figures["neighbours"]
    ]
    return table(("respect", "right", "before"), rows)


def training(folder: Path) -> str:
    """Return the table of the training's parts: steps, minutes and last losses."""
    rows = []
    for name in ("clip", "language", "align", "tune"):
        lines = _lines(folder / f"{name}.jsonl")
        if name in ("clip", "language"):
            steps, seconds, loss = (lines[-1][key] for key in ("step", "seconds", "loss"))
        else:
            gaps = (later["time"] - line["time"] for line, later in pairwise(lines))
            seconds = sum(gap for gap in gaps if gap < PAUSE_SECONDS)
            out = "aligned" if name == "align" else "tuned"
            report = json.loads((folder / out / "tuning.json").read_text(encoding="utf-8"))
            steps, loss = len(report["steps"]), report["loss"]
        rows.append((name, str(steps), f"{seconds / 60:.0f}", f"{loss:.3f}"))
    return table(("part", "steps", "minutes", "last loss"), rows)


def _lines(path: Path) -> list[Figures]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def write(folder: Path) -> None:
    """Write both cards; `folder` is that of `run.sh`."""
    figures = json.loads((folder / "figures.json").read_text(encoding="utf-8"))
    before = json.loads((DATA / "shipped.json").read_text(encoding="utf-8"))
    model = folder / "model"
    values = {
        "each": figures["each"], "answers": answers(figures, before), "training": training(folder),
        "tools": calls(figures, before), "retrieval": retrieval.table(figures["retrieval"]),
        "neighbours": neighbours(figures, before),
    }  # fmt: skip
    for name, target in (("card.md", model), ("clip_card.md", model / "clip")):
        weights = target / "model.safetensors"
        with safe_open(weights, "pt") as file:
            sizes = [file.get_tensor(key).numel() for key in file.keys()]  # noqa: SIM118
        size = {"millions": f"{sum(sizes) / 1e6:.1f}"}
        size["megabytes"] = f"{weights.stat().st_size / 1e6:.1f}"
        text = Template((DATA / name).read_text(encoding="utf-8")).substitute(values | size)
        (target / "README.md").write_text(text, encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, metavar="DIR")
    write(parser.parse_args(arguments).folder)


if __name__ == "__main__":
    main()
