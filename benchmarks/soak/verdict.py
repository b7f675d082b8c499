"""The verdict on samples: whether memory, threads, descriptors and KV blocks stayed flat."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

#: Share of the run, from its beginning, in which caches fill; it does not count.
SETTLING = 0.3
#: MB per hour by which memory may rise.
MAX_MB_PER_HOUR = 16.0
#: By how much a number of threads, descriptors or child processes may rise over all that counts,
#: less two standard errors of the fit.
MAX_RISE = 0.5
#: Numbers of idle samples that must not rise.
LEVELS = ("python_threads", "descriptors", "children")
#: Numbers that must not rise in samples after a rest: LanceDB's pool has up to 512 threads, and
#: keeps them as long as there is work at least each ten seconds.
RESTED_LEVELS = ("threads",)


def verdict(samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the figures of a run and its faults, one line each; without any it has passed.

    Args:
        samples: The lines of the file. Memory and numbers are those of idle samples, by a fit over
            what comes after `SETTLING`; KV blocks in use must be 0 in each of them.
    """
    idle = [line for line in samples if line["kind"] == "sample" and line["idle"]]
    faults = [line["text"].splitlines()[0] for line in samples if line["kind"] == "finding"]
    if len(idle) < 3:
        return {"passed": False, "faults": [*faults, f"only {len(idle)} rounds have ended"]}
    end = idle[-1]["seconds"]
    settled = [line for line in idle if line["seconds"] >= SETTLING * end]
    hours = np.array([line["seconds"] / 3600 for line in settled])
    figures: dict[str, Any] = {}
    for name in settled[0]["processes"]:
        processes = [line["processes"][name] for line in settled]
        rested = [line for line in settled if line.get("rested")]
        memory = _slope(hours, [process["rss_mb"] for process in processes])
        figures[name] = {
            "rss_mb_per_hour": round(memory, 2),
            "uss_mb_per_hour": round(_slope(hours, [item["uss_mb"] for item in processes]), 2),
            "rss_mb_first_last": [processes[0]["rss_mb"], processes[-1]["rss_mb"]],
        }
        if memory > MAX_MB_PER_HOUR:
            faults.append(f"{name}: memory rises by {memory:.1f} MB per hour")
        for levels, lines in ((LEVELS, settled), (RESTED_LEVELS, rested)):
            for level in levels:
                values = [line["processes"][name][level] for line in lines]
                figures[name][level] = [min(values), max(values)] if values else None
                if _rise([line["seconds"] / 3600 for line in lines], values) > MAX_RISE:
                    faults.append(f"{name}: {level} rise from {values[0]} to {values[-1]}")
        if used := sum(line["processes"][name]["kv_blocks_used"] > 0 for line in idle):
            faults.append(f"{name}: KV blocks are in use after {used} of {len(idle)} rounds")
    return {
        "passed": not faults,
        "faults": faults[:20],
        "minutes": round(end / 60, 1),
        "rounds": len(idle),
        "max_mb_per_hour": MAX_MB_PER_HOUR,
        "processes": figures,
    }


def _slope(hours: Any, values: Sequence[float]) -> float:
    """Return the slope of a least-squares fit, per hour; 0 if all is at one time."""
    if np.ptp(hours) == 0:
        return 0.0
    return float(np.polyfit(hours, np.array(values, float), 1)[0])


def _rise(times: Sequence[float], values: Sequence[float]) -> float:
    """Return by how much a fit of values rises from first to last, less two standard errors."""
    if len(values) < 3:
        return 0.0
    hours = np.array(times)
    spread = float(np.sum((hours - hours.mean()) ** 2))
    if spread == 0:
        return 0.0
    slope, start = np.polyfit(hours, np.array(values, float), 1)
    residuals = np.array(values, float) - slope * hours - start
    error = np.sqrt(np.sum(residuals**2) / (len(values) - 2) / spread)
    return float((slope - 2 * error) * np.ptp(hours))
