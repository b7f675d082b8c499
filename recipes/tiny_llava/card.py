"""The model cards `DIR/model/README.md` and `DIR/model/clip/README.md`.

Their text is `data/card.md` and `data/clip_card.md`. Figures come from `DIR/figures.json`, those of
the weights before from `data/shipped.json` (both by `evaluate`); steps, minutes and losses come
from the logs of the training.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterable, Sequence
from math import nan
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
from safetensors.torch import load_file

from .retrieval import SIZE
from .words import DATA

Figures = dict[str, Any]


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a Markdown table; numbers are rounded, and nan is a dash."""
    lines = [head, ["-"] * len(head), *rows]
    lines = [[x if isinstance(x, str) else f"{x:.0f}" for x in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines).replace(" nan ", " – ")


def answers(now: Figures, before: Figures) -> str:
    """Return the table of right answers by kind."""
    columns = (
        (now, "stranger", "right"), (now, "own", "right"), (now, "blind", "right"),
        (now, "own", "commonest"), (before, "stranger", "right"), (before, "own", "right"),
    )  # fmt: skip
    rows: dict[str, list[float]] = {}
    for kind in [name.removeprefix("own/") for name in now if name.startswith("own/")]:
        scores = [(figures.get(f"{trial}/{kind}"), key) for figures, trial, key in columns]
        rows[kind] = [100 * score[key] / score["total"] if score else nan for score, key in scores]
    rows["mean"] = np.ma.masked_invalid(list(rows.values())).mean(0).filled(nan).tolist()
    head = ("kind", "stranger", "own", "blind", "best guess", "stranger, before", "own, before")
    return table(head, [(kind, *(f"{x:.1f}" for x in row)) for kind, row in rows.items()])


def retrieval(trials: dict[str, dict[str, float]], size: int = SIZE) -> str:
    """Return the table of retrieval among `size` images, chance last."""
    keys = ("text 1", "text 5", "image 1", "image 5", "part 1")
    rows = [(name, *(100 * row[key] for key in keys)) for name, row in trials.items()]
    part = 100 * np.mean([row["part chance"] for row in trials.values()])
    chance = (f"{100 * first / size:.1f}" for first in (1, 5, 1, 5))
    return table(("trial", *keys), [*rows, ("chance", *chance, part)])


def training(folder: Path) -> str:
    """Return the table of the training's parts: steps, minutes and last losses."""
    rows = []
    for name in ("clip", "language"):
        last = json.loads((folder / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()[-1])
        rows.append((name, last["step"], last["seconds"] / 60, f"{last['loss']:.3f}"))
    for name, out in (("align", "aligned"), ("tune", "tuned")):
        report = json.loads((folder / out / "tuning.json").read_text(encoding="utf-8"))
        steps = len(report["steps"])
        seconds = re.findall(
            r"([\d.]+) s/step", (folder / f"{name}.log").read_text(encoding="utf-8")
        )[-1]
        rows.append((name, steps, steps * float(seconds) / 60, f"{report['loss']:.3f}"))
    return table(("part", "steps", "minutes", "last loss"), rows)


def write(folder: Path) -> None:
    """Write both cards; `folder` is that of `run.sh`."""
    shipped, model = DATA / "shipped.json", folder / "model"
    now = json.loads((folder / "figures.json").read_text(encoding="utf-8"))
    before = json.loads(shipped.read_text(encoding="utf-8")) if shipped.exists() else {}
    tools, neighbours = before.get("tools", {}), before.get("neighbours", {})
    calls = [
        (part, total, 100 * right / total, 100 * tools.get(part, [nan])[0] / total)
        for part, (right, total) in now["tools"].items()
    ]
    pairs = [(x, 100 * y, 100 * neighbours.get(x, nan)) for x, y in now["neighbours"].items()]
    values = {
        "each": now["each"], "answers": answers(now, before), "training": training(folder),
        "tools": table(("tools", "items", "right", "before"), calls),
        "retrieval": retrieval(now["retrieval"]),
        "neighbours": table(("respect", "right", "before"), pairs),
    }  # fmt: skip
    for name, target in (("card.md", model), ("clip_card.md", model / "clip")):
        weights = target / "model.safetensors"
        millions = sum(tensor.numel() for tensor in load_file(weights).values()) / 1e6
        size = {"millions": f"{millions:.1f}", "megabytes": f"{weights.stat().st_size / 1e6:.1f}"}
        text = Template((DATA / name).read_text(encoding="utf-8")).substitute(values | size)
        (target / "README.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, metavar="DIR")
    write(parser.parse_args().folder)
